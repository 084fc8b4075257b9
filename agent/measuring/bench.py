"""All of the study's phases on this machine, in one document."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent import study
from agent.errors import StateError
from agent.measuring import learning, platform
from agent.measuring.learning import FULL, QUICK, Effort, SyntheticCache
from agent.measuring.measurement import Measurement, Projection, corpus
from agent.measuring.seeing import measure_pictures
from agent.vision.backbone import Backbone

FORMAT = 1
SEED = 0
QUICK_PICTURES = 10


def bench(
    backbone: Backbone, pictures: list[Path], folder: Path, *, quick: bool, on_stage: Callable[[str], None]
) -> dict[str, Any]:
    """Measure; the document, fit for JSON (docs/bench.md). `on_stage` hears what comes next.

    A cache is made in a new folder inside `folder`, and removed again.
    Raises ImageError for a bad picture, StateError where `folder` cannot be written.
    """
    effort = QUICK if quick else FULL
    machine = platform.describe()  # with the load before this adds to it
    times = QUICK_PICTURES if quick else study.PICTURES
    on_stage(f"{times} pictures")
    seen = measure_pictures(backbone, pictures, times, SEED)
    of_picture = next(m for m in seen if m.phase == "picture_to_bottleneck")
    on_stage("steps of training")
    steps = learning.measure_steps(effort, SEED)
    file_system = platform.file_system(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".lastlayer-bench-", dir=folder) as scratch:
            on_stage(f"a cache of {effort.examples:,} examples in {scratch}")
            with learning.synthetic_cache(Path(scratch), SEED) as cache:
                learnt, epochs = _measure_learning(cache, effort, on_stage)
    except OSError as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"{folder} cannot be written: {error.strerror}; choose another with --state") from error
    corpora = [corpus(of_picture, classes, study.IMAGES_A_CLASS) for classes in study.CLASSES]
    return {
        "format": FORMAT,
        "kind": "bench",
        "role": "agent",
        "created_ms": int(time.time() * 1000),
        "quick": quick,
        "seed": SEED,
        "platform": machine,
        "backbone": _described(backbone),
        "pictures": {
            "folder": str(pictures[0].parent),
            "count": len(pictures),
            "mean_bytes": sum(path.stat().st_size for path in pictures) / len(pictures),
        },
        "cache": {
            "file_system": file_system,
            "page_cache": "warm",  # it was just written
            "examples": effort.examples,
            "validation": effort.validation,
            "dtype": learning.LAYOUT.dtype,
            "size": learning.LAYOUT.size,
        },
        "measurements": [measurement.as_dict() for measurement in (*seen, *learnt, *steps)],
        "projections": [projection.as_dict() for projection in (*corpora, *epochs)],
        "study": study.as_dict(),
    }


def _measure_learning(
    cache: SyntheticCache, effort: Effort, on_stage: Callable[[str], None]
) -> tuple[list[Measurement], list[Projection]]:
    cache.grow(effort.examples)
    on_stage("file access")
    source = cache.examples()
    read = learning.measure_file_access(source, effort, SEED)
    on_stage("validations")
    validations = learning.measure_validations(source, effort, SEED)
    on_stage("epochs")
    return [*read, *validations], learning.measure_epochs(cache, validations, effort, SEED)


def _described(backbone: Backbone) -> dict[str, Any]:
    bundle = backbone.bundle
    return {
        "name": bundle.name,
        "sha256": bundle.sha256,
        "height": bundle.height,
        "width": bundle.width,
        "size": backbone.size,
        "dtype": backbone.dtype.name,
        "threads": 1,
    }
