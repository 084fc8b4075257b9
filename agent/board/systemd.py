"""What systemd gives a service, and what it wants to hear.

Outside of a service there is nobody to tell and nothing to find: the same calls do nothing. sd_notify(3),
systemd.exec(5) and sd-daemon(3) describe it: datagrams and a few variables of the environment, which need no library.
"""

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import TextIO

log = logging.getLogger(__name__)

SEND_TIMEOUT_S = 1.0  # systemd reads at once; where it does not, no frame waits for it
MQTT_PASSWORD = "mqtt-password"  # the credential that the unit loads
FEEDS = 3  # in each WatchdogSec: one may come late


class Notifier:
    """Tells systemd how the service is. Does nothing where `address` is None; what cannot be sent is not sent."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        self._address = f"\0{address[1:]}" if address is not None and address.startswith("@") else address

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> "Notifier":
        """As systemd started this process. The variables are taken out: child processes are not to speak for it."""
        address = environment.pop("NOTIFY_SOCKET", None)
        limit_us = environment.pop("WATCHDOG_USEC", "")
        ours = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(address, int(limit_us) / 1e6 if ours and limit_us.isdecimal() and int(limit_us) else None)

    def ready(self, status: str) -> None:
        self._send("READY=1", _status(status))

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=stopping")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(_status(text))

    def alive(self, status: str) -> None:
        """What the watchdog waits for."""
        self._send("WATCHDOG=1", _status(status))

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_TIMEOUT_S)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.debug("systemd cannot be told %s: %s", lines[0], error)


class Watchdog:
    """Feeds systemd's watchdog while there is no `trouble`: why no frame can be classified, or None.

    Trouble is said in the journal and in `systemctl status`, and systemd ends and restarts the service once
    WatchdogSec is over; so it does where `trouble` never returns. `describe` gives the line for `systemctl
    status` of a service that is well.
    """

    def __init__(self, notifier: Notifier, trouble: Callable[[], str | None], describe: Callable[[], str]) -> None:
        self._notifier = notifier
        self._trouble = trouble
        self._describe = describe
        self._said: str | None = None
        self._every_s = notifier.watchdog_s / FEEDS if notifier.watchdog_s is not None else None
        self._next = time.monotonic()

    def look(self) -> None:
        """To be called every second by the thread that must not hang."""
        if self._every_s is None or time.monotonic() < self._next:
            return
        trouble = self._trouble()
        if trouble is None:
            self._notifier.alive(self._describe())
            self._next = time.monotonic() + self._every_s
        elif trouble != self._said:  # the next look tries again
            log.critical("no frame can be classified, so systemd is to start the service anew: %s", trouble)
            self._notifier.status(f"no frame can be classified: {trouble}")
        self._said = trouble


def state_directory() -> Path | None:
    """The folder that StateDirectory= made; None outside of a service."""
    return _directory("STATE_DIRECTORY")


def runtime_directory() -> Path | None:
    """The folder that RuntimeDirectory= made; None outside of a service."""
    return _directory("RUNTIME_DIRECTORY")


def credential(name: str) -> Path | None:
    """The file of a credential that the unit loads and that is more than an empty line; None where there is none."""
    folder = _directory("CREDENTIALS_DIRECTORY")
    if folder is None:
        return None
    path = folder / name
    try:
        return path if path.read_bytes().strip() else None
    except FileNotFoundError:
        return None
    except OSError:
        return path  # it is there, and whoever reads it says what is wrong with it


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"


def _directory(variable: str) -> Path | None:
    first = os.environ.get(variable, "").partition(":")[0]
    return Path(first) if first else None


def logs_to_journal(stream: TextIO = sys.stderr) -> bool:
    """Whether what is written to `stream` goes straight to the journal, which stamps it by itself."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class JournalFormatter(logging.Formatter):
    """`<priority>name: message` on every line, as sd-daemon(3) has it; the journal keeps time and level itself."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{priority(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def priority(level: int) -> int:
    """syslog's number for a level of logging: 7 debug, 6 info, 4 warning, 3 error, 2 critical."""
    for least, number in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if level >= least:
            return number
    return 7
