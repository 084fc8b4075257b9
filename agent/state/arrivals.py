"""What was sent here from elsewhere is taken in: a head, by the gate; a backbone, after it was loaded in a child."""

import shutil
import time
from pathlib import Path

from agent.cache import Cache
from agent.errors import BundleError, DamagedError, MismatchedParcelError, MismatchError, ParcelError, StateError
from agent.learning.heads.admission import admit
from agent.learning.heads.gate import Verdict
from agent.learning.heads.store import HeadStore
from agent.learning.training.progress import Phases
from agent.reporting.timing import Timings
from agent.state import generations
from agent.state.parcels import SentHead, unpack_backbone
from agent.state.state import form_of
from agent.vision.backbone import FAMILY
from agent.vision.bundle import Bundle, load_bundle
from agent.vision.importing import import_model


def take_head(folder: Path, sent: SentHead, margin: float, timings: Timings) -> tuple[str, Verdict]:
    """Store a head that was made elsewhere, and put it into service if the gate lets it; its version, and why.

    `folder` is that of the generation in use. Raises ParcelError for a head that cannot serve its backbone, and
    StateError; nothing is stored then.
    """
    bundle = load_bundle(folder / "backbone")
    _check(sent, bundle)
    store = HeadStore(folder / "heads", form=form_of(bundle))
    report = {**sent.report, "received_ms": int(time.time() * 1000)}
    if not any((folder / "cache").glob("*.seg")):
        return admit(sent.head, report, store, None, margin=margin, seed=0, phases=Phases(timings))
    with Cache.read(folder / "cache") as cache:
        return admit(sent.head, report, store, cache.examples(), margin=margin, seed=0, phases=Phases(timings))


def take_backbone(
    state: Path,
    source: str | Path,
    input_range: tuple[float, float] | None = None,
    size: tuple[int, int] | None = None,
) -> str:
    """A new generation with a copy of the backbone in `source`; its name. It is not in use yet.

    The backbone is loaded and run once in a child process first. Where there is a generation with the same backbone
    already, that is it. Raises BundleError for what cannot be used here, StateError where flash fails.
    """
    return _begin(state, source, None, input_range, size)


def take_sent_backbone(state: Path, parcel: bytes) -> str:
    """As take_backbone, of one that was sent. A head that came with it will be in service when the generation is.

    Raises ParcelError, also for a head that cannot serve it, BundleError, and StateError.
    """
    unpacked = state / "generations" / ".sent"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        _, head = unpack_backbone(parcel, unpacked)
        return _begin(state, unpacked, head)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _begin(
    state: Path,
    source: str | Path,
    head: SentHead | None,
    input_range: tuple[float, float] | None = None,
    size: tuple[int, int] | None = None,
) -> str:
    partial = state / "generations" / ".new"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        bundle = import_model(source, partial / "backbone", input_range, size)
        name = generations.new_name(state, bundle)
        if name in generations.names(state):
            return name
        if head is not None:
            _put_head(partial, bundle, head)
        partial.rename(generations.folder_of(state, name))
    except OSError as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"{partial} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return name


def _put_head(folder: Path, bundle: Bundle, sent: SentHead) -> None:
    _check(sent, bundle)
    store = HeadStore(folder / "heads", form=form_of(bundle))
    _, verdict = admit(sent.head, sent.report, store, None, margin=0, seed=0, phases=Phases())
    if not verdict.accepted:
        raise BundleError(f"the head that came with {bundle.name} cannot be used: {verdict.reason}")


def _check(sent: SentHead, bundle: Bundle) -> None:
    """What is wrong with a head that was sent is its sender's business, not one of the state here."""
    if sent.head.backbone_id != bundle.backbone_id(FAMILY):
        raise MismatchedParcelError(
            f"the head was made with another backbone than {bundle.name}, or for another TFLite runtime than {FAMILY}, "
            "which is here: train it on bottlenecks that a board of this kind made"
        )
    try:
        sent.head.check(form_of(bundle))
    except MismatchError as error:
        raise MismatchedParcelError(str(error)) from error
    except DamagedError as error:
        raise ParcelError(str(error)) from error
