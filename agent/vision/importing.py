"""A model from elsewhere, a bundle or a bare .tflite: made a bundle of ours once it has run in a child process."""

import json
import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.board.child import Child
from agent.board.files import read_bounded
from agent.errors import BundleError
from agent.vision.bundle import (
    DEFAULT_RANGE,
    FORMAT,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MAX_MODEL_BYTES,
    MODEL,
    Bundle,
    load_bundle,
    sha256_of,
    write_bundle,
)

log = logging.getLogger(__name__)

_DESCRIBE_TIMEOUT_S = 120.0  # a 224-pixel network on a slow board, with room


def import_model(
    source: str | Path,
    into: Path,
    input_range: tuple[float, float] | None = None,
    size: tuple[int, int] | None = None,
) -> Bundle:
    """Copy a bundle's folder, or make a bundle of a .tflite without manifest, at `into`.

    The model is first loaded and run on some plain pictures in a child process: what crashes the runtime
    must not end the caller. What is odd about it and can be used all the same is said in the log. `input_range`, and
    the height and width `size` of one that takes pictures of any size, replace what the bundle says.
    Raises BundleError where the model cannot be a backbone, StateError where `into` cannot be written.
    """
    source = Path(source)
    try:
        source.exists()
    except OSError as error:  # a name that is too long, a folder that nobody may look into
        raise BundleError(f"{source}: {error.strerror}") from error
    if source.suffix == ".tflite" and not source.is_file():
        raise BundleError(f"{source}: there is no such file")
    is_bare = source.is_file() and not (source.parent / MANIFEST).is_file()
    bundle = bare(source) if is_bare else load_bundle(source.parent if source.is_file() else source)
    if input_range is not None:
        low, high = input_range
        if not -math.inf < low < high < math.inf:
            raise BundleError(f"--input-range {low:g} {high:g}: the first value must be below the second")
        bundle = replace(bundle, input_range=input_range, requantized=True)
    described = describe(bundle, size)
    height, width, values = described["height"], described["width"], described["size"]
    if size is not None and size != (height, width):
        raise BundleError(f"{source} takes pictures of {width} x {height} pixels and of no other size: no --size")
    named = (height, width) if size is not None else (bundle.height, bundle.width)
    if not is_bare and (*named, bundle.size) != (height, width, values):
        raise BundleError(f"{bundle.model} does not have the input or the output that its manifest names")
    for word in described["words"]:
        log.warning("%s: %s", source, word)
    bundle = replace(bundle, height=height, width=width, size=values, requantized=described["requantized"])
    try:
        model = read_bounded(bundle.model, MAX_MODEL_BYTES)
        manifest = bundle.model.with_name(MANIFEST)
        known: dict[str, Any] = {} if is_bare else json.loads(read_bounded(manifest, MAX_MANIFEST_BYTES))
    except (OSError, ValueError) as error:
        raise BundleError(f"{bundle.model} or its manifest cannot be read: {error}") from error
    return write_bundle(into, model, {**known, **_as_manifest(bundle)})


def describe(bundle: Bundle, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Load and run a model in a child process; its input and output as a mapping (see backbone.describe).

    `size` is used in the place of the bundle's own height and width.
    Raises BundleError where it cannot be a backbone, ChildError where no process can be started.
    """
    model = bundle.model
    size = size or ((bundle.height, bundle.width) if bundle.height else None)
    asked = {"input_range": bundle.input_range, "requantized": bundle.requantized, "size": size}
    command = [sys.executable, "-m", "agent.vision.backbone", str(model), json.dumps(asked)]
    try:
        ended = Child(command).wait(_DESCRIBE_TIMEOUT_S)
    except TimeoutError:
        raise BundleError(f"{model}: loading it took more than {_DESCRIBE_TIMEOUT_S:g} s") from None
    if ended.code < 0:
        raise BundleError(
            f"{model}: the TFLite runtime crashed on it (signal {-ended.code}): "
            "the file is torn or is no TFLite model; copy it again"
        )
    if ended.code != 0:
        raise BundleError(ended.last_words or f"{model}: cannot be loaded, no reason was given")
    described: dict[str, Any] = json.loads(ended.stdout)
    return described


def bare(model: Path) -> Bundle:
    """A bundle of a .tflite alone; its sizes are not known until it is described."""
    return Bundle(model.stem, model, sha256_of(model), 0, 0, DEFAULT_RANGE, 0)


def _as_manifest(bundle: Bundle) -> Mapping[str, Any]:
    return {
        "format": FORMAT,
        "name": bundle.name,
        "model": MODEL,
        "sha256": bundle.sha256,
        "input": {
            "height": bundle.height,
            "width": bundle.width,
            "range": list(bundle.input_range),
            **({"requantized": True} if bundle.requantized else {}),
        },
        "bottleneck": {"size": bundle.size},
    }
