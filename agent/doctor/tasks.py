"""The tasks: what answers each, what it has learnt, and what none of them has."""

from collections.abc import Collection, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.doctor.answering import Describe, head, model_of, network
from agent.doctor.checks import Check
from agent.errors import BundleError, LabelError, LastlayerError, StateError
from agent.state import generations

if TYPE_CHECKING:
    from agent.config import Config, TaskConfig
    from agent.vision.bundle import Bundle

MANY = 10  # names that are told in one line


@dataclass(frozen=True, slots=True)
class Asked:
    """A task of the configuration, and what is known of it."""

    name: str
    config: "TaskConfig"
    network: str  # what its bottlenecks come from: the sha256 of that, or as it is named where nothing is there
    labels: Set[str]  # of its examples and of its head in service


def tasks(config: "Config", root: Path, backbone: str | None) -> list[Check]:
    """All checks of the tasks in the state `root`. Of the backbone is said `backbone`, where a task says nothing.

    Where the configuration names none there is one, of which only its network and its head are told.
    """
    from agent.config import TaskConfig
    from agent.records import DEFAULT_TASK

    checks: list[Check] = []
    known: list[Asked] = []
    named = bool(config.tasks)
    asked = config.tasks or {DEFAULT_TASK: TaskConfig()}
    describe = _described_once()
    for name, task in asked.items():
        found = list(_of_one(name if named else "", task, root, backbone, describe, known))
        checks += [replace(check, found=f"{name}: {check.found}") for check in found] if named else found
    if named:
        checks += [*different(known), cameras(config, root)]
    return [*checks, *kept(root, asked, said=named)]


def _of_one(
    name: str, task: "TaskConfig", root: Path, backbone: str | None, describe: Describe, known: list[Asked]
) -> Iterator[Check]:
    """What answers a task; and what it has learnt, if it has a name: then it is added to those that are `known`."""
    from agent.records import DEFAULT_TASK
    from agent.state.tasks import root_of

    own = root_of(root, name or DEFAULT_TASK)
    try:
        folder = generations.current(own)
    except StateError as error:
        yield Check("model", "fail", str(error), "`lastlayer models` shows what there is")
        return
    named = (task.backbone or backbone) if folder == own else None
    yield model_of(folder, named, name, describe)
    yield head(folder)
    if not name:
        return
    try:
        labels = _labels(folder)
    except StateError as error:
        yield Check("labels", "fail", f"its examples cannot be read: {error}", "`lastlayer cache` tells more")
        return
    yield labelled(name, labels, task.on)
    known.append(Asked(name, task, _network(folder, named), labels))


def labelled(name: str, labels: Set[str], on: str | None) -> Check:
    """Whether a task has something to tell apart, of which Home Assistant can show one as on."""
    if not labels:
        advice = f"send frames with their labels, or `lastlayer --task {name} learn PICTURES`"
        return Check("labels", "warn", "none yet: there is neither an example nor a head", advice)
    there = _several(sorted(labels))
    if len(labels) == 1:
        return Check("labels", "warn", f"{there} alone: a head needs two", "label what it is not, too")
    if on is None or (on in labels and len(labels) == 2):
        return Check("labels", "ok", there)
    wrong = f"{there}; on is {on!r}, which is none of them" if on not in labels else f"{there}; on is for two labels"
    return Check("labels", "warn", wrong, f"Home Assistant shows no on and off: mend tasks.{name}.on, or leave it out")


def different(known: Collection[Asked]) -> list[Check]:
    """Whether tasks differ in what they look at, the network that does, or their labels."""
    groups: dict[object, list[Asked]] = {}
    for each in known:
        groups.setdefault((_looked_at(each.config), each.network), []).append(each)
    checks = []
    for group in groups.values():
        alike = [one.name for one in group if any(_are_alike(one, other) for other in group if other is not one)]
        if alike:
            found = f"{_several(alike)} differ in nothing: the same views, the same network, no labels of their own"
            advice = "leave one of them out, give it other views, or teach it other labels"
            checks.append(Check("tasks", "warn", found, advice))
    return checks or [Check("tasks", "ok", "no two are alike")]


def _are_alike(one: Asked, other: Asked) -> bool:
    return not one.labels or not other.labels or one.labels == other.labels


def _looked_at(task: "TaskConfig") -> frozenset[tuple[str | None, object, int]]:
    """Whatever the views are called."""
    from agent.config import ViewConfig

    return frozenset((view.camera, view.region, view.rotate) for view in task.views or (ViewConfig(),))


def cameras(config: "Config", root: Path) -> Check:
    """Whether a task looks at each camera that the configuration or the watched folder names, or that was announced
    while there were no tasks yet."""
    from agent.reporting.announced import Memory

    looked_at = {camera for task in config.tasks.values() for camera, *_ in _looked_at(task)}
    announced = {view.name for view in Memory(root / "announced").announced.views if not view.task}
    of_folder = {*_folders(config), *([config.folder.camera] if config.folder.camera else [])}
    known = sorted({*config.cameras, *of_folder, *announced})
    unseen = [] if None in looked_at else [camera for camera in known if camera not in looked_at]
    if unseen:
        advice = "name it as the camera of a view, or let a task look at all cameras by a view without one"
        return Check("cameras", "warn", f"no task looks at {_several(unseen)}", advice)
    return Check("cameras", "ok", f"a task looks at {_several(known) if known else 'each that is named'}")


def _folders(config: "Config") -> Iterator[str]:
    """The cameras that have a folder in the watched one."""
    from agent.ingress.folder.files import subfolders
    from agent.ingress.folder.folders import camera_name

    if config.folder.path is None:
        return
    try:
        below = subfolders(str(config.folder.path), "")
    except OSError:  # the daemon waits for it
        return
    for folder in below:
        try:
            yield camera_name(folder)
        except LabelError:
            continue


def kept(root: Path, asked: Collection[str], *, said: bool) -> Iterator[Check]:
    """What the state keeps of tasks that are not asked any more; that there is none only if that is to be `said`."""
    from agent.records import DEFAULT_TASK
    from agent.state.tasks import check_whole, has_learnt, left_over

    try:
        check_whole(root)
    except StateError as error:
        yield Check("kept", "fail", str(error), "type that command")
        return
    over = left_over(root, asked)
    fresh = [name for name in asked if not has_learnt(root, name)]
    new = fresh[0] if len(fresh) == 1 else "NEW"
    for name in over:
        before = " (what was learnt before there were tasks)" if name == DEFAULT_TASK else ""
        found = f"{name}{before} has learnt and is not configured: nothing of it is lost, and nobody asks it"
        rename = f"`lastlayer tasks rename {name} {new}`"
        yield Check("kept", "warn", found, f"if it is called otherwise now, stop the service and type {rename}")
    if said and not over:
        yield Check("kept", "ok", "nothing of other tasks")


def _labels(folder: Path) -> Set[str]:
    """Those of the examples and of the head in service. Raises StateError where the examples cannot be read."""
    from agent.cache import Cache
    from agent.learning.heads.store import HeadStore

    labels: set[str] = set()
    if any((folder / "cache").glob("*.seg")):
        with Cache.read(folder / "cache") as cache:
            labels.update(cache.label_counts())
    heads = HeadStore(folder / "heads")
    with suppress(LastlayerError):  # which is said of the head
        version = heads.active()
        labels.update(heads.load(version).labels if version is not None else ())
    return labels


def _network(folder: Path, named: str | None) -> str:
    from agent.vision.bundle import DEFAULT

    own = folder / "backbone"
    try:
        return network(own if own.is_dir() else named or DEFAULT).sha256
    except BundleError:
        return str(named)


def _described_once() -> Describe:
    """As importing.describe; a network that several tasks have is run once."""
    from agent.vision.importing import describe

    described: dict[str, Mapping[str, Any]] = {}

    def once(bundle: "Bundle") -> Mapping[str, Any]:
        identity = bundle.backbone_id("")
        if identity not in described:
            described[identity] = describe(bundle)
        return described[identity]

    return once


def _several(names: Collection[str]) -> str:
    shown = [*names][:MANY]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
