"""A bundle: a backbone, and all that is needed to use it.

A folder with `model.tflite` and `manifest.json`:

    {"format": 1, "name": "standard", "model": "model.tflite", "sha256": "…",
     "input": {"height": 192, "width": 192, "range": [0, 255]},
     "bottleneck": {"size": 704}, …what people want to know: sources, terms, figures…}

`range` gives the values onto which the pixel bytes 0..255 are mapped for a model with a
float input. A quantized input takes the bytes as they are.

Whoever makes one writes it by `write_bundle`, so that a network is never found with the manifest of another.
"""

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.board.child import Child
from agent.board.files import open_regular, read_bounded, sync_folder, write_atomically
from agent.errors import BundleError, StateError

FORMAT = 1
MODEL, MANIFEST = "model.tflite", "manifest.json"  # the files
DEFAULT = "standard"
RETIRED = frozenset({"tinyresnet_96"})  # shipped once: the states that were made with them have their own copies
MAX_NAME = 200
DEFAULT_RANGE = (0.0, 1.0)
MAX_MODEL_BYTES = 1 << 30
MAX_MANIFEST_BYTES = 4 << 20
SHIPPED = Path(__file__).resolve().parents[2] / "models"

_DESCRIBE_TIMEOUT_S = 120.0  # a 224-pixel network on a slow board, with room


@dataclass(frozen=True)
class Bundle:
    name: str
    model: Path
    sha256: str
    height: int  # pixels
    width: int
    input_range: tuple[float, float]
    size: int  # values in a bottleneck

    def backbone_id(self, family: str) -> str:
        """32 hex digits that two bottlenecks must share to be compared or mixed.

        Two runtime families answer with different values for the same picture, and so
        does the same model with another preprocessing.
        """
        identity = f"{self.sha256} {self.height}x{self.width} {self.input_range} {family}"
        return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


def load_bundle(source: str | Path) -> Bundle:
    """The bundle in a folder, or the one of that name in models/.

    Raises BundleError for a missing or malformed manifest, and for a model that is not
    the one the manifest speaks of: a torn .tflite ends the process that loads it, so its
    sha256 is compared before. Where a writing was ended between its two renames, the bundle
    is the one that has stepped aside.
    """
    bundle = _manifest(_folder(source) / MANIFEST)
    _check(bundle, sha256_of(bundle.model))
    return bundle


def shipped() -> list[str]:
    """The names of the bundles that ship."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"[!.]*/{MANIFEST}"))


def no_longer_ships(bundle: Bundle) -> bool:
    """Whether a bundle's name is one of ours, and its network none that ships now."""
    if bundle.name not in shipped():
        return bundle.name in RETIRED
    try:
        return _manifest(SHIPPED / bundle.name / MANIFEST).sha256 != bundle.sha256
    except BundleError:  # nobody has asked for that one
        return False


def is_there(source: str | Path) -> bool:
    """Whether something lies where a source of bundles names it, be it whole or not."""
    return Path(source).is_file() or _found(source) is not None


def write_bundle(
    folder: Path, model: bytes, manifest: Mapping[str, Any], beside: Mapping[str, bytes] | None = None
) -> Bundle:
    """Make a bundle of a .tflite's bytes and its manifest, with the files `beside`, or replace the one at `folder`.

    Whatever ends this in between, the old one or the new one is there, whole: the new one is written to a folder
    beside it and takes its place by a rename. What else lies in the folder stays. The model's file has one name,
    whatever the manifest calls it. Raises BundleError where the manifest lacks something or speaks of another model,
    and StateError where the folder cannot be written; then nothing has changed.
    """
    folder = folder.resolve()  # where a link leads, so that it stays one
    manifest = {**manifest, "model": MODEL}
    bundle = _parse(manifest, folder / MANIFEST)
    _check(bundle, hashlib.sha256(model).hexdigest())
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    files = {**(beside or {}), MODEL: model, MANIFEST: text.encode()}
    partial, aside = folder.with_name(f".{folder.name}.partial"), _aside(folder)
    try:
        if aside.is_dir() and not folder.exists():  # it was ended between the two renames, and the old one is whole
            aside.rename(folder)
        for left in (partial, aside):
            shutil.rmtree(left, ignore_errors=True)
        if folder.is_dir():
            shutil.copytree(folder, partial, symlinks=True, ignore=lambda at, _: files if Path(at) == folder else ())
        else:
            partial.mkdir(parents=True)
        for name, content in files.items():
            write_atomically(partial / name, content)
        if folder.is_dir():  # no file system lets a rename replace a folder with something in it
            folder.rename(aside)
        partial.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        with suppress(OSError):  # where the second rename was refused; else there is none aside, or one in its place
            aside.rename(folder)
        raise StateError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)
    return bundle


def import_model(source: str | Path, into: Path, input_range: tuple[float, float] | None = None) -> Bundle:
    """Copy a bundle's folder, or make a bundle of a .tflite without manifest, at `into`.

    The model is first loaded and run once in a child process: what crashes the runtime
    must not end the caller. `input_range` replaces what the bundle says.
    Raises BundleError where the model cannot be a backbone, StateError where `into` cannot be written.
    """
    source = Path(source)
    if source.suffix == ".tflite" and not source.is_file():
        raise BundleError(f"{source}: there is no such file")
    bare = source.is_file() and not (source.parent / MANIFEST).is_file()
    bundle = _bare(source) if bare else load_bundle(source.parent if source.is_file() else source)
    if input_range is not None:
        low, high = input_range
        if not low < high:
            raise BundleError(f"--input-range {low:g} {high:g}: the first value must be below the second")
        bundle = replace(bundle, input_range=input_range)
    described = describe(bundle.model)
    if not bare and (bundle.height, bundle.width, bundle.size) != (
        described["height"],
        described["width"],
        described["size"],
    ):
        raise BundleError(f"{bundle.model} does not have the input or the output that its manifest names")
    bundle = replace(bundle, height=described["height"], width=described["width"], size=described["size"])
    try:
        model = read_bounded(bundle.model, MAX_MODEL_BYTES)
        manifest = bundle.model.with_name(MANIFEST)
        known: dict[str, Any] = {} if bare else json.loads(read_bounded(manifest, MAX_MANIFEST_BYTES))
    except (OSError, ValueError) as error:
        raise BundleError(f"{bundle.model} or its manifest cannot be read: {error}") from error
    return write_bundle(into, model, {**known, **_as_manifest(bundle)})


def describe(model: Path) -> dict[str, Any]:
    """Load and run a model once in a child process; its input and output as a mapping (see backbone.describe).

    Raises BundleError where it cannot be a backbone, ChildError where no process can be started.
    """
    command = [sys.executable, "-m", "agent.vision.backbone", str(model)]
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


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_MODEL_BYTES:
                raise BundleError(f"{path} has {size} bytes, no model may have more than {MAX_MODEL_BYTES}")
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _folder(source: str | Path) -> Path:
    found = _found(source)
    if found is None:
        gone = f"{source} no longer ships" if Path(source).name in RETIRED else f"there is no bundle {str(source)!r}"
        raise BundleError(f"{gone}: give a folder, a .tflite file, or one of {shipped()}")
    return found


def _found(source: str | Path) -> Path | None:
    folder = Path(source)
    for place in (folder, SHIPPED / folder) if len(folder.parts) == 1 else (folder,):
        if place.is_dir():
            return place
        if _aside(place).is_dir():
            return _aside(place)
    return None


def _manifest(path: Path) -> Bundle:
    """What a manifest says. Raises BundleError."""
    try:
        manifest = json.loads(read_bounded(path, MAX_MANIFEST_BYTES))
    except FileNotFoundError:
        raise BundleError(f"{path.parent} is no bundle: it has no {MANIFEST}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    return _parse(manifest, path)


def _aside(folder: Path) -> Path:
    """Where the bundle at `folder` lies for the instant in which another takes its place."""
    return folder.with_name(f".{folder.name}.old")


def _check(bundle: Bundle, sha256: str) -> None:
    if sha256 != bundle.sha256:
        manifest = bundle.model.with_name(MANIFEST)
        raise BundleError(f"{bundle.model} is damaged: its sha256 is not the one in {manifest}; copy the bundle again")


def _parse(manifest: Any, path: Path) -> Bundle:
    try:
        if manifest["format"] != FORMAT:
            raise BundleError(f"{path} has format {manifest['format']!r}; this version reads format {FORMAT}")
        shape = manifest["input"]
        low, high = shape.get("range", DEFAULT_RANGE)
        name = str(manifest["model"])
        if Path(name).name != name:
            raise BundleError(f"{path}: the model must lie beside its manifest, not at {name!r}")
        if not -math.inf < float(low) < float(high) < math.inf:
            raise BundleError(f"{path}: the input range {low!r:.40} to {high!r:.40} is none")
        return Bundle(
            name=_name(manifest["name"]),
            model=path.parent / name,
            sha256=str(manifest["sha256"]),
            height=int(shape["height"]),
            width=int(shape["width"]),
            input_range=(float(low), float(high)),
            size=int(manifest["bottleneck"]["size"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{path} lacks something or has it in another form: {error!r}") from error


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > MAX_NAME:
        raise ValueError(f"a backbone's name is a line of at most {MAX_NAME} characters, not {name!r:.60}")
    return name


def _bare(model: Path) -> Bundle:
    """A bundle of a .tflite alone; its sizes are not known until it is described."""
    return Bundle(model.stem, model, sha256_of(model), 0, 0, DEFAULT_RANGE, 0)


def _as_manifest(bundle: Bundle) -> Mapping[str, Any]:
    return {
        "format": FORMAT,
        "name": bundle.name,
        "model": MODEL,
        "sha256": bundle.sha256,
        "input": {"height": bundle.height, "width": bundle.width, "range": list(bundle.input_range)},
        "bottleneck": {"size": bundle.size},
    }
