"""A client of the HTTP face that tries again. Standard library only: `lastlayer push` has to start fast."""

import http.client
import json
import socket
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from agent.errors import ConfigError, ImageError, LabelError, LastlayerError, ServiceError

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
MAX_ANSWER_BYTES = 1 << 20
MAX_COMPLAINT = 300  # characters
_PART_BYTES = 64 << 10
_LATER = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


class _LaterError(Exception):
    """It did not work this time; the message says why."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s  # asked for by the board


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class Address:
    """Where a board listens: a URL, or the path of a unix socket. Raises ConfigError for what is no URL."""

    url: str
    socket: str | None = None

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.url)
            spelt = (
                url.scheme in ("http", "https") and url.hostname and url.port != 0 and not (url.query or url.username)
            )
        except ValueError:  # a port that is no number
            spelt = None
        if not spelt:
            raise ConfigError(f"--url must be http://HOST:PORT, or https, not {self.url!r:.80}")

    def __str__(self) -> str:
        return self.socket or self.url

    @property
    def prefix(self) -> str:
        return urlsplit(self.url).path.rstrip("/")

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        url = urlsplit(self.url)
        if self.socket is not None:
            return _UnixConnection(self.socket, timeout)
        if url.scheme == "https":  # the environment's SSL_CERT_FILE may name a board's own certificate
            return http.client.HTTPSConnection(str(url.hostname), url.port, timeout=timeout)
        return http.client.HTTPConnection(str(url.hostname), url.port, timeout=timeout)


class Sender:
    """Sends one picture after the other over one connection, which is made again when it breaks.

    A picture is tried for `timeout_s` seconds. One whose answer was lost on the way is sent a second time.
    """

    def __init__(self, address: Address, token: str | None, timeout_s: float) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None
        self.retries = 0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(self, payload: bytes, query: Mapping[str, str]) -> dict[str, Any]:
        """The board's answer to a picture, with a result or several: see `results`.

        Raises ImageError where the board refuses the picture, LabelError where its label may be a slip, ServiceError
        where it could not be reached or had no room in time, ConfigError where it wants a token, or to be told of
        another task or view, LastlayerError for an error of the board.
        """
        deadline = time.monotonic() + self._timeout_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return self._try(payload, query, max(0.1, deadline - time.monotonic()))
            except _LaterError as error:
                self.close()
                wait_s = max(pause_s, error.pause_s)
                if time.monotonic() + wait_s > deadline:
                    raise ServiceError(f"{self._address}: {error}; given up after {self._timeout_s:g} s") from error
                if not self.retries:
                    print(f"lastlayer push: {self._address}: {error}; trying again", file=sys.stderr)
                self.retries += 1
                time.sleep(wait_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _try(self, payload: bytes, query: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        try:
            status, body, retry_after = self._request(payload, query, timeout_s)
        except ServiceError:
            raise
        except (ssl.SSLError, socket.gaierror, PermissionError) as error:
            raise self._hopeless(error) from error
        except OSError as error:
            raise _LaterError(error.strerror or str(error) or type(error).__name__) from error
        except http.client.IncompleteRead as error:
            raise _LaterError("the connection broke before its answer was complete") from error
        except http.client.HTTPException as error:
            raise ServiceError(f"{self._address}: what answers there does not speak HTTP: {error!r:.80}") from error
        if status in _LATER:
            raise _LaterError(_complaint(status, body), float(retry_after) if retry_after.isdecimal() else 0.0)
        if status == HTTPStatus.OK:
            answer = _answer(body)
            if answer is None:
                raise ServiceError(f"{self._address} answers, but not as Lastlayer does: {body[:60]!r}")
            return answer
        complaint = f"{self._address}: {_complaint(status, body)}"
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise ConfigError(f"{complaint}; name the board's token with --token-file")
        refusal = _refusal(body)
        if refusal.get("unnamed") is True:
            raise ConfigError(f"{complaint}: name it with --task, and its view with --view")
        if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
            raise ImageError(_complaint(status, body))
        if status == HTTPStatus.CONFLICT and refusal:
            raise LabelError(_complaint(status, body))
        if (
            status == HTTPStatus.NOT_FOUND and refusal
        ):  # no such task, or no view of that camera: so it is for the others
            raise ConfigError(complaint)
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ServiceError(f"{complaint}; is this a Lastlayer?")
        raise LastlayerError(complaint)

    def _hopeless(self, error: OSError) -> Exception:
        """What to do about an error that will be the same in a moment; what may pass is tried again."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return ServiceError(
                f"{self._address} shows a certificate that is not trusted ({error.verify_message}): name the file of "
                "the one that vouches for it in the environment, SSL_CERT_FILE=FILE lastlayer push …"
            )
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return ServiceError(f"{self._address} does not speak TLS there: is it http, or another port?")
        if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
            return ServiceError(f"{self._address}: {error.strerror}: is the name right?")
        if isinstance(error, PermissionError):
            return ServiceError(f"{self._address}: {error.strerror}")
        return _LaterError(error.strerror or str(error) or type(error).__name__)

    def _request(self, payload: bytes, query: Mapping[str, str], timeout_s: float) -> tuple[int, bytes, str]:
        """Status, body, and the header Retry-After. Raises OSError, HTTPException, ServiceError where it never ends."""
        if self._connection is None:
            self._connection = self._address.connection(timeout_s)
        connection = self._connection
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        path = f"{self._address.prefix}/v1/frames" + (f"?{urlencode(query)}" if query else "")
        try:
            connection.request("POST", path, payload, {"Content-Type": "application/octet-stream", **self._headers})
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise
            # Refused before all was sent, as too large: the answer says so.
        deadline = time.monotonic() + timeout_s
        response = connection.getresponse()
        body = b""
        while part := response.read1(_PART_BYTES):
            body += part
            if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                self.close()
                raise ServiceError(f"{self._address} answers, but comes to no end: {body[:60]!r}")
        if response.length:
            raise http.client.IncompleteRead(body, response.length)
        response.close()  # by itself it knows of its end only where it is read at once
        return response.status, body, response.getheader("Retry-After", "")


def results(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the views that looked at a picture say of it, each as the answer would be if it were the only one."""
    return list(answer.get("results", [answer]))


def _answer(body: bytes) -> dict[str, Any] | None:
    """What can be shown of a picture; None where it is something else."""
    try:
        answer = json.loads(body)
        for result in (said := results(answer)):
            for best in result["predictions"]:
                f"{best['label']} {best['probability']:.0%}"
            names = (result["frame_id"], result.get("task", ""), result.get("view", ""))
            if not all(isinstance(name, str) for name in names):
                return None
        json.dumps(answer, ensure_ascii=False).encode()
        return answer if said and isinstance(answer["frame_id"], str) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _complaint(status: int, body: bytes) -> str:
    said = str(_refusal(body).get("error", f"HTTP status {status}"))[:MAX_COMPLAINT]
    return "".join(character if character.isprintable() else "?" for character in said)


def _refusal(body: bytes) -> dict[str, Any]:
    """What a board says of what it does not take; empty where it is something else."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) and "error" in said else {}
