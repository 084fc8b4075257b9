"""A Keras model as backbone: batched, on a GPU where its backend finds one.

Its bottlenecks are a family of their own: no TFLite runtime gives the same values, so they are never mixed.
"""

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError, ImageError
from agent.learning.pictures.bursts import dhash, thumbnail
from agent.records import picture_id
from agent.reporting.timing import Timings
from agent.vision.bundle import sha256_of
from agent.vision.image import decode
from trainer.bulk.embedding import Embedded, Picture, contents
from trainer.networks.trained import record
from trainer.quiet import quiet

BATCHES_AHEAD = 4  # decoded while the device works


class KerasBackbone:
    """One image input [B, H, W, 3] of the raw bytes 0..255, one vector [B, D] as output.

    What `pretrain` and `finetune` write is cut as `export` cuts it, its maps pooled; of other files the output is it.
    Attributes: `name`, `width`, `height` in pixels, `size` D, `backbone_id` as in Bundle.backbone_id,
    `sha256` of the file, `device` "cpu" or the GPU's name, `runtime` with the backend of Keras.
    """

    def __init__(self, model: Path, timings: Timings, side: int | None = None) -> None:
        """`side` is that of the pictures, for a network of any size that does not know it from its training.

        Raises ConfigError where Keras cannot load the model, or it is no backbone.
        """
        keras = _keras()
        with quiet():
            from trainer.making.devices import device

            self.device = device().name  # before the model is there: TensorFlow would have taken all of a GPU's memory
        loaded, self.height, self.width = _opened(model, side)
        self.size = int(loaded.outputs[0].shape[1])
        self.name = model.stem
        self.runtime = f"keras-{keras.config.backend()}"
        self.sha256 = sha256_of(model)
        self._model = loaded
        self._timings = timings
        identity = f"{self.sha256} {self.height}x{self.width} keras"
        self.backbone_id = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()

    def bottlenecks(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[B, D] of images [B, height, width, 3]."""
        with self._timings.phase("bottleneck", images=len(images)):
            return np.asarray(self._model.predict_on_batch(images.astype(np.float32)), np.float32)

    def answers(self, blocks: Iterable[Sequence[Picture]], threads: int) -> Iterator[Embedded]:
        """In order; so many threads read and decode, at most BATCHES_AHEAD blocks ahead of the device."""
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            ahead: deque[Future[tuple[Embedded, NDArray[np.uint8]]]] = deque()
            for block in blocks:
                ahead.append(pool.submit(self._decoded, block))
                if len(ahead) > BATCHES_AHEAD + threads:
                    yield self._finished(*ahead.popleft().result())
            while ahead:
                yield self._finished(*ahead.popleft().result())

    def _decoded(self, pictures: Sequence[Picture]) -> tuple[Embedded, NDArray[np.uint8]]:
        """An answer that lacks the bottlenecks, and the images [n, height, width, 3] that they are to be made of."""
        count = len(pictures)
        answer = Embedded([""] * count, [0] * count, np.zeros((count, self.size), np.float32))
        images = np.zeros((count, self.height, self.width, 3), np.uint8)
        for place, payload in contents(pictures, self._timings, answer.errors).items():
            try:
                with self._timings.phase("decode"):
                    images[place] = decode(payload, self.width, self.height)
                answer.fingerprints[place] = dhash(thumbnail(images[place]))
                answer.frame_ids[place] = picture_id(payload)
            except ImageError as error:
                answer.errors[place] = str(error)
        return answer, images

    def _finished(self, answer: Embedded, images: NDArray[np.uint8]) -> Embedded:
        began = time.monotonic()
        answer.bottlenecks = self.bottlenecks(images)
        answer.seconds = time.monotonic() - began
        return answer


def _keras() -> Any:
    """Not before KERAS_BACKEND is chosen; what its backend says of this machine is for nobody."""
    with quiet():
        import keras
    return keras


def _opened(path: Path, side: int | None) -> tuple[Any, int, int]:
    """A model of one vector, and the height and width of its pictures. Raises ConfigError, BundleError."""
    keras = _keras()
    from trainer.networks.loading import Wanted, load_keras, open_network, sides_of
    from trainer.networks.standardised import pooled_maps

    if record(path) is not None:
        network = open_network(Wanted(str(path), size=side))
        return pooled_maps(network.model) if network.tapped else network.model, network.height, network.width
    model = load_keras(path)
    _check(path, model)
    return keras.Model(model.inputs, model.outputs[0]), *sides_of(model, path, side)


def _check(path: Path, model: Any) -> None:
    """Raises ConfigError where it is no backbone."""
    if not (getattr(model, "inputs", None) and getattr(model, "outputs", None)):
        raise ConfigError(
            f"{path} has no graph of layers, as subclassed models have none: save keras.Model(image, vector)"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ConfigError(
            f"{path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs: a backbone has one image as "
            "input and one vector as output"
        )
    source, target = model.inputs[0].shape, model.outputs[0].shape
    if len(source) != 4 or source[3] != 3:
        raise ConfigError(f"{path} takes {tuple(source)}: a backbone takes (batch, height, width, 3)")
    if len(target) != 2 or not target[1]:
        raise ConfigError(f"{path} gives {tuple(target)}: a backbone gives (batch, values); pool its last map")
