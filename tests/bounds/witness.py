"""Memory and honest frames while something is done to a daemon."""

import http.client
import logging
import threading
import time
from types import TracebackType

import psutil

from tests.daemon import PATIENCE_S, Daemon
from tests.waiting import until

log = logging.getLogger(__name__)

MB = 1 << 20
MOST_MB = 400  # the daemon and its children together, whatever comes
STAYS_MB = 10  # beyond what it took before
HONEST_S = 0.5  # a photograph of 640 x 427 pixels, over a connection of its own

WARM_UP = 200
SAMPLE_S = 0.01
PAUSE_S = 0.1
SETTLED_S = 30.0


class Witness:
    """Within its block it watches a daemon and sends honest frames; at its end it says what was not as it must be.

    Raises AssertionError there.
    """

    def __init__(self, daemon: Daemon, honest: bytes) -> None:
        self._daemon = daemon
        self._honest = honest
        self._process = psutil.Process(daemon.process.pid)
        self._over = threading.Event()
        self._peak = 0.0
        self._answers: list[tuple[int, float]] = []
        self._threads = [
            threading.Thread(target=work, name=work.__name__, daemon=True) for work in (self._watch, self._ask)
        ]

    def __enter__(self) -> "Witness":
        for _ in range(WARM_UP):
            post(self._daemon, self._honest)
        self._before = self._resident_mb()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        post(self._daemon, self._honest)
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        if kind is not None:
            return
        assert self._daemon.process.poll() is None
        assert {status for status, _ in self._answers} == {200}, self._answers
        assert max(took for _, took in self._answers) <= HONEST_S, self._answers
        assert self._peak <= MOST_MB
        until(lambda: self._resident_mb() <= self._before + STAYS_MB, SETTLED_S)
        log.info(
            "memory %.0f MB before, %.0f at most, %.0f after; %d honest frames, the slowest in %.3f s",
            self._before,
            self._peak,
            self._resident_mb(),
            len(self._answers),
            max(took for _, took in self._answers),
        )
        assert "Traceback" not in self._daemon.log
        for path in ("/metrics", "/v1/heads", "/v1/status"):
            assert request(self._daemon, "GET", path) == 200

    def _resident_mb(self) -> float:
        sizes = []
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                sizes.append(process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        return sum(sizes) / MB

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self._peak = max(self._peak, self._resident_mb())

    def _ask(self) -> None:
        while True:
            began = time.monotonic()
            status = post(self._daemon, self._honest)
            self._answers.append((status, time.monotonic() - began))
            if self._over.wait(PAUSE_S):
                return


def post(daemon: Daemon, body: bytes, path: str = "/v1/frames") -> int:
    """As `request`."""
    return request(daemon, "POST", path, body)


def request(daemon: Daemon, method: str, path: str, body: bytes = b"") -> int:
    """As `statuses`, of one request."""
    (status,) = statuses(daemon, method, path, body, 1)
    return status


def statuses(daemon: Daemon, method: str, path: str, body: bytes, times: int) -> list[int]:
    """What so many requests over one connection were answered.

    Raises AssertionError where one says that it is the service's fault, or ends without an answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
    found = []
    try:
        for _ in range(times):
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = response.read()
            assert response.status < 500 or response.status == 503, f"{response.status}: {answer[:200]!r}"
            found.append(response.status)
    except (http.client.HTTPException, OSError) as error:
        raise AssertionError(f"{method} {path} was not answered: {error!r}") from error
    finally:
        connection.close()
    return found
