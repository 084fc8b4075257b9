"""How long it takes from a picture's file to its bottleneck, and on to the best labels as JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.board.files import read_bounded
from agent.errors import DatasetError, ImageError
from agent.learning.pictures.labelled import SUFFIXES, is_of_system, is_picture
from agent.learning.solving.head import Head, predictions
from agent.measuring.measurement import Condition, Measurement, Samples, repeated, summarised
from agent.records import MAX_PICTURE_BYTES, Result
from agent.reporting.timing import Stopwatch
from agent.vision.backbone import FAMILY, Backbone
from agent.vision.classifier import TOP
from agent.vision.image import decode

CLASSES = 1000  # of the head that answers
WARM_UP = 3  # pictures
BATCH = 64  # images at once, where a device wants many

_CONDITIONS: dict[str, dict[str, Condition]] = {
    "file_access": {"source": "picture"},
    "session_run": {"classes": CLASSES},
    "result_processing": {"classes": CLASSES},
    "picture_to_result": {"classes": CLASSES},
}


@dataclass(frozen=True)
class Network:
    """Whatever turns an image into a bottleneck, here or on another device."""

    name: str
    sha256: str
    height: int  # pixels
    width: int
    size: int  # values in a bottleneck
    dtype: str
    threads: int | None  # None: as its runtime likes
    runtime: str
    device: str  # "cpu" or the name of a GPU
    bottleneck: Callable[[NDArray[np.uint8]], NDArray[Any]]  # image [height, width, 3] → [size]
    bottlenecks: Callable[[NDArray[np.uint8]], NDArray[Any]] | None = None  # the same of a batch, where that pays

    @classmethod
    def of(cls, backbone: Backbone) -> "Network":
        bundle = backbone.bundle
        return cls(
            bundle.name,
            bundle.sha256,
            bundle.height,
            bundle.width,
            backbone.size,
            backbone.dtype.name,
            1,
            FAMILY,
            "cpu",
            backbone.bottleneck,
        )

    def as_dict(self) -> dict[str, Any]:
        """What it is, fit for JSON."""
        names = ("name", "sha256", "height", "width", "size", "dtype", "threads", "runtime", "device")
        return {name: getattr(self, name) for name in names}


def find_pictures(folder: Path | None, most: int) -> list[Path]:
    """At most so many pictures of a folder, spread over it evenly; without one, those inside scikit-learn.

    Raises DatasetError where there are none.
    """
    if folder is None:
        spec = find_spec("sklearn")
        if spec is None or not spec.submodule_search_locations:
            raise DatasetError(
                "there are no pictures to measure with: give a folder with --pictures, or install scikit-learn, "
                "which has two photographs in it"
            )
        folder = Path(spec.submodule_search_locations[0]) / "datasets" / "images"
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder of pictures")
    below = (path for path in folder.rglob("*") if is_picture(path))
    found = sorted(path for path in below if not any(map(is_of_system, path.relative_to(folder).parts)))
    if not found:
        raise DatasetError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return found if len(found) <= most else [found[i * len(found) // most] for i in range(most)]


def measure_pictures(network: Network, pictures: Sequence[Path], times: int, seed: int) -> list[Measurement]:
    """Every picture in turn, over and over, until there were so many. Raises ImageError.

    A head of 1000 classes with random weights answers: its time does not depend on them.
    """
    rng = np.random.default_rng(seed)
    labels = tuple(f"class {k:04d}" for k in range(CLASSES))
    weights = rng.normal(0, 0.01, (network.size, CLASSES)).astype(np.float32)
    head = Head(labels, weights, np.zeros(CLASSES, np.float32), network.sha256)
    for path in islice(cycle(pictures), WARM_UP):
        _see(path, network, head)
    samples = Samples()
    for path in islice(cycle(pictures), times):
        for phase, ms in _see(path, network, head).ms.items():
            samples.add(phase, ms)
    found = [summarised(phase, ms, conditions=_CONDITIONS.get(phase)) for phase, ms in samples.ms.items()]
    if network.bottlenecks is not None:
        images = rng.integers(0, 256, (BATCH, network.height, network.width, 3), np.uint8)
        batches = repeated(partial(network.bottlenecks, images), "bottleneck", max(2, times // 5))
        found.append(summarised("bottleneck", batches, BATCH, {"batch": BATCH}))
    return found


def _see(path: Path, network: Network, head: Head) -> Stopwatch:
    """The phases of one picture. `session_run` includes `bottleneck`; the two that begin with `picture` are sums."""
    watch = Stopwatch()
    try:
        with watch.phase("file_access"):
            payload = read_bounded(path, MAX_PICTURE_BYTES)
        with watch.phase("decode"):
            image = decode(payload, network.width, network.height)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    with watch.phase("session_run"):
        with watch.phase("bottleneck"):
            bottleneck = network.bottleneck(image)
        probabilities = head.probabilities(bottleneck)
    with watch.phase("result_processing"):
        best = predictions(probabilities, head.labels, TOP)
        json.dumps(Result("0" * 16, "", 0, "1", best, False, watch.ms).as_dict()).encode()
    before = watch.ms["file_access"] + watch.ms["decode"]
    watch.add("picture_to_bottleneck", before + watch.ms["bottleneck"])
    watch.add("picture_to_result", before + watch.ms["session_run"] + watch.ms["result_processing"])
    return watch
