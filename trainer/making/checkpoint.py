"""A training on disk: network, optimizer and how far it has come, in one .keras file that is replaced whole."""

import json
import logging
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.board.files import sync_folder
from agent.errors import ConfigError, StateError
from trainer.networks.trained import MEMBER

logger = logging.getLogger(__name__)


@dataclass
class Standing:
    """How far a training has come, earlier runs included."""

    step: int = 0
    pictures: int = 0
    elapsed_s: float = 0.0
    size: int = 0  # side of the pictures, in pixels, for which the network is meant; 0 in older files


def write(network: Any, path: Path, standing: Standing) -> None:
    """Raises StateError where it cannot be written; what was there before stays."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        network.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(MEMBER, json.dumps(asdict(standing)))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except (OSError, RuntimeError, ValueError) as error:  # h5py has its own words for a full disk
        temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise StateError(f"the checkpoint {path} cannot be written: {reason}") from error


def begun(path: Path, resume: bool) -> Standing:
    """Where a training begins whose checkpoint will be `path`; its folder is made.

    Raises ConfigError where the file is there and not to be resumed, or the other way round.
    """
    if path.exists() and not resume:
        raise ConfigError(f"{path} exists: go on with it by --resume, or name another checkpoint")
    if resume:
        return read_standing(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"{path.parent} cannot be made: {error.strerror}") from error
    return Standing()


def read_standing(path: Path) -> Standing:
    """Raises ConfigError where the file is no checkpoint of a training."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(MEMBER))
        counts = int(found["step"]), int(found["pictures"]), float(found["elapsed_s"])
        return Standing(*counts, int(found.get("size", 0)))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{path} cannot be resumed: it is no checkpoint of a training ({error}); leave --resume away to start anew"
        ) from error


def restore(network: Any, path: Path) -> None:
    """Loads weights and the optimizer's moments into a compiled network. Raises ConfigError where they do not fit."""
    try:
        network.optimizer.build(network.trainable_variables)
        network.load_weights(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        words = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{path} cannot be resumed with this network, corpus and teacher: {words}; leave --resume away to start "
            "anew"
        ) from error
