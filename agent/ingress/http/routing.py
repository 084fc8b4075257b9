"""From a method and a path to what answers, and from what it raises to a status."""

import logging
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from urllib.parse import unquote

from agent.errors import (
    BundleError,
    BusyError,
    DamagedError,
    InputError,
    LastlayerError,
    MismatchError,
    RefusedHeadError,
    SimilarLabelError,
    UnknownError,
    UnnamedError,
)
from agent.ingress.http.forms import BadRequest, check_query
from agent.ingress.http.message import Reply, Request, Stream, error_reply

log = logging.getLogger(__name__)

Answer = Callable[..., Reply | Stream]  # takes the request, and the words that stand in the path's braces
_Methods = dict[str, tuple[Answer, tuple[str, ...]]]  # method: what answers, and the parameters that it takes

# The first that fits decides.
_STATUSES: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (UnknownError, HTTPStatus.NOT_FOUND),
    (SimilarLabelError, HTTPStatus.CONFLICT),
    (InputError, HTTPStatus.BAD_REQUEST),
    (BundleError, HTTPStatus.BAD_REQUEST),
    (MismatchError, HTTPStatus.CONFLICT),
    (DamagedError, HTTPStatus.CONFLICT),
    (RefusedHeadError, HTTPStatus.CONFLICT),
    (BusyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (LastlayerError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


class Router:
    """Called with a request, gives the reply; never raises. A path without braces goes before one with them."""

    def __init__(self, routes: Iterable[tuple[str, str, Answer]]) -> None:
        """routes: (method, address such as /v1/heads/{version}/activate?force, what answers). Of an address's query
        these are the parameters that it takes."""
        self._literal: dict[str, _Methods] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], _Methods]] = {}
        for method, address, answer in routes:
            path, _, query = address.partition("?")
            route = answer, tuple(filter(None, query.split("&")))
            if "{" not in path:
                self._literal.setdefault(path, {})[method] = route
            else:
                pattern = re.compile(re.sub(r"\{[a-z_]+\}", "([^/]+)", path))
                self._patterns.setdefault(path, (pattern, {}))[1][method] = route

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
        except UnnamedError as error:
            return Reply(HTTPStatus.BAD_REQUEST, {"error": str(error), "unnamed": True})
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
        route = methods.get(request.method)
        if route is None:
            allowed = [*methods, *(["HEAD"] if "GET" in methods else [])]
            message = f"{request.path[:80]} takes {' or '.join(allowed)}, not {request.method}"
            return error_reply(HTTPStatus.METHOD_NOT_ALLOWED, message, Allow=", ".join(allowed))
        answer, parameters = route
        check_query(request, parameters)
        return answer(request, *words)

    def _found(self, path: str) -> tuple[_Methods, list[str]]:
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
