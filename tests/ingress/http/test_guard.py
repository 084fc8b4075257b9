import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import HttpConfig
from agent.ingress.http import guard as guard_module
from agent.ingress.http.guard import Guard, Rate, secrets
from agent.ingress.http.message import Heading, Reply
from agent.ingress.http.server import http_server

TOKEN = "0123456789abcdef0123456789abcdef"


def heading(method: str = "POST", **headers: str) -> Heading:
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Heading(method, "/v1/frames", "1.1", named)


def status(guard: Guard, heading: Heading) -> int:
    """That of the refusal; 0 for who is let in."""
    refusal = guard.refusal(heading, "10.0.0.1")
    return int(refusal.reply.status) if refusal else 0


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (f"Bearer {TOKEN}", 0),
        (f"bearer  {TOKEN} ", 0),
        (f"Bearer {TOKEN}0", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer ", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer \xff\xfe", 401),
        ("", 401),
    ],
)
def test_the_token_must_be_shown(authorization: str, expected: int) -> None:
    guard = Guard(token=TOKEN, local=False, max_per_second=1e6)
    assert status(guard, heading(authorization=authorization)) == expected
    refusal = guard.refusal(heading(), "10.0.0.1")
    assert refusal is not None
    assert refusal.reply.headers == {"WWW-Authenticate": "Bearer"}
    assert TOKEN not in str(refusal)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 0),
        ("localhost:8080", 0),
        ("board.localhost", 0),
        ("127.0.0.1:8080", 0),
        ("[::1]:8080", 0),
        ("192.168.1.5", 0),
        ("", 0),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
        ("localhost.evil.example", 403),
        ("[::1", 403),
        ("a@127.0.0.1@evil", 403),
    ],
)
def test_on_loopback_without_a_token_no_foreign_name_is_answered(host: str, expected: int) -> None:
    asked = heading(host=host) if host else heading()
    assert status(Guard(token=None, local=True, max_per_second=1e6), asked) == expected
    assert status(Guard(token=None, local=False, max_per_second=1e6), asked) == 0, "off loopback it has names"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (heading(host="board:8080", origin="http://board:8080", sec_fetch_site="same-origin"), 0),
        (heading(host="board:8080", origin="HTTP://BOARD:8080"), 0),
        (heading("GET", host="board", sec_fetch_site="none"), 0),
        (heading("GET", host="board", sec_fetch_site="cross-site", sec_fetch_mode="navigate"), 0),
        (heading(host="board", sec_fetch_site="cross-site", sec_fetch_mode="navigate"), 403),
        (heading("GET", host="board", sec_fetch_site="cross-site", sec_fetch_mode="no-cors"), 403),
        (heading(host="board", sec_fetch_site="same-site"), 403),
        (heading(host="board:8080", origin="http://board:3000"), 403),
        (heading(host="board", origin="http://evil.example"), 403),
        (heading(host="board", origin="null"), 403),
    ],
)
def test_pages_of_other_sites_are_not_served(asked: Heading, expected: int) -> None:
    assert status(Guard(token=None, local=False, max_per_second=1e6), asked) == expected


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    yield now


def test_an_address_may_come_so_often_and_twice_that_at_once(clock: list[float]) -> None:
    rate = Rate(10)
    assert [rate.admits("10.0.0.1") for _ in range(21)] == [True] * 20 + [False]
    assert rate.admits("10.0.0.2"), "that was another address"
    clock[0] += 0.5
    assert [rate.admits("10.0.0.1") for _ in range(6)] == [True] * 5 + [False]
    clock[0] += 1000
    assert [rate.admits("10.0.0.1") for _ in range(21)] == [True] * 20 + [False]


def test_less_than_one_a_second_is_some(clock: list[float]) -> None:
    rate = Rate(0.1)
    assert [rate.admits("10.0.0.1") for _ in range(2)] == [True, False]
    clock[0] += 10.1
    assert [rate.admits("10.0.0.1") for _ in range(2)] == [True, False]


def test_a_network_of_ipv6_is_one_and_mapped_addresses_are_what_they_map(clock: list[float]) -> None:
    rate = Rate(0.5)
    assert [rate.admits(peer) for peer in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")] == [True, False, True]
    assert [rate.admits(peer) for peer in ("::ffff:10.0.0.1", "10.0.0.1", "fe80::1%eth0")] == [True, False, True]


def test_addresses_are_not_remembered_without_end(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "MAX_PEERS", 3)
    rate = Rate(0.5)
    for number in range(10):
        rate.admits(f"10.0.0.{number}")
    assert len(rate._peers) == 3
    assert not rate.admits("10.0.0.9")


def test_too_many_are_told_when_to_come_again(clock: list[float]) -> None:
    guard = Guard(token=None, local=True, max_per_second=0.5)
    assert guard.refusal(heading(), "10.0.0.1") is None
    refusal = guard.refusal(heading(), "10.0.0.1")
    assert refusal is not None
    assert (refusal.reply.status, refusal.reply.headers) == (429, {"Retry-After": "1"})
    assert "http.max_per_second" in str(refusal)


def test_a_token_or_a_key_that_every_user_may_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    for mode, warned in ((0o600, 0), (0o640, 0), (0o644, 1)):
        token.chmod(mode)
        caplog.clear()
        http_server(HttpConfig(port=0, token_file=token, socket=None), lambda request: Reply(200, {}), 1000).close()
        assert [record.levelname for record in caplog.records] == ["WARNING"] * warned
    assert caplog.messages == [f"http.token_file: every user may read {token}; type: chmod o= {token}"]
    key, both = tmp_path / "key", tmp_path / "both"
    assert [secret.path for secret in secrets(HttpConfig(tls_certificate=both, tls_key=key))] == [key]
    assert [secret.path for secret in secrets(HttpConfig(tls_certificate=both))] == [both]
