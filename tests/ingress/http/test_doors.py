"""The unix socket and TLS, through a server."""

import contextlib
import json
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import ConfigError, ServiceError
from agent.ingress.http.doors import TcpDoor, UnixDoor, tls_context
from agent.ingress.http.guard import Guard
from agent.ingress.http.server import Server
from tests.ingress.http.serving import connect, connect_unix, exchange, port, serving

GET = b"GET / HTTP/1.1\r\n\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "http.sock"


def test_a_unix_socket_is_served_to_its_group_and_goes_with_the_server(path: Path) -> None:
    server = serving(TcpDoor("127.0.0.1", 0), UnixDoor(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert b"200 OK" in exchange(connect_unix(path), GET)
    assert b"200 OK" in exchange(connect(server), GET)
    assert list(path.parent.iterdir()) == [path]
    server.stop(5)
    assert not path.exists()


def test_who_comes_by_the_unix_socket_needs_no_token(path: Path) -> None:
    guard = Guard(token="a-token-of-16-chars", local=True, max_per_second=0.1)
    server = serving(TcpDoor("127.0.0.1", 0), UnixDoor(path), guard=guard)
    assert b" 401 " in exchange(connect(server), GET)
    for _ in range(5):
        assert b" 200 " in exchange(connect_unix(path), b"GET / HTTP/1.1\r\nHost: any.where\r\n\r\n")
    server.stop(5)


def test_the_socket_of_a_crash_is_replaced(path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.listen()
    left.close()  # its file stays
    server = serving(UnixDoor(path))
    assert b"200 OK" in exchange(connect_unix(path), GET)
    server.stop(5)


def test_the_socket_of_a_living_daemon_is_not_replaced(path: Path) -> None:
    server = serving(UnixDoor(path))
    with pytest.raises(ServiceError, match=r"another daemon listens.*http\.socket"):
        UnixDoor(path)
    assert b"200 OK" in exchange(connect_unix(path), GET)
    server.stop(5)


def test_a_socket_that_another_took_over_is_left_to_it(path: Path) -> None:
    first = UnixDoor(path)
    path.unlink()
    second = UnixDoor(path)
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


def test_what_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(ServiceError, match="is no socket"):
        UnixDoor(path)
    assert path.read_text() == "mine"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"cannot be made: No such file or directory; set http\.socket"):
        UnixDoor(tmp_path / "no" / "http.sock")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=board"]
    try:
        subprocess.run([*made, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed (apt-get install openssl)")
    both = folder / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


@pytest.fixture
def secured(certificate: Path) -> Iterator[Server]:
    server = serving(TcpDoor("127.0.0.1", 0, tls_context(certificate, None)), timeout_s=20)
    yield server
    server.stop(5)


def encrypted(server: Server, certificate: Path) -> ssl.SSLSocket:
    return ssl.create_default_context(cafile=certificate).wrap_socket(connect(server), server_hostname="127.0.0.1")


def last_words(connection: socket.socket) -> bytes:
    """What is said before the end, which may be an abrupt one."""
    try:
        return connection.recv(1000)
    except OSError as error:
        assert not isinstance(error, TimeoutError)
        return b""


def test_tls_is_spoken(secured: Server, certificate: Path) -> None:
    assert secured.url == f"https://127.0.0.1:{port(secured)}"
    with encrypted(secured, certificate) as connection:
        for size in (5, 90_000):
            connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            body = connection.recv(65536).partition(b"\r\n\r\n")[2]
            assert json.loads(body)["size"] == size


def test_who_is_silent_before_the_handshake_keeps_nobody_out(secured: Server, certificate: Path) -> None:
    silent = [connect(secured) for _ in range(20)]
    with encrypted(secured, certificate) as connection:
        connection.sendall(GET)
        assert b"200 OK" in connection.recv(1000)
    for one in silent:
        one.close()


def test_plain_http_and_rubbish_find_no_answer_and_harm_nobody(secured: Server, certificate: Path) -> None:
    for said in (GET, bytes(range(256)), b"\x16\x03\x01\x02\x00"):
        with connect(secured) as connection:
            connection.sendall(said)
            with contextlib.suppress(OSError):  # the server was faster
                connection.shutdown(socket.SHUT_WR)
            assert b"HTTP" not in last_words(connection)
    with encrypted(secured, certificate) as connection:
        connection.sendall(GET)
        assert b"200 OK" in connection.recv(1000)


def test_a_stop_ends_silent_and_idle_tls_connections(secured: Server, certificate: Path) -> None:
    with encrypted(secured, certificate) as idle:
        idle.sendall(GET)
        assert b"200 OK" in idle.recv(1000)
        secured.stop(20)
        assert last_words(idle) == b""


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, certificate: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    marked = tmp_path / "marked.pem"
    marked.write_bytes(certificate.read_text().encode("utf-16"))
    for wrong, reason in (
        (tmp_path / "none.pem", "No such file"),
        (empty, "is empty"),
        (marked, "begins with FF FE, the byte order mark of UTF-16"),
    ):
        with pytest.raises(ConfigError, match=f"http.tls_certificate: .*{wrong.name}.*{reason}"):
            tls_context(wrong, None)
    locked = tmp_path / "locked.pem"
    words = ["openssl", "ec", "-in", str(certificate), "-out", str(locked), "-aes256", "-passout", "pass:secret"]
    subprocess.run(words, check=True, capture_output=True)
    with pytest.raises(ConfigError, match="the key has a password"):
        tls_context(certificate, locked)
