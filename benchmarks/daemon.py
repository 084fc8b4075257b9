"""A real daemon to measure, in a process of its own, and who asks it.

Where it does not start, hangs up or answers otherwise than it should, the benchmark ends: there is nothing to measure.
"""

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import yaml
from PIL import Image

from agent.board.child import environment
from benchmarks.pictures import halves

PATIENCE_S = 60.0

_PROGRAM = ("-m", "agent")


@dataclass(frozen=True)
class Daemon:
    process: psutil.Process
    url: str

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """The JSON that it answers, over a connection of its own."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE_S)
        try:
            connection.request(method, path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answer


@contextmanager
def running(
    state: Path, config: Mapping[str, Any] | None = None, program: Sequence[str] = _PROGRAM
) -> Iterator[Daemon]:
    """`lastlayer run` with a configuration, on a free loopback port, until the block ends.

    The configuration is written beside the state. `program` is what Python runs, for a daemon that is made slower.
    """
    file = state.with_suffix(".yaml")
    sections = {**(config or {})}
    file.write_text(yaml.safe_dump(sections | {"http": {"port": 0, **sections.get("http", {})}}))
    words = command(state, "run", "--config", str(file), "--json", program=program)
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), text=True
    ) as child:
        try:
            assert child.stdout is not None
            if not (line := child.stdout.readline()):
                sys.exit(f"the daemon did not start; try: {' '.join(words)}")
            yield Daemon(psutil.Process(child.pid), json.loads(line)["http"])
        finally:
            _stop(child)


def _stop(child: "subprocess.Popen[str]") -> None:
    child.terminate()
    try:
        child.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()


def command(state: Path, *words: str, program: Sequence[str] = _PROGRAM) -> list[str]:
    return [sys.executable, *program, "--state", str(state), *words]


def lastlayer(state: Path, *words: str) -> None:
    """Run a command, whose results nobody wants to see. Raises CalledProcessError."""
    subprocess.run(command(state, *words), check=True, env=environment(), stdout=subprocess.DEVNULL)


def teach(state: Path, picture: Image.Image, backbone: str | None = None) -> None:
    """Make a state with a head that tells the left of the photograph from the right. Raises CalledProcessError."""
    pictures = state.with_name("pictures")
    for label, number, payload in halves(picture):
        (pictures / label).mkdir(parents=True, exist_ok=True)
        (pictures / label / f"{number}.jpg").write_bytes(payload)
    lastlayer(state, "learn", str(pictures), *(["--backbone", backbone] if backbone else []))
    lastlayer(state, "retrain")


def connect(where: str | Path) -> socket.socket:
    """A connection to an address, or to the path of a unix socket."""
    if isinstance(where, Path):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE_S)
        connection.connect(str(where))
        return connection
    address = urlsplit(where)
    connection = socket.create_connection((address.hostname, address.port or 80), timeout=PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Client:
    """Posts one picture again and again over one connection."""

    def __init__(self, where: str | Path, picture: bytes, path: str = "/v1/frames") -> None:
        self._connection = connect(where)
        self._path = path
        self._request = self._asked(picture)

    def post(self, picture: bytes | None = None) -> bytes:
        """The reply, read to its end; of another picture where it is given."""
        self._connection.sendall(self._request if picture is None else self._asked(picture))
        reply = b""
        while True:
            if not (more := self._connection.recv(1 << 16)):
                sys.exit(f"the daemon hung up: {reply!r:.200}")
            reply += more
            heading, found, body = reply.partition(b"\r\n\r\n")
            if found and len(body) == int(heading.lower().partition(b"content-length:")[2].split()[0]):
                return reply

    def close(self) -> None:
        self._connection.close()

    def _asked(self, picture: bytes) -> bytes:
        heading = f"POST {self._path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}\r\n\r\n"
        return heading.encode() + picture


def results(reply: bytes) -> list[dict[str, Any]]:
    """What each view said. Ends the program where that is no answer of a head."""
    heading, _, body = reply.partition(b"\r\n\r\n")
    answer: dict[str, Any] = json.loads(body)
    found: list[dict[str, Any]] = answer.get("results", [answer])
    if not heading.startswith(b"HTTP/1.1 200") or not all(result["predictions"] for result in found):
        sys.exit(f"the daemon answered {reply!r:.300}")
    return found


def phases(reply: bytes) -> dict[str, float]:
    """How long the daemon says that a frame took, in ms; the only view of it. Ends the program as `results` does."""
    (result,) = results(reply)
    timings: dict[str, float] = result["timings_ms"]
    return timings
