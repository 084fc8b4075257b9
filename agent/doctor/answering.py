"""What answers one question: a network and a head that is made for it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.doctor.checks import Check
from agent.errors import BundleError, MismatchError, StateError, UnknownHeadError

if TYPE_CHECKING:
    from agent.vision.bundle import Bundle

Describe = Callable[["Bundle"], Mapping[str, Any]]  # loads and runs a network in a child process, as importing.describe


def model_of(folder: Path, named: str | None, task: str = "", describe: Describe | None = None) -> Check:
    """The network of the generation in `folder`, or the one that it would begin with; `named` by the configuration, of
    a `task` or of all."""
    from agent.state.state import TO_CHANGE, check_same, learnt_with, lost, outdated
    from agent.vision.bundle import DEFAULT, load_bundle, no_longer_ships

    own = folder / "backbone"
    try:
        if not own.is_dir():
            if learnt_with(folder) is None:
                return model(named or DEFAULT, task, describe)
            return Check("model", "fail", lost(folder))
        bundle = load_bundle(own)
        check_same(folder, bundle, named, None)
    except MismatchError as error:
        change = f"`lastlayer {f'--task {task} ' if task else ''}models import {named} --use`"
        advice = f"set {_key(task)}: {bundle.name}; or change it with {change}, and let it learn again"
        return Check("model", "fail", str(error), advice)
    except BundleError as error:
        return Check("model", "fail", str(error), _another(task))
    except StateError as error:
        return Check("model", "fail", f"{own} is missing, and what was learnt with it cannot be read: {error}")
    check = model(own, task, describe)
    if check.outcome == "ok" and no_longer_ships(bundle):
        return Check("model", "warn", f"{check.found}; made with {outdated(bundle)}", TO_CHANGE)
    return check


def model(source: str | Path, task: str = "", describe: Describe | None = None) -> Check:
    """Loads and runs a network once, in a child process: what it does not survive is said here."""
    from agent.vision import importing

    try:
        described = (describe or importing.describe)(network(source))
    except BundleError as error:
        return Check("model", "fail", str(error), _another(task))
    shape = f"{described['width']} x {described['height']} pixels to {described['size']} values"
    found = f"{source}: {shape}, run by {described['family']}"
    if described["words"]:
        return Check("model", "warn", "; ".join([found, *described["words"]]), "docs/models.md says what it means")
    return Check("model", "ok", found)


def network(source: str | Path) -> "Bundle":
    """A bundle, or a .tflite alone. Raises BundleError."""
    from agent.vision.bundle import load_bundle
    from agent.vision.importing import bare

    return bare(Path(source)) if Path(source).suffix == ".tflite" else load_bundle(source)


def head(folder: Path) -> Check:
    """Whether the head that is to be in service can be, with the backbone of the generation in `folder`."""
    from agent.state.state import heads_of

    if not (folder / "heads").is_dir():
        return Check("head", "ok", "none yet")
    mend = "`lastlayer heads rollback`, or `heads activate VERSION`, puts another into service; `retrain` makes one"
    try:
        store = heads_of(folder)
        version = store.active()
        if version is None:
            return Check("head", "ok", "none is in service")
        labels = store.load_for_service(version).labels
    except BundleError as error:
        return Check("head", "warn", f"cannot be looked at without its backbone: {error}", "see model")
    except (StateError, UnknownHeadError) as error:
        return Check("head", "fail", str(error), mend)
    return Check("head", "ok", f"{version}, of {len(labels)} labels")


def _another(task: str) -> str:
    return f"name another with {_key(task)}:, or copy the bundle again"


def _key(task: str) -> str:
    return f"tasks.{task}.backbone" if task else "backbone"
