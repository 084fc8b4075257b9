"""From the configuration to the parts of the daemon: each room is handed what it needs, and nobody the whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cache import Cache
from agent.config import Config, RetrainConfig
from agent.learning.running.pausing import Conditions, Limits
from agent.learning.running.retraining import Retraining
from agent.reporting.announcer import Announcer
from agent.reporting.debounce import Agreement, CameraStates
from agent.reporting.feed import Feed
from agent.reporting.mqtt.outbox import open_outbox
from agent.reporting.timing import Timings
from agent.service import Service
from agent.service.exchange import Exchange
from agent.service.heads import Heads
from agent.service.inbox import Inbox
from agent.service.labelling import Labelling, RecentFrames
from agent.service.seeing import Seeing
from agent.service.teaching import Teaching
from agent.state.state import State
from agent.vision.backbone import FAMILY
from agent.vision.classifier import Classifier

if TYPE_CHECKING:
    from agent.reporting.mqtt.broker import Broker


@dataclass(frozen=True)
class Reporting:
    """Everything by which the daemon tells what it does. `broker` is None where none is configured."""

    timings: Timings
    broker: "Broker | None"
    events: Feed
    announcer: Announcer


def reporting(config: Config, root: Path) -> Reporting:
    """Raises ConfigError for a login or a certificate that cannot be used. Reports wait in a folder of `root`."""
    broker, events = _broker(config, root), Feed()
    particular = {name: Agreement(camera.agree, camera.of) for name, camera in config.cameras.items()}
    cameras = CameraStates(Agreement(config.debounce.agree, config.debounce.of), particular)
    announcer = Announcer(broker, [events.tell], cameras=cameras, discovery_prefix=discovery_prefix(config))
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
        Labelling(cache, recent, told.timings),
        retraining,
        Conditions(pause_limits(config.retrain)),
        told.timings,
        told.announcer,
        on_head=heads.follow_store,
        retrain_after=config.retrain.auto_after,
    )
    listeners = (
        teaching.watch_frame,
        lambda seen: told.announcer.result(seen.result),
        lambda seen: told.events.result(seen.result),
    )
    inbox = Inbox(config.frames.inbox)
    seeing = Seeing(classifier, inbox, recent, listeners, max_bytes=config.frames.max_bytes)
    exchange = Exchange(root, state.folder, cache, heads, node=config.mqtt.node, margin=config.retrain.margin)
    return Service(seeing, teaching, heads, exchange, told.timings, told.announcer)


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
