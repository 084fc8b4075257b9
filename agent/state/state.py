"""The state folder: all that one board has learnt. It holds everything it needs, and can be copied.

backbone/   the bundle that its bottlenecks were made with
cache/      the examples
heads/      the heads, and which of them is in service
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from agent.cache import Cache, Layout
from agent.config import CacheConfig
from agent.errors import MismatchError, StateError
from agent.learning.heads.store import HeadStore
from agent.learning.solving.head import Form
from agent.vision.backbone import FAMILY, Backbone
from agent.vision.bundle import DEFAULT, Bundle, load_bundle, sha256_of
from agent.vision.importing import import_model

log = logging.getLogger(__name__)


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


def open_state(folder: Path, backbone: str | None = None, input_range: tuple[float, float] | None = None) -> State:
    """The state in `folder`; a new one takes a copy of `backbone` (a name in models/, a folder, a .tflite).

    Raises MismatchError where the state was made with another backbone than the one
    given, StateError where the folder cannot be used, BundleError for a bad backbone.
    """
    own = folder / "backbone"
    if own.is_dir():
        bundle = load_bundle(own)
        _check_same(folder, bundle, backbone, input_range)
        return State(folder, bundle)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"the state folder {folder} cannot be made: {error.strerror}") from error
    log.info("new state folder %s, backbone %s", folder, backbone or DEFAULT)
    return State(folder, import_model(backbone or DEFAULT, own, input_range))


def form_of(bundle: Bundle) -> Form:
    """Of the bottlenecks that its backbone gives here."""
    return Form(bundle.backbone_id(FAMILY), bundle.size)


def heads_of(folder: Path) -> HeadStore:
    """The heads of the state in `folder`, to change which is in service. Raises BundleError without a backbone."""
    return State(folder, load_bundle(folder / "backbone")).heads


def _check_same(folder: Path, own: Bundle, backbone: str | None, input_range: tuple[float, float] | None) -> None:
    if backbone is not None:
        path = Path(backbone)
        other = sha256_of(path) if path.is_file() else load_bundle(backbone).sha256
        if other != own.sha256:
            raise MismatchError(
                f"the state {folder} was made with the backbone {own.name} ({own.sha256[:8]}), not with {backbone} "
                f"({other[:8]}): their bottlenecks must not be mixed; leave --backbone out, or use another --state"
            )
    if input_range is not None and input_range != own.input_range:
        raise MismatchError(
            f"the state {folder} was made with the input range {own.input_range}, not {input_range}: "
            "leave --input-range out, or use another --state"
        )


def existing_state(folder: Path, backbone: str | None = None, input_range: tuple[float, float] | None = None) -> State:
    """The state in `folder`, which must be there. Raises as open_state does."""
    if not (folder / "backbone").is_dir():
        raise StateError(f"{folder} holds no state yet: begin with `lastlayer --state {folder} learn PICTURES`")
    return open_state(folder, backbone, input_range)
