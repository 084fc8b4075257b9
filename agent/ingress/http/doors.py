"""Where requests come in: a TCP port, with TLS or without, and a unix socket."""

import contextlib
import errno
import logging
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from agent.board.secret import Secret
from agent.errors import ConfigError, ServiceError

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

BACKLOG = 512  # who finds it full tries again after a second
SOCKET_MODE = 0o660


class Door:
    """A listening socket with room for `capacity` connections at a time."""

    trusted: bool  # whether who comes in here has been let in by the file system
    capacity: int
    address: str  # as it is shown to people
    listening: socket.socket

    def accept(self) -> tuple[socket.socket, str]:
        """A connection and the address of who made it. Raises OSError, BlockingIOError where nobody waits."""
        connection, address = self.listening.accept()
        return connection, address[0] if isinstance(address, tuple) else ""

    def greet(self, connection: socket.socket, timeout: float) -> None:
        """What comes before the first request; in the thread of the connection. Raises OSError."""

    def part(self, connection: socket.socket) -> None:
        """The end of a connection. Waits for nothing."""
        connection.close()

    def close(self) -> None:
        self.listening.close()


class TcpDoor(Door):
    trusted = False
    capacity = 448

    def __init__(self, host: str, port: int, tls: "ssl.SSLContext | None" = None) -> None:
        """Raises ServiceError where the address cannot be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._tls = tls
        self.listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listening.bind((host, port))
            self.listening.listen(BACKLOG)
            self.listening.setblocking(False)
        except OSError as error:
            self.listening.close()
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise ServiceError(f"the address {host}, port {port}, {reason}; set http.host and http.port") from error
        host, self.port = self.listening.getsockname()[:2]
        self.address = f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def accept(self) -> tuple[socket.socket, str]:
        connection, peer = super().accept()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                # The handshake waits for the client, so it is left to the thread of the connection.
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        except OSError:
            connection.close()
            raise
        return connection, peer

    def greet(self, connection: socket.socket, timeout: float) -> None:
        if self._tls is not None:
            connection.settimeout(timeout)
            connection.do_handshake()  # type: ignore[attr-defined]

    def part(self, connection: socket.socket) -> None:
        if self._tls is not None:
            with contextlib.suppress(OSError, ValueError):
                connection.settimeout(0)
                connection.unwrap()  # type: ignore[attr-defined]  # says that nothing is missing
        super().part(connection)


class UnixDoor(Door):
    """A socket file that its group may use. Who can open it is trusted: that is what the file's mode says."""

    trusted = True
    capacity = 64

    def __init__(self, path: Path) -> None:
        """Take the place of a file that a crash left behind. Raises ServiceError, also where a daemon listens there."""
        self.path, self.address = path, str(path)
        _check_free(path)
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # It is made under another name, so that nobody sees it before its mode is right and it listens.
        made = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            with contextlib.suppress(FileNotFoundError):
                made.unlink()
            self.listening.bind(str(made))
            made.chmod(SOCKET_MODE)
            self.listening.listen(BACKLOG)
            self.listening.setblocking(False)
            made.rename(path)
            self._inode = path.stat().st_ino
        except OSError as error:
            self.listening.close()
            with contextlib.suppress(OSError):
                made.unlink()
            raise ServiceError(
                f"the socket {path} cannot be made: {error.strerror or error}; set http.socket"
            ) from error

    def close(self) -> None:
        super().close()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:  # not one that another daemon has put in its place
                self.path.unlink()


def shut(connection: socket.socket, how: int) -> None:
    """Also for a socket with TLS, from any thread: that of SSLSocket would take the keys from who is reading."""
    try:
        socket.socket.shutdown(connection, how)
    except OSError:
        log.debug("the connection was closed already")


def _check_free(path: Path) -> None:
    """Raises ServiceError where something lives under this name that is not a socket that a crash left behind."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ServiceError(f"the socket {path} cannot be made: {error.strerror}; set http.socket") from error
    if not stat.S_ISSOCK(mode):
        raise ServiceError(f"{path} is there and is no socket; set http.socket to another path, or remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        knocking.settimeout(1.0)
        try:
            knocking.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            if error.errno != errno.EAGAIN:  # that is a queue which is full: somebody lives there
                raise ServiceError(f"the socket {path} cannot be tried: {error.strerror or error}") from error
    raise ServiceError(f"another daemon listens on {path}; stop it, or set http.socket to another path")


def tls_context(certificate: Path, key: Path | None) -> "ssl.SSLContext":
    """Raises ConfigError where the files cannot be used."""
    import ssl  # some MB, which a board without TLS is spared

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        # Errors of TLS are OSErrors as well, and have no strerror.
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        files = Secret("http.tls_certificate", certificate), Secret("http.tls_key", key or certificate)
        reason = next(filter(None, (file.unreadable_pem() for file in files)), reason)
        raise ConfigError(
            f"http.tls_certificate: {certificate} with the key {key or 'in the same file'} cannot be used: {reason}; "
            "both must be PEM, the key without a password"
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")
