"""From the configuration to the parts of the daemon: each room is handed what it needs, and nobody the whole."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cache import Cache
from agent.cache.upkeep import Upkeep
from agent.config import Config, RetrainConfig
from agent.ingress.folder.watching import WatchedFolder
from agent.ingress.http.routes import Api
from agent.ingress.http.server import Server, http_server
from agent.learning.running.pausing import Conditions, Limits, Pausing
from agent.learning.running.retraining import Retraining
from agent.records import Frame
from agent.reporting.announced import Memory
from agent.reporting.announcer import Announcer
from agent.reporting.feed import Feed
from agent.reporting.mqtt.outbox import open_outbox
from agent.reporting.questions import questions
from agent.reporting.timing import Timings
from agent.service import Service
from agent.service.exchange import Exchange
from agent.service.heads import Heads
from agent.service.seeing import Inbox, RecentFrames, Seeing
from agent.service.teaching import Teaching
from agent.state import generations
from agent.state.state import State, open_state
from agent.vision.backbone import FAMILY
from agent.vision.classifier import Classifier

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

    folder: Path  # the generation that is in use
    told: Reporting
    service: Service
    retraining: Retraining
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
    """The parts, for the generation of the state `root` that is in use; what they hold is given back at the end.

    Raises what is wrong with the state, the backbone, the configuration or the address.
    """
    folder = generations.current(root)
    state = open_state(root, config.backbone, input_range, size) if folder == root else open_state(folder)
    told = reporting(config, root)
    backbone = state.backbone(threads=config.threads)
    classifier = Classifier(backbone, told.timings, max_pixels=config.frames.max_pixels)
    retraining = Retraining(folder, retrain_options(config.retrain))
    with state.cache(backbone, config.cache) as cache:
        answering = service(config, root, state, cache, classifier, retraining, told)
        with closing(http_server(config.http, Api(answering, told.events), config.frames.max_bytes)) as server:
            commands, watched = _commands(config, answering, told), _watched(config, answering, told)
            yield Parts(folder, told, answering, retraining, Upkeep(cache), server, commands, watched)


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
        questions=questions(config),
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


def service(
    config: Config,
    root: Path,
    state: State,
    cache: Cache,
    classifier: Classifier,
    retraining: Retraining,
    told: Reporting,
) -> Service:
    """What answers all faces. `state` is the generation of `root` that is in use."""
    recent = RecentFrames(config.frames.remember)
    heads = Heads(state.heads, classifier, told.announcer)
    teaching = Teaching(
        cache,
        recent,
        retraining,
        told.timings,
        told.announcer,
        on_head=heads.follow_store,
        retrain_after=config.retrain.auto_after,
    )
    pausing = Pausing(retraining, Conditions(pause_limits(config.retrain)))
    listeners = (
        pausing.watch_frame,
        lambda seen: told.announcer.result(seen.result),
        lambda seen: told.events.result(seen.result),
    )
    inbox = Inbox(config.frames.inbox, config.frames.decoding_bytes)
    seeing = Seeing(classifier, inbox, recent, listeners, max_bytes=config.frames.max_bytes)
    exchange = Exchange(root, state.folder, cache, heads, node=config.mqtt.node, margin=config.retrain.margin)
    return Service(seeing, teaching, heads, exchange, pausing, told.timings, told.announcer)


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
