"""From a method and a path to what answers, and from what it raises to a status."""

import logging
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from urllib.parse import unquote

from agent.errors import (
    BundleError,
    BusyError,
    InputError,
    LastlayerError,
    MismatchError,
    RefusedHeadError,
    UnknownError,
)
from agent.ingress.http.forms import BadRequest
from agent.ingress.http.message import Reply, Request, Stream, error_reply

log = logging.getLogger(__name__)

Answer = Callable[..., Reply | Stream]  # takes the request, and the words that stand in the path's braces

# The first that fits decides.
_STATUSES: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (UnknownError, HTTPStatus.NOT_FOUND),
    (InputError, HTTPStatus.BAD_REQUEST),
    (BundleError, HTTPStatus.BAD_REQUEST),
    (MismatchError, HTTPStatus.CONFLICT),
    (RefusedHeadError, HTTPStatus.CONFLICT),
    (BusyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (LastlayerError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


class Router:
    """Called with a request, gives the reply; never raises. A path without braces goes before one with them."""

    def __init__(self, routes: Iterable[tuple[str, str, Answer]]) -> None:
        """routes: (method, path such as /v1/heads/{version}, what answers)."""
        self._literal: dict[str, dict[str, Answer]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, Answer]]] = {}
        for method, path, answer in routes:
            if "{" not in path:
                self._literal.setdefault(path, {})[method] = answer
            else:
                pattern = re.compile(re.sub(r"\{[a-z_]+\}", "([^/]+)", path))
                self._patterns.setdefault(path, (pattern, {}))[1][method] = answer

    @property
    def routes(self) -> set[tuple[str, str]]:
        """Every (method, path)."""
        found = {(method, path) for path, methods in self._literal.items() for method in methods}
        return found | {(method, path) for path, (_, methods) in self._patterns.items() for method in methods}

    def __call__(self, request: Request) -> Reply | Stream:
        try:
            return self._routed(request)
        except BadRequest as error:
            return error_reply(HTTPStatus.BAD_REQUEST, str(error))
        except LastlayerError as error:
            status = next(status for kind, status in _STATUSES if isinstance(error, kind))
            if status is HTTPStatus.SERVICE_UNAVAILABLE:
                return error_reply(status, str(error), Retry_After="1")
            return error_reply(status, str(error))
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return error_reply(HTTPStatus.INTERNAL_SERVER_ERROR, "an error of the service; its log says which")

    def _routed(self, request: Request) -> Reply | Stream:
        methods, words = self._found(request.path)
        if not methods:
            return error_reply(HTTPStatus.NOT_FOUND, f"there is no {request.path[:80]!r} here")
        answer = methods.get(request.method)
        if answer is None:
            allowed = [*methods, *(["HEAD"] if "GET" in methods else [])]
            message = f"{request.path[:80]} takes {' or '.join(allowed)}, not {request.method}"
            return error_reply(HTTPStatus.METHOD_NOT_ALLOWED, message, Allow=", ".join(allowed))
        return answer(request, *words)

    def _found(self, path: str) -> tuple[dict[str, Answer], list[str]]:
        methods = self._literal.get(path)
        if methods is not None:
            return methods, []
        for pattern, methods in self._patterns.values():
            match = pattern.fullmatch(path)
            if match:
                return methods, [_decoded(word) for word in match.groups()]
        return {}, []


def _decoded(word: str) -> str:
    try:
        return unquote(word, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest(f"{word[:40]!r} in the path is not UTF-8") from None
