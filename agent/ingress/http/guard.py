"""Who is let in over TCP: by a token, not from the pages of others, and not too often."""

import hmac
import ipaddress
import threading
import time
from collections import OrderedDict
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.board.secret import Secret
from agent.ingress.http.message import Heading, Refused

if TYPE_CHECKING:
    from agent.config import HttpConfig

BURST_S = 2.0  # so many seconds' requests may come at once
MAX_PEERS = 4096  # that are remembered


class Guard:
    """Thread-safe. `refused` counts the requests that were not let in."""

    def __init__(self, *, token: str | None, local: bool, max_per_second: float) -> None:
        """token: what must be shown, None for nothing; local: only the machine itself can connect."""
        self.refused = 0
        self._token = token.encode() if token is not None else None
        self._checks_host = local and token is None
        self._rate = Rate(max_per_second)

    def refusal(self, heading: Heading, peer: str) -> Refused | None:
        """Why a request is not let in; None if it is. Its body has not been read."""
        refusal = self._refusal(heading, peer)
        if refusal is not None:
            self.refused += 1
        return refusal

    def _refusal(self, heading: Heading, peer: str) -> Refused | None:
        if not self._rate.admits(peer):
            message = f"more than {self._rate.per_second:g} requests a second came from {peer} (http.max_per_second)"
            return Refused(HTTPStatus.TOO_MANY_REQUESTS, message, Retry_After="1")
        if self._token is not None and not self._shows_token(heading):
            message = (
                "send the header Authorization: Bearer TOKEN, with the token that is in the board's http.token_file"
            )
            return Refused(HTTPStatus.UNAUTHORIZED, message, WWW_Authenticate="Bearer")
        host = heading.header("host")
        if self._checks_host and host and not _is_local_name(host):
            message = (
                f"the Host header says {host[:80]!r}; on loopback without a token only localhost and addresses are "
                "answered, so that no page that a browser shows can reach this board by a name of its own"
            )
            return Refused(HTTPStatus.FORBIDDEN, message)
        if _comes_from_elsewhere(heading, host):
            return Refused(HTTPStatus.FORBIDDEN, "a browser sent this for a page of another site; those are not served")
        return None

    def _shows_token(self, heading: Heading) -> bool:
        scheme, _, shown = heading.header("authorization").partition(" ")
        assert self._token is not None
        # latin-1, as it was read; compare_digest takes as long for any token of the right length.
        return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode("latin-1"), self._token)


class Rate:
    """A bucket of tokens for each address: it fills with `per_second`, and each request takes one."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._most = max(1.0, per_second * BURST_S)
        self._peers: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address → (tokens, when)
        self._lock = threading.Lock()

    def admits(self, peer: str) -> bool:
        network = _network(peer)
        now = time.monotonic()
        with self._lock:
            tokens, when = self._peers.get(network, (self._most, now))
            tokens = min(self._most, tokens + (now - when) * self.per_second)
            admitted = tokens >= 1
            self._peers[network] = tokens - admitted, now
            self._peers.move_to_end(network)
            if len(self._peers) > MAX_PEERS:
                self._peers.popitem(last=False)
        return admitted


def _network(peer: str) -> str:
    """An IPv6 host has 2^64 addresses to come from, so its network is counted."""
    if ":" not in peer:
        return peer
    address = ipaddress.IPv6Address(peer.partition("%")[0])
    return str(address.ipv4_mapped or int(address) >> 64)


def _is_local_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _comes_from_elsewhere(heading: Heading, host: str) -> bool:
    """Whether a browser says that a page of another site has it send this. What is no browser says nothing.

    A link that somebody follows is no such thing: it shows the board's answer to them alone.
    """
    if heading.method in ("GET", "HEAD") and heading.header("sec-fetch-mode") == "navigate":
        return False
    if heading.header("sec-fetch-site") not in ("", "same-origin", "none"):
        return True
    origin = heading.header("origin")
    return bool(origin) and origin.partition("://")[2].lower() != host.lower()


def secrets(http: "HttpConfig") -> list[Secret]:
    """The files that nobody else should read."""
    key = http.tls_key or http.tls_certificate
    named = [
        ("http.token_file", http.token_file),
        ("http.tls_key" if http.tls_key else "http.tls_certificate", key),
    ]
    return [Secret(name, path) for name, path in named if path is not None]
