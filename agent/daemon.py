"""The daemon: what composition.py builds is started, watched, and stopped in reverse order."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from agent import composition
from agent.board.systemd import Notifier, Watchdog
from agent.cache.upkeep import Upkeep
from agent.composition import discovery_prefix, reporting, retrain_options
from agent.config import Config
from agent.errors import BundleError
from agent.ingress.folder.watching import WatchedFolder
from agent.ingress.http.routes import Api
from agent.ingress.http.server import Server, http_server
from agent.learning.running.retraining import Retraining
from agent.reporting.feed import Feed
from agent.reporting.host import Host
from agent.service import Service
from agent.state import generations
from agent.state.state import open_state
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
        told = reporting(config, root)
        backbone = state.backbone(threads=config.threads)
        classifier = Classifier(backbone, told.timings, max_pixels=config.frames.max_pixels)
        cache = stack.enter_context(state.cache(backbone, config.cache))
        retraining = Retraining(state.folder, retrain_options(config.retrain))
        service = composition.service(config, root, state, cache, classifier, retraining, told)
        server = http_server(config.http, Api(service, told.events), config.frames.max_bytes)
        stack.callback(server.close)
        notifier = notifier or Notifier()
        watchdog = Watchdog(notifier, service.trouble, service.summary)
        daemon = Daemon(service, told.events, server, watchdog, Host(state.folder), config.report.window_s)

        service.heads.follow_store()
        if (trouble := service.trouble()) is not None:
            raise BundleError(f"no frame can be classified: {trouble}")
        if told.broker is not None:
            from agent.ingress.mqtt.source import MqttSource  # see composition.py

            source = MqttSource(service, told.broker, config.frames.max_bytes, discovery_prefix(config))
            service.announcer.discover()
            started(told.broker)
            stack.callback(daemon.report)  # what the last window held
            started(source)
        stack.callback(retraining.stop, STOP_S)
        stack.callback(service.exchange.stop)
        started(Upkeep(cache))
        started(server)
        if config.folder.path is not None:
            classify = partial(service.classify, source="folder")
            started(WatchedFolder(config.folder, classify, told.timings, max_bytes=config.frames.max_bytes))
        stack.callback(told.events.close)  # before the server waits for those who listen
        log.info("listening on %s, state in %s", " and ".join(server.addresses), state.folder)
        notifier.ready(f"listening on {' and '.join(server.addresses)}")
        yield daemon
        log.info("stopping")
