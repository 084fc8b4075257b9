"""What `lastlayer push` says of an address where trying again cannot help: at once, in one line."""

import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.commands.sender import Address, Sender
from agent.errors import ServiceError
from tests.commands.test_push import scripted
from tests.trainer.fleet.wicked import answering, reply

SOON_S = 20.0  # the machine may be busy; it would go on for a minute


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Its own key inside, vouched for by itself."""
    path = tmp_path / "own.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=board"]
    subprocess.run([*words, "-keyout", path, "-out", tmp_path / "own.crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (tmp_path / "own.crt").read_bytes())
    return path


@pytest.fixture
def encrypted(certificate: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with answering(lambda connection, _: connection.sendall(reply(b"{}")), context) as url:
        yield url.replace("HTTPS", "https")


def complaint(url: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Of a sender that may try for a minute, and does not."""
    began = time.monotonic()
    sender = Sender(Address(url), None, 60.0)
    with pytest.raises(ServiceError) as raised:
        sender.send(b"picture", {})
    sender.close()
    assert time.monotonic() - began < SOON_S
    assert (sender.retries, capsys.readouterr().err) == (0, "")
    return str(raised.value)


def test_a_certificate_that_nobody_vouches_for_is_said_with_what_to_do(
    encrypted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(encrypted, capsys)
    assert "certificate that is not trusted" in said and "SSL_CERT_FILE=FILE" in said


def test_https_where_there_is_http_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted() as board:
        assert "does not speak TLS" in complaint(f"https://127.0.0.1:{board.server_address[1]}", capsys)


def test_what_speaks_no_http_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(lambda connection, _: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as url:
        assert "does not speak HTTP" in complaint(url, capsys)
