"""What a training says of itself in the .keras file that it writes: a zip archive, in which Keras does not mind it."""

import json
import zipfile
from pathlib import Path
from typing import Any

MEMBER = "training.json"


def record(path: Path) -> dict[str, Any] | None:
    """What stands there; None where no training of ours wrote the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(MEMBER))
    except (OSError, ValueError, KeyError, RecursionError, zipfile.BadZipFile):
        return None
    return found if isinstance(found, dict) else None


def trained_size(path: Path) -> int | None:
    """The side of the pictures that it was trained on last, in pixels; None where nothing says it."""
    size = (record(path) or {}).get("size")
    return size if type(size) is int and size > 0 else None
