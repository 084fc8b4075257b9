"""Generations of a state: one that gets a new backbone keeps the old one, with its examples and its heads.

Bottlenecks of two backbones are never mixed, so a new backbone begins with an empty cache, and can be left again.

    STATE/                     the first generation: backbone/, cache/, heads/
    STATE/generations/NAME/    a later one, of the same form
    STATE/generation           the generations in the order in which they came into use, one a line: the last one is
                               in use (`first` is that); replaced by an atomic rename. Without it, the first is
"""

import logging
import re
from pathlib import Path

from agent.board.history import History
from agent.errors import BundleError, StateError, UnknownBackboneError
from agent.vision.bundle import Bundle, load_bundle

log = logging.getLogger(__name__)

FIRST = "first"

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,80}")


def current(state: Path) -> Path:
    """The folder of the generation in use. Raises StateError where it is gone."""
    name = in_use(state)
    folder = folder_of(state, name)
    if name != FIRST and not (folder / "backbone").is_dir():
        raise StateError(f"{state / 'generation'} names {name}, which is not there: `lastlayer models rollback`")
    return folder


def names(state: Path) -> list[str]:
    """All generations."""
    found = sorted(path.parent.name for path in (state / "generations").glob("*/backbone"))
    return [*([FIRST] if (state / "backbone").is_dir() else []), *found]


def bundle_of(state: Path, name: str) -> Bundle:
    """The backbone of a generation. Raises UnknownBackboneError, and BundleError where it is damaged."""
    if name not in names(state):
        raise UnknownBackboneError(f"{state} has no backbone {name!r}; it has: {', '.join(names(state)) or 'none yet'}")
    return load_bundle(folder_of(state, name) / "backbone")


def new_name(state: Path, bundle: Bundle) -> str:
    """What a generation with this backbone is called; that of the same network, looking in another way, differs."""
    name = f"{re.sub(r'[^A-Za-z0-9_-]', '-', bundle.name)[:60]}-{bundle.sha256[:8]}"
    if name in names(state) and bundle_of(state, name).backbone_id("") != bundle.backbone_id(""):
        return f"{name}-{bundle.backbone_id('')[:8]}"
    return name


def in_use(state: Path) -> str:
    """The name of the generation in use."""
    return _history(state).names()[-1]


def use(state: Path, name: str) -> None:
    """Let a generation be in use.

    Raises UnknownBackboneError, BundleError where its backbone is damaged, StateError where flash fails.
    """
    bundle_of(state, name)
    _history(state).use(name)


def rollback(state: Path) -> str:
    """Return to the generation that was in use before; its name. Those that are gone or damaged are skipped.

    Raises UnknownBackboneError where there is none.
    """

    def is_usable(name: str) -> bool:
        try:
            bundle_of(state, name)
        except (UnknownBackboneError, BundleError) as error:
            log.warning("%s", error)
            return False
        return True

    before = _history(state).rollback(is_usable)
    if before is None:
        raise UnknownBackboneError(f"{in_use(state)!r} is in use, and none that still exists was before it")
    return before


def folder_of(state: Path, name: str) -> Path:
    """Where a generation lies, whether it is there or not."""
    return state if name == FIRST else state / "generations" / name


def _history(state: Path) -> History:
    return History(state / "generation", _NAME, "`lastlayer models use NAME`", FIRST)
