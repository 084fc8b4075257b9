"""The state folder: all that one board has learnt. It holds everything it needs, and can be copied.

backbone/   the bundle that its bottlenecks were made with
cache/      the examples
heads/      the heads, and which of them is in service
"""

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from agent.board.files import sync_folder
from agent.cache import Cache, Layout
from agent.config import CacheConfig
from agent.errors import BundleError, MismatchError, StateError
from agent.learning.heads.store import HeadStore
from agent.learning.solving.head import Form
from agent.state import generations, tasks
from agent.vision.backbone import FAMILY, Backbone
from agent.vision.bundle import DEFAULT, MANIFEST, Bundle, is_there, load_bundle, no_longer_ships, sha256_of, shipped
from agent.vision.importing import import_model

log = logging.getLogger(__name__)

TO_CHANGE = (
    f"`lastlayer models import {DEFAULT} --use` changes to what ships now, and what was learnt is then to be learnt "
    "again: bottlenecks of two networks are never mixed"
)


@dataclass(frozen=True)
class State:
    folder: Path
    bundle: Bundle

    @property
    def heads(self) -> HeadStore:
        return HeadStore(self.folder / "heads", form=form_of(self.bundle))

    def backbone(self, *, threads: int = 1) -> Backbone:
        return Backbone(self.bundle, threads=threads)

    def cache(self, backbone: Backbone, config: CacheConfig | None = None) -> Cache:
        """The cache, for reading and writing. Raises what Cache raises."""
        layout = Layout.of(
            backbone.backbone_id, backbone.size, backbone.dtype.name, backbone.scale, backbone.zero_point
        )
        return Cache(self.folder / "cache", layout, config)


def open_state(
    folder: Path,
    backbone: str | None = None,
    input_range: tuple[float, float] | None = None,
    size: tuple[int, int] | None = None,
) -> State:
    """The state in `folder`; a new one takes a copy of `backbone` (a name in models/, a folder, a .tflite).

    A state goes on with its own copy where what its name once meant is gone or has become another, as by an upgrade;
    it says so. Raises MismatchError where the state was made with another backbone than the one given, StateError where
    the folder cannot be used, has no copy of what it has learnt with, or waits for the renaming of a task to be
    completed, BundleError for a bad backbone.
    """
    own = folder / "backbone"
    tasks.check_whole(tasks.state_of(folder))
    if own.is_dir():
        bundle = load_bundle(own)
        check_same(folder, bundle, backbone, input_range, size)
        if no_longer_ships(bundle):
            log.warning("the state %s was made with %s; %s", folder, outdated(bundle), TO_CHANGE)
        return State(folder, bundle)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"the state folder {folder} cannot be made: {error.strerror}") from error
    made_with = learnt_with(folder)
    if made_with is not None:
        return State(folder, _put_back(folder, made_with, backbone or DEFAULT, input_range, size))
    log.info("new state folder %s, backbone %s", folder, backbone or DEFAULT)
    shared = _shared(folder, backbone or DEFAULT) if input_range is None and size is None else None
    return State(folder, shared or import_model(backbone or DEFAULT, own, input_range, size))


def _shared(folder: Path, source: str) -> Bundle | None:
    """The bundle in `source`, as another task of the same state has it already: links to its files, which nobody
    writes in place. None where none has it, or no link can be made."""
    state, own, partial = tasks.state_of(folder), folder / "backbone", folder / ".backbone.new"
    roots = [tasks.root_of(state, name) for name in tasks.names(state)]
    kept = [generations.folder_of(root, name) / "backbone" for root in roots for name in generations.names(root)]
    for other in kept:
        try:
            bundle, wanted = load_bundle(other), load_bundle(source)
            if (bundle.name, bundle.backbone_id("")) == (wanted.name, wanted.backbone_id("")):
                partial.mkdir(exist_ok=True)
                for file in (bundle.model, other / MANIFEST):
                    os.link(file, partial / file.name)
                sync_folder(partial)
                partial.rename(own)
                sync_folder(folder)
                return load_bundle(own)
        except (BundleError, OSError) as error:
            log.debug("%s is not shared: %s", other, error)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return None


def form_of(bundle: Bundle) -> Form:
    """Of the bottlenecks that its backbone gives here."""
    return Form(bundle.backbone_id(FAMILY), bundle.size)


def heads_of(folder: Path) -> HeadStore:
    """The heads of the state in `folder`, to change which is in service. Raises BundleError without a backbone."""
    return State(folder, load_bundle(folder / "backbone")).heads


def outdated(bundle: Bundle) -> str:
    """Of a bundle that no longer ships, for people."""
    return f"{bundle.name} ({bundle.sha256[:8]}), which no longer ships: it goes on with its own copy, nothing is lost"


def learnt_with(folder: Path) -> str | None:
    """The backbone id of the examples, or else of the heads, in `folder`; None where nothing has been learnt.

    Raises StateError where they cannot be read.
    """
    if any((folder / "cache").glob("*.seg")):
        with Cache.read(folder / "cache") as cache:
            return cache.layout.backbone_id
    heads = HeadStore(folder / "heads")
    return next((heads.load(version).backbone_id for version in reversed(heads.versions())), None)


def lost(folder: Path) -> str:
    """Of a state that has learnt and has no copy of its backbone, for people: what is wrong, and what to do."""
    return (
        f"{folder / 'backbone'} is missing, the network with which the state {folder} has learnt; its examples and "
        "heads are of use with that one alone, bottlenecks of two networks must not be mixed: name a copy of it with "
        f"--backbone, and it is put back; or begin with another --state, with one of {shipped()}"
    )


def check_same(
    folder: Path,
    own: Bundle,
    backbone: str | None,
    input_range: tuple[float, float] | None,
    size: tuple[int, int] | None = None,
) -> None:
    """Raises MismatchError where a state was made with another backbone, input range or size than those that are
    named."""
    if backbone is not None and not _once_meant(backbone, own):
        path = Path(backbone)
        try:
            other = sha256_of(path) if path.is_file() else load_bundle(backbone).sha256
        except OSError as error:
            raise BundleError(f"{backbone}: {error.strerror or error}") from error
        if other != own.sha256:
            raise MismatchError(
                f"the state {folder} was made with the backbone {own.name} ({own.sha256[:8]}), not with {backbone} "
                f"({other[:8]}): their bottlenecks must not be mixed; leave --backbone, or `backbone:` in the "
                f"configuration, out; or begin anew with that one, and keep what was learnt, by `lastlayer models "
                f"import {backbone} --use` (and --task); or use another --state"
            )
    if input_range is not None and input_range != own.input_range:
        raise MismatchError(
            f"the state {folder} was made with the input range {own.input_range}, not {input_range}: "
            "leave --input-range out, or use another --state"
        )
    if size is not None and size != (own.height, own.width):
        raise MismatchError(
            f"the state {folder} was made with pictures of {own.width} x {own.height} pixels, not {size[1]} x "
            f"{size[0]}: leave --size out, or use another --state"
        )


def _once_meant(backbone: str, own: Bundle) -> bool:
    """Whether a name meant the state's own copy when that was made: it means nothing now, or what ships has changed."""
    path = Path(backbone)
    if own.name not in (path.name, path.stem):
        return False
    return not is_there(backbone) or (len(path.parts) == 1 and not path.exists() and no_longer_ships(own))


def _put_back(
    folder: Path,
    made_with: str,
    source: str,
    input_range: tuple[float, float] | None,
    size: tuple[int, int] | None,
) -> Bundle:
    """Copy the backbone into a state that has lost its copy. Raises StateError for any other backbone than that."""
    own, partial = folder / "backbone", folder / ".backbone.new"
    try:
        if import_model(source, partial, input_range, size).backbone_id(FAMILY) != made_with:
            raise StateError(f"{lost(folder)}. {source} is another one")
        partial.rename(own)
    except BundleError as error:
        raise StateError(f"{lost(folder)}. {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log.warning("%s was missing, and is there again, copied from %s", own, source)
    return load_bundle(own)


def existing_state(
    folder: Path,
    backbone: str | None = None,
    input_range: tuple[float, float] | None = None,
    size: tuple[int, int] | None = None,
) -> State:
    """The state in `folder`, which must be there. Raises as open_state does."""
    if not (folder / "backbone").is_dir() and learnt_with(folder) is None:
        raise StateError(f"{folder} holds no state yet: begin with `lastlayer --state {folder} learn PICTURES`")
    return open_state(folder, backbone, input_range, size)
