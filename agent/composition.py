"""From the configuration to the parts of the daemon: each room is handed what it needs, and nobody the whole."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cache.upkeep import Upkeep
from agent.config import Config, RetrainConfig, TaskConfig, ViewConfig
from agent.errors import BundleError
from agent.ingress.folder.watching import WatchedFolder
from agent.ingress.http.routes import Api
from agent.ingress.http.server import Server, http_server
from agent.learning.running.pausing import Conditions, Limits, Pausing
from agent.learning.running.retraining import Retraining
from agent.learning.running.turns import Turns
from agent.records import DEFAULT_TASK, Frame
from agent.region import Cut
from agent.reporting.announced import Memory
from agent.reporting.announcer import Announcer
from agent.reporting.feed import Feed
from agent.reporting.mqtt.outbox import open_outbox
from agent.reporting.questions import questions_of
from agent.reporting.timing import Timings
from agent.service import Service
from agent.service.exchange import Exchange
from agent.service.heads import Heads
from agent.service.inbox import Inbox
from agent.service.recent import RecentFrames
from agent.service.seeing import Seeing
from agent.service.tasks import Task, Tasks
from agent.service.teaching import Teaching
from agent.state import generations
from agent.state.state import State, open_state
from agent.state.tasks import check_whole, left_over, left_over_words, root_of
from agent.vision.backbone import FAMILY, Backbone
from agent.vision.bundle import Bundle
from agent.vision.classifier import Classifier, View
from agent.vision.probe import Probe
from agent.vision.unchanged import Unchanged

log = logging.getLogger(__name__)

LOADING_S = 1.0  # nobody else has a turn yet

if TYPE_CHECKING:
    from agent.ingress.mqtt.source import MqttSource
    from agent.reporting.mqtt.broker import Broker


@dataclass(frozen=True)
class Reporting:
    """Everything by which the daemon tells what it does. `broker` is None where none is configured."""

    timings: Timings
    broker: "Broker | None"
    events: Feed
    announcer: Announcer


@dataclass(frozen=True)
class Parts:
    """All that the daemon is made of, not started yet."""

    folder: Path  # of the state
    told: Reporting
    service: Service
    turns: Turns  # of the retrainings
    upkeep: Upkeep
    server: Server
    commands: "MqttSource | None"  # and frames, where there is a broker
    watched: WatchedFolder | None


@contextmanager
def built(
    config: Config,
    root: Path,
    input_range: tuple[float, float] | None = None,
    size: tuple[int, int] | None = None,
) -> Iterator[Parts]:
    """The parts, for the generations of the state `root` that are in use; what they hold is given back at the end.

    Raises what is wrong with the state, a backbone, the configuration or the address.
    """
    check_whole(root)
    asked = questions(config)
    for name in left_over(root, asked):
        log.warning("%s", left_over_words(name))
    told = reporting(config, root)
    backbones = Backbones(config, root, input_range, size)
    common = Common(config, root, told, RecentFrames(config.frames.remember), Turns(), threading.Lock())
    with ExitStack() as stack:
        each = [
            stack.enter_context(_task(common, name, question, *backbones.of(name, question)))
            for name, question in asked.items()
        ]
        tasks = Tasks(each, are_named=bool(config.tasks))
        service = _service(common, tasks)
        server = http_server(config.http, Api(service, told.events), config.frames.max_bytes)
        stack.enter_context(closing(server))
        commands, watched = _commands(config, service, told), _watched(config, service, told)
        upkeep = Upkeep([task.cache for task in tasks])
        yield Parts(root, told, service, common.turns, upkeep, server, commands, watched)


@dataclass(frozen=True)
class Common:
    """What the tasks of a board share."""

    config: Config
    root: Path  # the state
    told: Reporting
    recent: RecentFrames
    turns: Turns  # of the retrainings
    taking: threading.Lock  # held while something that was sent is taken in


def questions(config: Config) -> dict[str, TaskConfig]:
    """The tasks by their names; without any in the configuration there is one, of all cameras and whole frames."""
    return config.tasks or {DEFAULT_TASK: TaskConfig()}


class Backbones:
    """Those that are in use: each is loaded once, however many tasks use it.

    What is said of the input, and of a backbone in the configuration, is said of a task's first generation.
    """

    def __init__(
        self, config: Config, root: Path, input_range: tuple[float, float] | None, size: tuple[int, int] | None
    ) -> None:
        self._config = config
        self._root = root
        self._input = input_range, size
        self._loaded: dict[str, Backbone] = {}

    def of(self, name: str, asked: TaskConfig) -> tuple[State, Backbone]:
        """The generation of a task that is in use, and its backbone; where that cannot be used, the one before it.

        Raises BundleError, StateError and MismatchError.
        """
        root = root_of(self._root, name)
        while True:
            try:
                state = self._state(root, asked)
                return state, self._load(state.bundle)
            except BundleError as error:
                if generations.in_use(root) == generations.FIRST:
                    raise
                log.error("%s; returning to the backbone before it", error)
                generations.rollback(root)

    def _state(self, root: Path, asked: TaskConfig) -> State:
        folder = generations.current(root)
        if folder != root:
            return open_state(folder)
        if asked.backbone is not None:
            return open_state(root, asked.backbone)
        return open_state(root, self._config.backbone, *self._input)

    def _load(self, bundle: Bundle) -> Backbone:
        """Raises BundleError, also where it gives nothing for a picture of our own."""
        key = bundle.backbone_id(FAMILY)
        if key not in self._loaded:
            backbone = Backbone(bundle, threads=self._config.threads)
            if (trouble := Probe(backbone).trouble(LOADING_S, ())) is not None:
                raise BundleError(f"no frame can be classified: {trouble}")
            self._loaded[key] = backbone
        return self._loaded[key]


def _commands(config: Config, service: Service, told: Reporting) -> "MqttSource | None":
    if told.broker is None:
        return None
    from agent.ingress.mqtt.source import MqttSource  # not before, as in _broker

    return MqttSource(service, told.broker, config.frames.max_bytes, discovery_prefix(config))


def _watched(config: Config, service: Service, told: Reporting) -> WatchedFolder | None:
    if config.folder.path is None:
        return None

    def classify(payload: bytes, *, camera: str, received_ms: int, tentative: bool) -> object:
        frame = Frame.pushed(payload, camera, received_ms=received_ms)
        return service.seeing.classify(frame, "folder", tentative=tentative)

    return WatchedFolder(config.folder, classify, told.timings, max_bytes=config.frames.max_bytes)


def reporting(config: Config, root: Path) -> Reporting:
    """Raises ConfigError for a login or a certificate that cannot be used. Reports wait in a folder of `root`."""
    broker, events, memory = _broker(config, root), Feed(), Memory(root / "announced")
    announcer = Announcer(
        broker,
        [events.tell],
        questions=questions_of(config),
        discovery_prefix=discovery_prefix(config),
        memory=memory,
    )
    return Reporting(Timings(node=config.mqtt.node, runtime=FAMILY), broker, events, announcer)


def _broker(config: Config, root: Path) -> "Broker | None":
    if config.mqtt.host is None:
        return None
    # Not before: paho takes 8 MB, which a board without a broker is spared.
    from agent.reporting.mqtt.broker import MAX_MESSAGE_BYTES, Broker

    report, outbox = config.report, None
    if report.spool_bytes:
        outbox = open_outbox(root / "reports", report.spool_bytes, report.spool_hours * 3600)
    return Broker(config.mqtt, outbox, max_message_bytes=config.frames.max_bytes + MAX_MESSAGE_BYTES)


def discovery_prefix(config: Config) -> str | None:
    """None where Home Assistant is not to be told."""
    return config.mqtt.discovery_prefix if config.mqtt.discovery else None


@contextmanager
def _task(common: Common, name: str, asked: TaskConfig, state: State, backbone: Backbone) -> Iterator[Task]:
    """What answers one question, and learns to. `state` is the generation of it that is in use."""
    config, told = common.config, common.told
    said, retrain = name if config.tasks else "", asked.retrain or config.retrain
    classifier = Classifier(backbone, told.timings)
    heads = Heads(state.heads, classifier, told.announcer, said)
    retraining = Retraining(state.folder, retrain_options(retrain), common.turns)
    with state.cache(backbone, config.cache) as cache:
        teaching = Teaching(
            cache,
            common.recent,
            retraining,
            told.timings,
            told.announcer,
            on_head=heads.follow_store,
            retrain_after=retrain.auto_after,
            task=said,
        )
        exchange = Exchange(
            root_of(common.root, name),
            state.folder,
            cache,
            heads,
            node=config.mqtt.node,
            margin=retrain.margin,
            taking=common.taking,
        )
        views = [_view(classifier, said, view) for view in asked.views or (ViewConfig(),)]
        yield Task(name, views, cache, retraining, teaching, heads, exchange)


def _view(classifier: Classifier, task: str, view: ViewConfig) -> View:
    unchanged = Unchanged(view.skip_unchanged, view.skip_at_most_s) if view.skip_unchanged else None
    return View(classifier, Cut(view.region, view.rotate), task, view.known_as, view.camera, unchanged)


def _service(common: Common, tasks: Tasks) -> Service:
    """What answers all faces."""
    config, told = common.config, common.told
    pausing = Pausing([task.retraining for task in tasks], Conditions(pause_limits(config.retrain)))
    listeners = (
        pausing.watch_frame,
        lambda seen: told.announcer.result(seen.result),
        lambda seen: told.events.result(seen.result),
    )
    seeing = Seeing(
        [view for task in tasks for view in task.views],
        Inbox(config.frames.inbox, config.frames.decoding_bytes),
        common.recent,
        told.timings,
        listeners,
        max_bytes=config.frames.max_bytes,
        max_pixels=config.frames.max_pixels,
    )
    return Service(seeing, tasks, common.recent, pausing, told.timings, told.announcer)


def retrain_options(retrain: RetrainConfig) -> list[str]:
    """The configured settings as options of `lastlayer retrain`."""
    settings = {
        "--solver": retrain.solver,
        "--learning-rate": retrain.learning_rate,
        "--epsilon": retrain.epsilon,
        "--batch": retrain.batch,
        "--steps": retrain.steps,
        "--validate-every": retrain.validate_every,
        "--seed": retrain.seed,
        "--margin": retrain.margin,
        "--keep-heads": retrain.keep_heads,
    }
    return [word for name, value in settings.items() if value is not None for word in (name, str(value))]


def pause_limits(retrain: RetrainConfig) -> Limits:
    return Limits(retrain.pause_above_c, retrain.pause_below_free_bytes, retrain.pause_latency_factor)
