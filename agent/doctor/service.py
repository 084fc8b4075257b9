"""What the daemon needs by its configuration."""

import errno
import fcntl
import http.client
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent.board import systemd
from agent.board.secret import Secret
from agent.doctor.checks import Check, warned_of_open
from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.config import HttpConfig

LEAST_BYTES = 16 << 20  # below it no example can be trusted to be kept
FEW_BYTES = 256 << 20
TIMEOUT_S = 5.0
LOCK = "cache/lock"  # of each task and generation


def flash(folder: Path, free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free) -> Check:
    """The room where the state is, or will be."""
    there = _existing(folder)
    try:
        left = free(there)
    except OSError as error:
        return Check(
            "flash", "fail", f"{there} cannot be asked: {error.strerror}", "see dmesg: the card may be failing"
        )
    found = f"{left / 1e6:.0f} MB free at {there}"
    if left < LEAST_BYTES:
        return Check("flash", "fail", found, "make room: examples and heads cannot be kept")
    if left < FEW_BYTES:
        return Check("flash", "warn", found, "make room, or bound the cache with cache.max_bytes")
    return Check("flash", "ok", found)


def state(folder: Path, *, serving: bool) -> Check:
    """Whether the state folder can be written, by its owner and by nobody else at the same time."""
    there = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        read_only = "the card may be failing, or is mounted read-only: see dmesg"
        advice = read_only if error.errno == errno.EROFS else "run as its owner: sudo -u lastlayer lastlayer doctor"
        return Check("state", "fail", f"{there} cannot be written: {error.strerror}", advice)
    if there != folder:
        return Check("state", "ok", f"{folder} will be made")
    owner = folder.stat().st_uid
    strange = next((path for path in sorted(folder.rglob("*")) if path.lstat().st_uid != owner), None)
    if strange is not None:
        return Check("state", "fail", f"{strange} belongs to another user", f"chown -R --reference={folder} {folder}")
    if not serving and any(map(_is_locked, folder.rglob(LOCK))):
        return Check("state", "warn", f"{folder} is in use", "another command or daemon writes it: wait, or stop it")
    return Check("state", "ok", f"{folder}{', in use by the running daemon' if serving else ''}")


def answers(host: str, port: int, *, tls: bool) -> bool:
    """Whether a Lastlayer serves there, be it that it asks for a token."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    if tls:
        import ssl

        # It is asked whether it is there, and told nothing: who signed its certificate does not matter.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    try:
        connection.request("GET", "/healthz")
        with connection.getresponse() as response:
            return response.read(512).lstrip().startswith((b'{"status"', b'{"error"'))
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def address(host: str, port: int, *, serving: bool) -> Check:
    where = f"{host}:{port}"
    if serving:
        return Check("address", "ok", f"{where}, Lastlayer answers there")
    try:
        family, kind, protocol, _, bound = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(bound)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        advice = (
            f"see who it is with: ss -ltnp sport = :{port}; or set http.port" if taken else "see http.host, http.port"
        )
        return Check("address", "fail", f"{where}: {error.strerror or error}", advice)
    return Check("address", "ok", f"{where} is free")


def access(http: "HttpConfig") -> Check:
    """The files by which the daemon knows who may come over TCP, and shows who it is."""
    from agent.ingress.http.doors import tls_context
    from agent.ingress.http.guard import secrets

    try:
        if http.token_file is not None:
            Secret("http.token_file", http.token_file).token()
        if http.tls_certificate is not None:
            tls_context(http.tls_certificate, http.tls_key)
    except ConfigError as error:
        return Check("access", "fail", str(error), "the service reads them as the user lastlayer")
    token = "a token" if http.token_file is not None else "no token"
    found = f"{token}, {'TLS' if http.tls_certificate is not None else 'no TLS'}"
    return warned_of_open(Check("access", "ok", found), secrets(http))


def unix_socket(path: Path | None) -> Check:
    """Whether the daemon can make its socket there."""
    if path is None:
        return Check("socket", "ok", "none is configured")
    folder = path.parent
    if folder == systemd.runtime_directory() and not folder.exists():
        return Check("socket", "ok", f"{path}; systemd makes {folder} when it starts the service")
    if not folder.is_dir():
        return Check("socket", "fail", f"there is no folder {folder}", "make it, or set http.socket")
    if path.exists() and not path.is_socket():
        return Check("socket", "fail", f"{path} is there and is no socket", "remove it, or set http.socket")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check("socket", "fail", f"{folder} cannot be written", "set http.socket to a folder of the service")
    return Check("socket", "ok", str(path))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
