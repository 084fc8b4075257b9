import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.board.secret import MAX_TOKEN_CHARS, Secret, oddity, warn_of_open
from agent.errors import ConfigError

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o600, ""),
        (0o640, ""),
        (0o660, ""),
        (0o400, ""),
        (0o644, "may read"),
        (0o604, "may read"),
        (0o602, "may change"),
    ],
)
def test_a_file_is_open_where_others_than_its_owner_and_group_come_at_it(mode: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch()
    path.chmod(mode)
    complaint = Secret("http.token_file", path).complaint
    assert bool(complaint) == bool(said)
    assert said in complaint


def test_what_is_no_file_is_not_complained_of(tmp_path: Path) -> None:
    assert not Secret("--token-file", tmp_path / "none").complaint
    assert not Secret("--token-file", Path("/dev/null")).complaint


def test_one_line_says_what_to_type(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "it's"
    path.touch(mode=0o600)
    warn_of_open([Secret("mqtt.password_file", path)])
    assert not caplog.records
    path.chmod(0o644)
    warn_of_open([Secret("mqtt.password_file", path)])
    (record,) = caplog.records
    assert record.getMessage().startswith(f"mqtt.password_file: every user may read {path}; type: chmod o= '")


@pytest.mark.parametrize(
    ("content", "password", "said"),
    [
        (b"sesame", "sesame", ""),
        (b"sesame\n", "sesame", ""),
        (b"sesame\r\n", "sesame", ""),
        ("open sésame".encode(), "open sésame", ""),
        (b"sesame\n\n", "sesame\n", "has 0A at byte 6, a line feed"),
        (b"sesame\r\n\r\n", "sesame\r\n", "has 0D at byte 6, a carriage return"),
        (b"sesame\r", "sesame\r", "has 0D at byte 6, a carriage return"),
        (b"sesame \n", "sesame ", "has 20 at byte 6, space"),
        (b" sesame", " sesame", "has 20 at byte 0, space"),
        (b"ses\tame", "ses\tame", "has 09 at byte 3, a tab"),
        (b"\xef\xbb\xbfsesame\n", "\ufeffsesame", "begins with EF BB BF, a byte order mark"),
        (b"s\0e\0s\0", "s\0e\0s\0", "has 00 at byte 1, a NUL, as UTF-16 has them"),
        ("sésame\u200b".encode(), "sésame\u200b", "has E2 80 8B at byte 7, zero width space"),
        ("ses\u00a0ame".encode(), "ses\u00a0ame", "has C2 A0 at byte 3, no-break space"),
        (b"ses\x1bame", "ses\x1bame", "has 1B at byte 3, a control character"),
    ],
)
def test_what_is_hardly_meant_in_a_password_is_named_and_shown_to_the_broker_all_the_same(
    content: bytes, password: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    found, doubt = Secret("mqtt.password_file", path).password()
    assert found == password
    assert doubt.startswith(f"mqtt.password_file: {path} {said}" if said else "")
    assert bool(doubt) == bool(said)
    assert "sesame" not in doubt


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\r\n", "is empty"),
        ("sesame\n".encode("utf-16"), "begins with FF FE, the byte order mark of UTF-16"),
        ("\ufeffsesame\n".encode("utf-16-be"), "begins with FE FF, the byte order mark of UTF-16"),
        ("sésame".encode("cp1252"), "has E9 at byte 1, which is no UTF-8"),
        (b"x" * 70_000, "cannot be read: at most"),
    ],
)
def test_what_is_no_password_is_refused_by_its_file(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        Secret("mqtt.password_file", path).password()
    assert str(refused.value).startswith(f"mqtt.password_file: {path} ")
    assert said in str(refused.value)


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", f"{TOKEN}\r\n"])
def test_a_token_is_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(content, newline="")
    assert Secret("http.token_file", path).token() == TOKEN


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"short", "must hold one line of 16 to 1024 visible ASCII characters, not 5"),
        (b"x" * (MAX_TOKEN_CHARS + 1), "visible ASCII characters, not more"),
        (f"{TOKEN}\n\n".encode(), "has 0A at byte 32, a line feed"),
        (f"{TOKEN}\n{TOKEN}".encode(), "has 0A at byte 32, a line feed"),
        (f"{TOKEN} ".encode(), "has 20 at byte 32, space"),
        (f"{TOKEN[:16]} {TOKEN[:16]}".encode(), "has 20 at byte 16, space"),
        (TOKEN.encode("utf-8-sig"), "begins with EF BB BF, a byte order mark"),
        (TOKEN.encode("utf-16"), "begins with FF FE, the byte order mark of UTF-16"),
        (TOKEN.encode("utf-16-le"), "has 00 at byte 1, a NUL"),
        (f"{TOKEN}é".encode(), "has C3 A9 at byte 32, latin small letter e with acute"),
        (TOKEN.encode() + b"\xe9", "has E9 at byte 32, which is no UTF-8"),
    ],
)
def test_what_is_no_token_is_named_by_its_byte(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        Secret("http.token_file", path).token()
    assert str(refused.value).startswith(f"http.token_file: {path} ")
    assert said in str(refused.value)
    assert "empty" in said or "openssl rand" in str(refused.value)
    assert TOKEN not in str(refused.value)


@given(st.binary(max_size=40))
def test_of_any_bytes_one_is_named_or_none(content: bytes) -> None:
    said = oddity(content)
    assert said == "" or said.startswith(("has ", "begins with "))
    assert said != "" or content.decode().strip(" ").isprintable()


def test_a_secret_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    for path, what in ((tmp_path / "token", "a FIFO"), (Path("/dev/zero"), "a device")):
        for read in (Secret("--token-file", path).token, Secret("--token-file", path).password):
            with pytest.raises(ConfigError, match=f"cannot be read: it is {what}"):
                read()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Secret("--token-file", tmp_path / "none").token()


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-8", ""), ("utf-8-sig", "begins with EF BB BF"), ("utf-16", "begins with FF FE")]
)
def test_why_no_program_reads_a_certificate_is_said(encoding: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes("-----BEGIN CERTIFICATE-----\n".encode(encoding))
    why = Secret("mqtt.ca_file", path).unreadable_pem()
    assert (said in why, bool(why)) == (True, bool(said))
    path.write_bytes(b"")
    assert Secret("mqtt.ca_file", path).unreadable_pem() == f"mqtt.ca_file: {path} is empty"
