"""All of the study's phases on this machine, in one document."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent.errors import StateError
from agent.measuring import learning, platform, study
from agent.measuring.learning import FULL, QUICK, Effort
from agent.measuring.measurement import Measurement, Projection, corpus
from agent.measuring.seeing import Network, measure_pictures
from agent.reporting.timing import Role

FORMAT = 2
SEED = 0
QUICK_PICTURES = 10


def bench(
    networks: Sequence[Network],
    pictures: list[Path],
    folder: Path,
    *,
    quick: bool,
    on_stage: Callable[[str], None],
    role: Role = "agent",
) -> dict[str, Any]:
    """Measure; the document, fit for JSON (docs/bench.md). `on_stage` hears what comes next.

    A cache is made in a new folder inside `folder`, and removed again.
    Raises ImageError for a bad picture, StateError where `folder` cannot be written.
    """
    effort = QUICK if quick else FULL
    machine = platform.describe()  # with the load before this adds to it
    seen = [_seen(network, pictures, QUICK_PICTURES if quick else study.PICTURES, on_stage) for network in networks]
    on_stage("steps of training")
    steps = learning.measure_steps(effort, SEED)
    learnt, epochs = _learnt(folder, effort, on_stage)
    return {
        "format": FORMAT,
        "kind": "bench",
        "role": role,
        "created_ms": int(time.time() * 1000),
        "quick": quick,
        "seed": SEED,
        "platform": machine,
        "networks": seen,
        "pictures": _described_pictures(pictures),
        "cache": _described_cache(folder, effort),
        "measurements": [measurement.as_dict() for measurement in (*learnt, *steps)],
        "projections": [projection.as_dict() for projection in epochs],
        "study": study.as_dict(),
    }


def _seen(network: Network, pictures: list[Path], times: int, on_stage: Callable[[str], None]) -> dict[str, Any]:
    """What a network takes for pictures, and would take for the study's corpora."""
    on_stage(f"{times} pictures through {network.name}")
    measured = measure_pictures(network, pictures, times, SEED)
    of_picture = next(m for m in measured if m.phase == "picture_to_bottleneck")
    corpora = [corpus(of_picture, classes, study.IMAGES_A_CLASS) for classes in study.CLASSES]
    return {
        **network.as_dict(),
        "measurements": [measurement.as_dict() for measurement in measured],
        "projections": [projection.as_dict() for projection in corpora],
    }


def _learnt(
    folder: Path, effort: Effort, on_stage: Callable[[str], None]
) -> tuple[list[Measurement], list[Projection]]:
    """What examples, validations and epochs take, from a cache that is made for it inside `folder`."""
    try:
        with tempfile.TemporaryDirectory(prefix=".lastlayer-bench-", dir=folder) as scratch:
            on_stage(f"a cache of {effort.examples:,} examples in {scratch}")
            with learning.synthetic_cache(Path(scratch), SEED) as cache:
                cache.grow(effort.examples)
                on_stage("file access")
                source = cache.examples()
                read = learning.measure_file_access(source, effort, SEED)
                on_stage("validations")
                validations = learning.measure_validations(source, effort, SEED)
                on_stage("epochs")
                return [*read, *validations], learning.measure_epochs(cache, validations, effort, SEED)
    except OSError as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"{folder} cannot be written: {error.strerror}; choose another with --state") from error


def _described_pictures(pictures: list[Path]) -> dict[str, Any]:
    return {
        "folder": str(pictures[0].parent),
        "count": len(pictures),
        "mean_bytes": sum(path.stat().st_size for path in pictures) / len(pictures),
    }


def _described_cache(folder: Path, effort: Effort) -> dict[str, Any]:
    return {
        "file_system": platform.file_system(folder),
        "page_cache": "warm",  # it was just written
        "examples": effort.examples,
        "validation": effort.validation,
        "dtype": learning.LAYOUT.dtype,
        "size": learning.LAYOUT.size,
    }
