"""A server without a daemon behind it, and what is said to it in plain bytes."""

import socket
from collections.abc import Callable
from pathlib import Path

from agent.ingress.http.crowd import Crowd
from agent.ingress.http.doors import Door, TcpDoor
from agent.ingress.http.guard import Guard
from agent.ingress.http.message import Reply, Request, Stream
from agent.ingress.http.server import Server


def echo(request: Request) -> Reply:
    return Reply(
        200,
        {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "size": len(request.body),
            "start": request.body[:10].decode("latin-1"),
        },
    )


def serving(
    *doors: Door,
    answer: Callable[[Request], Reply | Stream] = echo,
    guard: Guard | None = None,
    crowd: Crowd | None = None,
    timeout_s: float = 0.7,
    max_body_bytes: int = 100_000,
) -> Server:
    """A server that has started. Whoever calls stops it."""
    guard = guard or Guard(token=None, local=True, max_per_second=1e6)
    doors = doors or (TcpDoor("127.0.0.1", 0),)
    crowd = crowd or Crowd()
    server = Server(doors, answer, guard, crowd, max_body_bytes=max_body_bytes, request_timeout_s=timeout_s)
    server.start()
    return server


def port(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port(server)), timeout=20)


def connect_unix(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """All that is answered to these bytes until the server closes."""
    with connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer
