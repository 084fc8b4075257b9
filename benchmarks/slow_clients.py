"""Whether clients that are slow, or never finish, starve an honest one.

    python -m benchmarks.slow_clients
    python -m benchmarks.slow_clients --half-open 200 --trickling 200 --seconds 30 --limit-s 2

Against a real daemon, over TCP, all at once: connections that send the half of a request and then nothing, and
connections that send a byte a second of one; whoever is let go comes again. Meanwhile an honest client posts a
photograph, each time over a new connection, and another one over the unix socket. Ends with 1 where one of them waited
longer than the limit, or was refused.
"""

import argparse
import selectors
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

import numpy as np

from benchmarks.daemon import connect, running
from benchmarks.pictures import photograph
from benchmarks.rows import at_most, finish

EVERY_S = 1.0  # a byte of who trickles
HALF = b"POST /v1/frames HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
PAUSE_S = 0.1  # between two honest requests


class Crowd:
    """Slow clients, driven by one thread."""

    def __init__(self, url: str, half_open: int, trickling: int) -> None:
        self._url = url
        self._half_open, self._trickling = half_open, trickling
        self._selector = selectors.DefaultSelector()
        self._sent: dict[socket.socket, int] = {}  # bytes of who trickles
        self._stop = Event()
        self.let_go = 0
        self.ready = Event()
        self._thread = Thread(target=self._run, name="crowd")

    def __enter__(self) -> "Crowd":
        self._thread.start()
        self.ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for number in range(self._half_open + self._trickling):
            self._come(trickles=number >= self._half_open)
        self.ready.set()
        while not self._stop.wait(EVERY_S):
            for key, _ in self._selector.select(0):  # answered or closed: a slow client has nothing else to read
                self._come_again(key.fileobj)  # type: ignore[arg-type]
            for connection, sent in list(self._sent.items()):
                try:
                    connection.send((HALF + b"x" * 1000)[sent : sent + 1])
                    self._sent[connection] = sent + 1
                except OSError:
                    self._come_again(connection)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]

    def _come(self, *, trickles: bool) -> None:
        connection = connect(self._url)
        if trickles:
            self._sent[connection] = 0
        else:
            connection.sendall(HALF)
        self._selector.register(connection, selectors.EVENT_READ)

    def _come_again(self, connection: socket.socket) -> None:
        self.let_go += 1
        trickles = self._sent.pop(connection, None) is not None
        self._selector.unregister(connection)
        connection.close()
        self._come(trickles=trickles)


def ask(where: str | Path, request: bytes) -> float:
    """Seconds from the connection to the end of the answer. Ends the program where it is not 200."""
    began = time.perf_counter()
    with connect(where) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    if b" 200 OK" not in answer[:20]:
        sys.exit(f"slow_clients: an honest client was answered {answer[:200]!r}")
    return time.perf_counter() - began


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half-open", type=int, default=200, metavar="N")
    parser.add_argument("--trickling", type=int, default=200, metavar="N")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (default: %(default)s)")
    parser.add_argument("--limit-s", type=float, default=2.0, help="the longest wait (default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    asked = options()
    _, picture = photograph()
    heading = "POST /v1/frames HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    request = f"{heading}Content-Length: {len(picture)}\r\n\r\n".encode() + picture
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lastlayer-slow-")))
        path = folder / "http.sock"
        daemon = stack.enter_context(running(folder / "state", {"http": {"socket": str(path)}}))
        ways: dict[str, str | Path] = {"TCP": daemon.url, "unix socket": path}
        alone = {way: [ask(where, request) for _ in range(20)] for way, where in ways.items()}
        memory = daemon.process.memory_info().rss
        waits: dict[str, list[float]] = {way: [] for way in ways}
        with Crowd(daemon.url, asked.half_open, asked.trickling) as crowd:
            end = time.monotonic() + asked.seconds
            while time.monotonic() < end:
                for way, where in ways.items():
                    waits[way].append(ask(where, request))
                time.sleep(PAUSE_S)
            grown = daemon.process.memory_info().rss - memory
            threads = daemon.process.num_threads()
    print(
        f"{asked.half_open} half-open and {asked.trickling} trickling clients, {asked.seconds:g} s; "
        f"{crowd.let_go} let go"
    )
    print(f"the daemon: {threads} threads, {grown / 1e6:.1f} MB more than without them\n")
    print(f"{'an honest frame, ms':<22}{'requests':>9}{'median':>9}{'p95':>9}{'longest':>9}{'alone':>9}")
    for way, seconds in waits.items():
        ms = 1000 * np.array(seconds)
        figures = (np.median(ms), np.percentile(ms, 95), ms.max(), 1000 * np.median(alone[way]))
        print(f"{way:<22}{len(ms):>9}" + "".join(f"{figure:>9.1f}" for figure in figures))
    rows = []
    for way, seconds in waits.items():
        what, once = (
            f"an honest frame by {way} beside slow clients, longest wait",
            f"{np.median(alone[way]) * 1000:.1f} ms",
        )
        rows.append(at_most(what, max(seconds), asked.limit_s, peer=f"alone: {once}", unit=" s"))
    return finish(rows)


if __name__ == "__main__":
    sys.exit(main())
