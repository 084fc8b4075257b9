"""The daemon: builds everything from the configuration, starts it, watches, and stops it in reverse order."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from agent import generations
from agent.config import Config, RetrainConfig
from agent.errors import BundleError
from agent.ingress.folder import WatchedFolder
from agent.ingress.http import Api
from agent.ingress.inbox import Inbox
from agent.ingress.mqtt import MqttSource
from agent.ingress.opening import http_server
from agent.ingress.server import Server
from agent.learning.cache import Cache
from agent.learning.cache.upkeep import Upkeep
from agent.learning.labelling import Labelling, RecentFrames
from agent.learning.pausing import Conditions, Limits
from agent.learning.retraining import Retraining
from agent.reporting.announcer import Announcer
from agent.reporting.broker import MAX_MESSAGE_BYTES, Broker
from agent.reporting.debounce import Agreement, CameraStates
from agent.reporting.feed import Feed
from agent.reporting.host import Host
from agent.reporting.outbox import open_outbox
from agent.reporting.timing import Timings
from agent.service import Service
from agent.service.exchange import Exchange
from agent.service.heads import Heads
from agent.service.seeing import Seeing
from agent.service.teaching import Teaching
from agent.state import State, open_state
from agent.systemd import Notifier, Watchdog
from agent.vision.backbone import FAMILY
from agent.vision.classifier import Classifier

log = logging.getLogger(__name__)

TICK_S = 1.0  # how soon a head that somebody else activated is in service
STOP_S = 1.0  # for each part; all of them well within 5 s


class Part(Protocol):
    """What has threads or processes of its own."""

    def start(self) -> None: ...

    def stop(self, timeout: float) -> None: ...


@dataclass(frozen=True)
class Daemon:
    """What runs between the start and the stop."""

    service: Service
    events: Feed
    server: Server
    watchdog: Watchdog
    host: Host
    window_s: float

    def watch(self, stop: threading.Event) -> None:
        """Report every window, follow the head store, mind the retraining and feed the watchdog.

        Until `stop` is set, or another backbone is to be in use.
        """
        next_report = time.monotonic() + self.window_s
        while not stop.wait(min(TICK_S, max(0.0, next_report - time.monotonic()))):
            self.service.heads.follow_store()
            self.service.teaching.mind_retraining()
            self.events.tell_changes(self.service.status)
            self.watchdog.look()
            if time.monotonic() >= next_report:
                self.report()
                next_report += self.window_s
            if self.service.exchange.is_outdated:
                log.info("another backbone is to be in use: beginning anew")
                return

    def report(self) -> None:
        announcer = self.service.announcer
        announcer.timings(self.service.timings.reports())
        announcer.host(self.host.figures())
        announcer.counters(self.service.counters())


@contextmanager
def running(
    config: Config,
    root: Path,
    input_range: tuple[float, float] | None = None,
    notifier: Notifier | None = None,
) -> Iterator[Daemon]:
    """The daemon, started, with the generation of the state `root` that is in use; it is stopped when the `with` ends.

    The backbone of the configuration and `input_range` speak of the first generation.
    systemd hears by `notifier` that it is ready, and from then on that it can see.

    Raises what is wrong with the state, the backbone, the configuration or the address;
    a broker that is not there is no error.
    """
    with ExitStack() as stack:

        def started(part: Part) -> None:
            part.start()
            stack.callback(part.stop, STOP_S)

        folder = generations.current(root)
        state = open_state(root, config.backbone, input_range) if folder == root else open_state(folder)
        timings = Timings(node=config.mqtt.node, runtime=FAMILY)
        classifier = Classifier(state.backbone(threads=config.threads), timings, max_pixels=config.frames.max_pixels)
        cache = stack.enter_context(state.cache(classifier.backbone, config.cache))
        broker = _broker(config, root)
        retraining = Retraining(state.folder, retrain_options(config.retrain))
        events = Feed()
        announcer = _announcer(config, broker, events)
        service = _service(config, root, state, cache, classifier, retraining, timings, announcer, events)
        server = http_server(config.http, Api(service, events), config.frames.max_bytes)
        stack.callback(server.close)
        notifier = notifier or Notifier()
        watchdog = Watchdog(notifier, service.trouble, service.summary)
        daemon = Daemon(service, events, server, watchdog, Host(state.folder), config.report.window_s)

        service.heads.follow_store()
        if (trouble := service.trouble()) is not None:
            raise BundleError(f"no frame can be classified: {trouble}")
        if broker is not None:
            source = MqttSource(
                service, broker, max_bytes=config.frames.max_bytes, discovery_prefix=_discovery_prefix(config)
            )
            service.announcer.discover()
            started(broker)
            stack.callback(daemon.report)  # what the last window held
            started(source)
        stack.callback(retraining.stop, STOP_S)
        stack.callback(service.exchange.stop)
        started(Upkeep(cache))
        started(server)
        if config.folder.path is not None:
            classify = partial(service.classify, source="folder")
            started(WatchedFolder(config.folder, classify, timings, max_bytes=config.frames.max_bytes))
        stack.callback(events.close)  # before the server waits for those who listen
        log.info("listening on %s, state in %s", " and ".join(server.addresses), state.folder)
        notifier.ready(f"listening on {' and '.join(server.addresses)}")
        yield daemon
        log.info("stopping")


def _broker(config: Config, root: Path) -> Broker | None:
    if config.mqtt.host is None:
        return None
    report, outbox = config.report, None
    if report.spool_bytes:
        outbox = open_outbox(root / "reports", report.spool_bytes, report.spool_hours * 3600)
    return Broker(config.mqtt, outbox, max_message_bytes=config.frames.max_bytes + MAX_MESSAGE_BYTES)


def _announcer(config: Config, broker: Broker | None, events: Feed) -> Announcer:
    particular = {name: Agreement(camera.agree, camera.of) for name, camera in config.cameras.items()}
    cameras = CameraStates(Agreement(config.debounce.agree, config.debounce.of), particular)
    return Announcer(broker, [events.tell], cameras=cameras, discovery_prefix=_discovery_prefix(config))


def _discovery_prefix(config: Config) -> str | None:
    return config.mqtt.discovery_prefix if config.mqtt.discovery else None


def _service(
    config: Config,
    root: Path,
    state: State,
    cache: Cache,
    classifier: Classifier,
    retraining: Retraining,
    timings: Timings,
    announcer: Announcer,
    events: Feed,
) -> Service:
    recent = RecentFrames(config.frames.remember)
    heads = Heads(state.heads, classifier, announcer)
    teaching = Teaching(
        Labelling(cache, recent, timings),
        retraining,
        Conditions(pause_limits(config.retrain)),
        timings,
        announcer,
        on_head=heads.follow_store,
        retrain_after=config.retrain.auto_after,
    )
    listeners = (
        teaching.watch_frame,
        lambda seen: announcer.result(seen.result),
        lambda seen: events.result(seen.result),
    )
    inbox = Inbox(config.frames.inbox)
    seeing = Seeing(classifier, inbox, recent, listeners, max_bytes=config.frames.max_bytes)
    exchange = Exchange(root, state.folder, cache, heads, node=config.mqtt.node, margin=config.retrain.margin)
    return Service(seeing, teaching, heads, exchange, timings, announcer)


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
