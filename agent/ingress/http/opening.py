"""From the configuration to a server: its doors, and who is let in."""

from collections.abc import Callable
from contextlib import ExitStack

from agent.config import HttpConfig, is_loopback
from agent.ingress.http.crowd import Crowd
from agent.ingress.http.doors import Door, TcpDoor, UnixDoor, tls_context
from agent.ingress.http.guard import Guard, read_token
from agent.ingress.http.message import Reply, Request, Stream
from agent.ingress.http.server import Server


def http_server(http: HttpConfig, answer: Callable[[Request], Reply | Stream], max_body_bytes: int) -> Server:
    """Raises ConfigError for a token or a certificate that cannot be used, ServiceError for an address or a socket."""
    token = read_token(http.token_file) if http.token_file is not None else None
    tls = tls_context(http.tls_certificate, http.tls_key) if http.tls_certificate is not None else None
    guard = Guard(token=token, local=is_loopback(http.host), max_per_second=http.max_per_second)
    with ExitStack() as stack:
        doors: list[Door] = [TcpDoor(http.host, http.port, tls)]
        stack.callback(doors[0].close)
        if http.socket is not None:
            doors.append(UnixDoor(http.socket))
        stack.pop_all()
    return Server(
        doors, answer, guard, Crowd(), max_body_bytes=max_body_bytes, request_timeout_s=http.request_timeout_s
    )
