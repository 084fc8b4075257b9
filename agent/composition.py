"""From the configuration to the parts of the daemon: each room is handed what it needs, and nobody the whole."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cache import Cache
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
    asked_of_all = questions(config)
    for name in left_over(root, asked_of_all):
        log.warning("%s", left_over_words(name))
    told = reporting(config, root)
    answering, retrainings, caches = [], [], []
    recent, backbones, taking = RecentFrames(config.frames.remember), Backbones(config.threads), threading.Lock()
    turns = Turns()
    with ExitStack() as stack:
        for name, asked in asked_of_all.items():
            state, backbone = _loaded(config, root, name, asked, backbones, input_range, size)
            classifier = Classifier(backbone, told.timings)
            cache = stack.enter_context(state.cache(classifier.backbone, config.cache))
            retraining = Retraining(state.folder, retrain_options(asked.retrain or config.retrain), turns)
            task = _task(config, root, name, asked, state, cache, classifier, retraining, recent, told, taking)
            answering.append(task)
            retrainings.append(retraining)
            caches.append(cache)
        service = _service(config, Tasks(answering, are_named=bool(config.tasks)), recent, retrainings, told)
        server = http_server(config.http, Api(service, told.events), config.frames.max_bytes)
        stack.enter_context(closing(server))
        commands, watched = _commands(config, service, told), _watched(config, service, told)
        yield Parts(root, told, service, turns, Upkeep(caches), server, commands, watched)


def questions(config: Config) -> dict[str, TaskConfig]:
    """The tasks by their names; without any in the configuration there is one, of all cameras and whole frames."""
    return config.tasks or {DEFAULT_TASK: TaskConfig()}


class Backbones:
    """Those that are loaded: each once, however many tasks use it."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._loaded: dict[str, Backbone] = {}

    def of(self, bundle: Bundle) -> Backbone:
        """Raises BundleError, also where it gives nothing for a picture of our own."""
        key = bundle.backbone_id(FAMILY)
        if key not in self._loaded:
            backbone = Backbone(bundle, threads=self._threads)
            if (trouble := Probe(backbone).trouble(LOADING_S, ())) is not None:
                raise BundleError(f"no frame can be classified: {trouble}")
            self._loaded[key] = backbone
        return self._loaded[key]


def _loaded(
    config: Config,
    root: Path,
    name: str,
    asked: TaskConfig,
    backbones: Backbones,
    input_range: tuple[float, float] | None,
    size: tuple[int, int] | None,
) -> tuple[State, Backbone]:
    """The generation of a task that is in use, and its backbone; where that cannot be used, the one before it."""
    own = root_of(root, name)
    while True:
        try:
            state = _state(config, own, asked, input_range, size)
            return state, backbones.of(state.bundle)
        except BundleError as error:
            if generations.in_use(own) == generations.FIRST:
                raise
            log.error("%s; returning to the backbone before it", error)
            generations.rollback(own)


def _state(
    config: Config,
    own: Path,
    asked: TaskConfig,
    input_range: tuple[float, float] | None,
    size: tuple[int, int] | None,
) -> State:
    """What was said of the backbone is said of the first generation."""
    folder = generations.current(own)
    if folder != own:
        return open_state(folder)
    if asked.backbone is not None:
        return open_state(own, asked.backbone)
    return open_state(own, config.backbone, input_range, size)


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


def _task(
    config: Config,
    root: Path,
    name: str,
    asked: TaskConfig,
    state: State,
    cache: Cache,
    classifier: Classifier,
    retraining: Retraining,
    recent: RecentFrames,
    told: Reporting,
    taking: threading.Lock,
) -> Task:
    """What answers one question, and learns to. `state` is the generation of it that is in use."""
    said = name if config.tasks else ""
    retrain = asked.retrain or config.retrain
    heads = Heads(state.heads, classifier, told.announcer, said)
    teaching = Teaching(
        cache,
        recent,
        retraining,
        told.timings,
        told.announcer,
        on_head=heads.follow_store,
        retrain_after=retrain.auto_after,
        task=said,
    )
    node, margin = config.mqtt.node, retrain.margin
    exchange = Exchange(root_of(root, name), state.folder, cache, heads, node=node, margin=margin, taking=taking)
    views = [_view(classifier, said, view) for view in asked.views or (ViewConfig(),)]
    return Task(name, views, teaching, heads, exchange)


def _view(classifier: Classifier, task: str, view: ViewConfig) -> View:
    unchanged = Unchanged(view.skip_unchanged, view.skip_at_most_s) if view.skip_unchanged else None
    return View(classifier, Cut(view.region, view.rotate), task, view.known_as, view.camera, unchanged)


def _service(
    config: Config, tasks: Tasks, recent: RecentFrames, retrainings: Sequence[Retraining], told: Reporting
) -> Service:
    """What answers all faces."""
    pausing = Pausing(retrainings, Conditions(pause_limits(config.retrain)))
    listeners = (
        pausing.watch_frame,
        lambda seen: told.announcer.result(seen.result),
        lambda seen: told.events.result(seen.result),
    )
    seeing = Seeing(
        [view for task in tasks for view in task.views],
        Inbox(config.frames.inbox, config.frames.decoding_bytes),
        recent,
        told.timings,
        listeners,
        max_bytes=config.frames.max_bytes,
        max_pixels=config.frames.max_pixels,
    )
    return Service(seeing, tasks, recent, pausing, told.timings, told.announcer)


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
