"""HTTP/1.1 for a small board: threads, sockets, and bounds on what a client may cost.

A thread for each connection, a bounded number of them behind each door, and one deadline for each whole request: a
client that sends a byte a second is let go like one that sends nothing. Where a door is full, the newcomer takes the
place of who has waited longest without a request to answer.
Measured against aiohttp and Tornado (100 kB posts over one connection) it takes the CPU time of aiohttp, whose grammar
is written in C, a third of Tornado's, and 7 to 16 MB less memory than either.
"""

import errno
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from agent.board.secret import Secret, warn_of_open
from agent.config import HttpConfig, is_loopback
from agent.ingress.http.connection import Connection, Terms
from agent.ingress.http.crowd import Crowd, Guest
from agent.ingress.http.doors import Door, TcpDoor, UnixDoor, shut, tls_context
from agent.ingress.http.guard import Guard, secrets
from agent.ingress.http.message import Reply, Request, Stream
from agent.ingress.http.reading import BodyRoom

log = logging.getLogger(__name__)

BODIES_AT_ONCE = 4  # of the largest size; of smaller ones as many more
RETRY_ACCEPT_S = 0.2  # when the system has nothing left to make a connection of
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server:
    """Gives each request to `answer` and sends what it returns. Owns its doors, the thread `http`, and one for each
    connection."""

    def __init__(
        self,
        doors: Sequence[Door],
        answer: Callable[[Request], Reply | Stream],
        guard: Guard,
        crowd: Crowd,
        *,
        max_body_bytes: int,
        request_timeout_s: float,
    ) -> None:
        self._doors = doors
        self._crowd = crowd
        self._stopping = threading.Event()
        bodies = BodyRoom(BODIES_AT_ONCE * max_body_bytes)
        self._terms = Terms(answer, guard, bodies, max_body_bytes, request_timeout_s, self._stopping)
        self._wakes, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._accept_all, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Of the first door."""
        return self.addresses[0]

    @property
    def addresses(self) -> list[str]:
        return [door.address for door in self._doors]

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Accept no more, let requests that are under way be answered, close the rest by the deadline."""
        deadline = time.monotonic() + timeout
        self._stopping.set()
        self._wakes.close()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self.close()
        guests = self._crowd.guests()
        for guest in guests:
            if guest.idle:
                shut(guest.socket, socket.SHUT_RD)  # it finds the end instead of a next request
        for guest in guests:
            if guest.thread is not None:
                guest.thread.join(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Give the addresses back, also where it was never started. Idempotent."""
        for door in self._doors:
            door.close()
        if self._thread.ident is None:  # else it closes them
            self._wakes.close()
            self._woken.close()

    def _accept_all(self) -> None:
        with self._woken, selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for door in self._doors:
                selector.register(door.listening, selectors.EVENT_READ, door)
            while not self._stopping.is_set():
                for key, _ in selector.select():
                    if key.data is not None:
                        self._accept(key.data)

    def _accept(self, door: Door) -> None:
        try:
            connection, peer = door.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("a connection was not accepted: %s", error)
            if error.errno in _EXHAUSTED:
                self._pause(RETRY_ACCEPT_S)
            return
        guest = Guest(connection, door, peer)
        guest.thread = threading.Thread(target=self._serve, args=(guest,), name="http-connection", daemon=True)
        if not self._crowd.admit(guest):
            connection.close()
            return
        try:
            guest.thread.start()
        except RuntimeError:
            log.warning("a connection was refused: the system has no thread left")
            guest.thread = None
            self._crowd.leave(guest)

    def _pause(self, seconds: float) -> None:
        """Until then, or a stop."""
        self._woken.settimeout(seconds)
        with suppress(TimeoutError):
            self._woken.recv(1)

    def _serve(self, guest: Guest) -> None:
        try:
            Connection(self._terms, guest).converse()
        except OSError as error:
            log.debug("a client went away: %s", error)
        except Exception:
            log.exception("a connection failed")
        finally:
            self._crowd.leave(guest)


def http_server(http: HttpConfig, answer: Callable[[Request], Reply | Stream], max_body_bytes: int) -> Server:
    """The one of the configuration: its doors, and who is let in.

    Warns of a token or a key that is open to all. Raises ConfigError for one, or a certificate, that cannot be used,
    ServiceError for an address or a socket.
    """
    token = Secret("http.token_file", http.token_file).token() if http.token_file is not None else None
    tls = tls_context(http.tls_certificate, http.tls_key) if http.tls_certificate is not None else None
    warn_of_open(secrets(http))
    guard = Guard(token=token, local=is_loopback(http.host), max_per_second=http.max_per_second)
    with ExitStack() as stack:
        doors: list[Door] = [TcpDoor(http.host, http.port, tls)]
        stack.callback(doors[0].close)
        if http.socket is not None:
            doors.append(UnixDoor(http.socket))
        stack.pop_all()
    timeout_s = http.request_timeout_s
    return Server(doors, answer, guard, Crowd(), max_body_bytes=max_body_bytes, request_timeout_s=timeout_s)
