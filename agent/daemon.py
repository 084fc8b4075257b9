"""The daemon: what composition.py builds is started, watched, and stopped in reverse order."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.board.allocator import Residue
from agent.board.systemd import Notifier, Watchdog
from agent.composition import Parts, built
from agent.config import Config
from agent.errors import BundleError
from agent.ingress.http.server import Server
from agent.reporting.faults import Faults
from agent.reporting.feed import Feed
from agent.reporting.host import Host
from agent.service import Service
from agent.service.tasks import Task

log = logging.getLogger(__name__)

TICK_S = 1.0  # how soon a head that somebody else activated is in service
STOP_S = 1.0  # for each part; all of them well within 5 s


class Runnable(Protocol):
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
    faults: Faults
    window_s: float

    def watch(self, stop: threading.Event) -> None:
        """Report every window, follow the head store, mind the retraining and feed the watchdog.

        Until `stop` is set, or another backbone is to be in use. Nothing that fails ends it.
        """
        residue = Residue()
        chores: dict[str, Callable[[], object]] = {
            **{f"following the head store{_of(task)}": task.heads.follow_store for task in self.service.tasks},
            "minding the retraining": self.service.pausing.look,
            "telling a changed status": lambda: self.events.tell_changes(self.service.status),
            "feeding the watchdog": self.watchdog.look,
            "giving memory back": residue.give_back,
        }
        next_report = time.monotonic() + self.window_s
        while not stop.wait(min(TICK_S, max(0.0, next_report - time.monotonic()))):
            for chore, do in chores.items():
                self.faults.attempt(chore, do)
            if time.monotonic() >= next_report:
                self.report()
                next_report += self.window_s
            if self.faults.attempt("looking for another backbone", lambda: self.service.is_outdated):
                log.info("another backbone is to be in use: beginning anew")
                return

    def report(self) -> None:
        """Tell the timings, the health and the counters of the window that ends now; each even if another fails."""
        announcer = self.service.announcer
        chores: dict[str, Callable[[], object]] = {
            "telling the timings": lambda: announcer.timings(self.service.timings.reports()),
            "telling the health": lambda: announcer.host(self.host.figures()),
            "telling the counters": lambda: announcer.counters(self.service.counters()),
            "telling Home Assistant again": announcer.settle,
        }
        for chore, do in chores.items():
            self.faults.attempt(chore, do)


def _of(task: Task) -> str:
    return f" of the task {task.said}" if task.said else ""


@contextmanager
def running(
    config: Config,
    root: Path,
    input_range: tuple[float, float] | None = None,
    size: tuple[int, int] | None = None,
    notifier: Notifier | None = None,
) -> Iterator[Daemon]:
    """The daemon, started, with the generation of the state `root` that is in use; it is stopped when the `with` ends.

    The backbone of the configuration, `input_range` and `size`, as import_model takes them, speak of the first
    generation.
    systemd hears by `notifier` that it is ready, and from then on that it can see.

    Raises what is wrong with the state, the backbone, the configuration or the address;
    a broker that is not there is no error.
    """
    notifier = notifier or Notifier()
    with built(config, root, input_range, size) as parts, ExitStack() as stack:
        service, faults = parts.service, Faults()
        # It is fed wherever frames can be classified, whatever else fails.
        watchdog = Watchdog(notifier, service.trouble, lambda: faults.attempt("summing up", service.summary) or "")
        host, window_s = Host(parts.folder), config.report.window_s
        daemon = Daemon(service, parts.told.events, parts.server, watchdog, host, faults, window_s)
        for task in service.tasks:
            task.heads.follow_store()
        if (trouble := service.trouble()) is not None:
            raise BundleError(f"no frame can be classified: {trouble}")
        _start(parts, daemon, stack)
        addresses = " and ".join(parts.server.addresses)
        log.info("listening on %s, state in %s", addresses, parts.folder)
        notifier.ready(f"listening on {addresses}")
        yield daemon
        log.info("stopping")


def _start(parts: Parts, daemon: Daemon, stack: ExitStack) -> None:
    """Start the parts one after another; the stack stops them in reverse."""

    def started(part: Runnable) -> None:
        part.start()
        stack.callback(part.stop, STOP_S)

    if parts.told.broker is not None and parts.commands is not None:
        parts.service.announcer.discover()
        stack.callback(parts.service.announcer.close)
        started(parts.told.broker)
        stack.callback(daemon.report)  # what the last window held
        started(parts.commands)
    stack.callback(parts.turns.stop, STOP_S)
    for task in parts.service.tasks:
        stack.callback(task.exchange.stop)
    started(parts.upkeep)
    started(parts.server)
    if parts.watched is not None:
        started(parts.watched)
    stack.callback(parts.told.events.close)  # before the server waits for those who listen
