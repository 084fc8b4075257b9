"""A bundle: a backbone, and all that is needed to use it.

A folder with `model.tflite` and `manifest.json`:

    {"format": 1, "name": "standard", "model": "model.tflite", "sha256": "…",
     "input": {"height": 192, "width": 192, "range": [0, 255]},
     "bottleneck": {"size": 704}, …what people want to know: sources, terms, figures…}

`range` gives the values onto which the pixel bytes 0..255 are mapped for a model with a
float input. A quantized input takes the bytes as they are; but where `input` has `"requantized": true`
too, it takes what the model's own quantization makes of those values. A model that takes pictures of
any size is given them of the height and width that stand here.

Whoever makes one writes it by `write_bundle`, so that a network is never found with the manifest of another.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Bundle:
    name: str
    model: Path
    sha256: str
    height: int  # pixels
    width: int
    input_range: tuple[float, float]
    size: int  # values in a bottleneck
    requantized: bool = False  # a quantized input takes values of `input_range`, and not the bytes as they are

    def backbone_id(self, family: str) -> str:
        """32 hex digits that two bottlenecks must share to be compared or mixed.

        Two runtime families answer with different values for the same picture, and so
        does the same model with another preprocessing.
        """
        way = f"{self.input_range} requantized" if self.requantized else f"{self.input_range}"
        identity = f"{self.sha256} {self.height}x{self.width} {way} {family}"
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
    try:
        return Path(source).is_file() or _found(source) is not None
    except OSError:  # a name that is too long, a folder that nobody may look into
        return False


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
        requantized = shape.get("requantized", False)
        if not isinstance(requantized, bool):
            raise BundleError(f"{path}: requantized must be true or false, not {requantized!r:.40}")
        return Bundle(
            name=_name(manifest["name"]),
            model=path.parent / name,
            sha256=str(manifest["sha256"]),
            height=int(shape["height"]),
            width=int(shape["width"]),
            input_range=(float(low), float(high)),
            size=int(manifest["bottleneck"]["size"]),
            requantized=requantized,
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{path} lacks something or has it in another form: {error!r}") from error


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > MAX_NAME:
        raise ValueError(f"a backbone's name is a line of at most {MAX_NAME} characters, not {name!r:.60}")
    return name
