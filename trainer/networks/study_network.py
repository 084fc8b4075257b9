"""The study's own network, Inception v3 at 299 px, with random weights: its timing does not depend on them.

Made by Keras in a process of its own, because TensorFlow would stay in memory and on the cores of whoever measures,
and kept where programs keep what they can make again (XDG base directory specification). Run as a program it makes
one: python -m trainer.networks.study_network KIND FILE
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from agent.board.child import Child, environment
from agent.board.files import write_atomically
from agent.errors import BundleError
from trainer.quiet import quiet

Kind = Literal["int8", "float", "keras"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SIDE = 299
_CALIBRATION = 4  # images of noise: what they are changes no time
_MAKE_S = 1800.0


def study_network(kind: Kind) -> Path:
    """A .tflite, or a .keras file, that is made the first time. Raises BundleError where that fails, ChildError."""
    suffix = "keras" if kind == "keras" else "tflite"
    path = _folder() / f"inception_v3_{kind}.{suffix}"
    if path.is_file():
        return path
    env = environment(KERAS_BACKEND=os.environ.get("KERAS_BACKEND", "tensorflow"), TF_CPP_MIN_LOG_LEVEL="3")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        ended = Child([sys.executable, "-m", "trainer.networks.study_network", kind, str(path)], env).wait(_MAKE_S)
    except TimeoutError:
        raise BundleError(f"{path} cannot be made: it took more than {_MAKE_S:g} s") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be made: {error}") from error
    if ended.code != 0 or not path.is_file():
        last = ended.last_words or "it gave no reason"
        raise BundleError(f"{path} cannot be made: {last}; pip install 'lastlayer[trainer]' brings what it needs")
    return path


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base if base else Path.home() / ".cache") / "lastlayer"


def made(kind: Kind, path: Path) -> None:
    """Make it. Raises OSError."""
    with quiet():
        network = _network()
        if kind == "keras":
            partial = path.with_name(f".{os.getpid()}-{path.name}")
            network.save(partial)
            partial.replace(path)
            return
        content = _converted(network, kind)
    write_atomically(path, content)


def _network() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3), batch_size=None, name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0)(image)
    inception = keras.applications.InceptionV3(
        include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), pooling="avg"
    )
    return keras.Model(image, inception(scaled), name="inception_v3")


def _converted(network: Any, kind: Kind) -> bytes:
    import keras
    import tensorflow

    single = keras.Input((SIDE, SIDE, 3), batch_size=1, name="image")
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(keras.Model(single, network(single)))
    if kind == "int8":
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        converter.representative_dataset = _noise
        converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tensorflow.uint8
        converter.inference_output_type = tensorflow.int8
    return bytes(converter.convert())


def _noise() -> Iterator[list[Any]]:
    rng = np.random.default_rng(0)
    for _ in range(_CALIBRATION):
        yield [rng.integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.float32)]


if __name__ == "__main__":
    made(sys.argv[1], Path(sys.argv[2]))  # type: ignore[arg-type]
