"""The HTTP face: from requests to the service's calls, and from what they return or raise to replies."""

import json
import logging
import re
from collections.abc import Callable
from http import HTTPStatus

from agent.errors import (
    BusyError,
    ImageError,
    LabelError,
    LastlayerError,
    MismatchError,
    RefusedHeadError,
    TrainingError,
    UnknownFrameError,
    UnknownHeadError,
)
from agent.ingress.connection import Reply, Request, error_reply
from agent.service import Service
from agent.vision.classifier import TOP

log = logging.getLogger(__name__)

WAIT_FOR_ROOM_S = 2.0  # then the sender is told to come again
MAX_TOP = 1000
MAX_RECENT = 100

# The first that fits decides.
_STATUSES: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (ImageError, HTTPStatus.BAD_REQUEST),
    (LabelError, HTTPStatus.BAD_REQUEST),
    (UnknownFrameError, HTTPStatus.NOT_FOUND),
    (UnknownHeadError, HTTPStatus.NOT_FOUND),
    (MismatchError, HTTPStatus.CONFLICT),
    (RefusedHeadError, HTTPStatus.CONFLICT),
    (BusyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (LastlayerError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


class _BadRequest(ValueError):
    """A request that is not of the form that its route takes."""


class Api:
    """Called with a request, gives the reply; never raises. Thread-safe."""

    def __init__(self, service: Service) -> None:
        self._service = service
        routes: list[tuple[str, str, Callable[..., Reply]]] = [
            ("POST", r"/v1/frames", self._post_frame),
            ("GET", r"/v1/frames", self._get_frames),
            ("POST", r"/v1/frames/([^/]+)/label", self._post_label),
            ("POST", r"/v1/retrain", self._post_retrain),
            ("GET", r"/v1/retrain", lambda request: Reply(HTTPStatus.OK, service.teaching.retraining())),
            ("DELETE", r"/v1/retrain", self._delete_retrain),
            ("GET", r"/v1/heads", lambda request: Reply(HTTPStatus.OK, service.heads.list())),
            ("GET", r"/v1/heads/([^/]+)", lambda request, version: Reply(HTTPStatus.OK, service.heads.report(version))),
            ("POST", r"/v1/heads/rollback", lambda request: Reply(HTTPStatus.OK, {"active": service.heads.rollback()})),
            ("POST", r"/v1/heads/([^/]+)/activate", self._post_activate),
            ("GET", r"/v1/status", lambda request: Reply(HTTPStatus.OK, service.status())),
            ("GET", r"/v1/timings", lambda request: Reply(HTTPStatus.OK, service.phases())),
            ("GET", r"/healthz", lambda request: Reply(HTTPStatus.OK, {"status": "ok"})),
        ]
        self._routes = [(method, re.compile(path), answer) for method, path, answer in routes]

    def __call__(self, request: Request) -> Reply:
        try:
            return self._routed(request)
        except _BadRequest as error:
            return error_reply(HTTPStatus.BAD_REQUEST, str(error))
        except LastlayerError as error:
            status = next(status for kind, status in _STATUSES if isinstance(error, kind))
            if status is HTTPStatus.SERVICE_UNAVAILABLE:
                return error_reply(status, str(error), Retry_After="1")
            return error_reply(status, str(error))
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return error_reply(HTTPStatus.INTERNAL_SERVER_ERROR, "an error of the service; its log says which")

    def _routed(self, request: Request) -> Reply:
        allowed = []
        for method, path, answer in self._routes:
            match = path.fullmatch(request.path)
            if match and method == request.method:
                return answer(request, *match.groups())
            if match:
                allowed.append(method)
        if allowed:
            message = f"{request.path} takes {' or '.join(allowed)}, not {request.method}"
            return error_reply(HTTPStatus.METHOD_NOT_ALLOWED, message, Allow=", ".join(allowed))
        return error_reply(HTTPStatus.NOT_FOUND, f"there is no {request.path[:80]!r} here")

    def _post_frame(self, request: Request) -> Reply:
        _check_query(request, "camera", "label", "top")
        top = _number(request, "top", TOP, MAX_TOP)
        result = self._service.classify(
            request.body,
            "http",
            camera=request.query.get("camera", ""),
            label=request.query.get("label"),
            top=top,
            wait_s=WAIT_FOR_ROOM_S,
        )
        return Reply(HTTPStatus.OK, result.as_dict())

    def _get_frames(self, request: Request) -> Reply:
        _check_query(request, "limit")
        limit = _number(request, "limit", 20, MAX_RECENT)
        return Reply(HTTPStatus.OK, {"frames": [result.as_dict() for result in self._service.seeing.recent()[:limit]]})

    def _post_label(self, request: Request, frame_id: str) -> Reply:
        try:
            asked = json.loads(request.body)
        except (ValueError, RecursionError):
            raise _BadRequest('the body is no JSON; send {"label": "…"}') from None
        if not isinstance(asked, dict) or asked.keys() != {"label"}:
            raise _BadRequest('send {"label": "…"} and nothing else')
        return Reply(
            HTTPStatus.OK, {"frame_id": frame_id, "label": self._service.teaching.label(frame_id, asked["label"])}
        )

    def _post_retrain(self, request: Request) -> Reply:
        try:
            return Reply(HTTPStatus.ACCEPTED, self._service.teaching.retrain())
        except (BusyError, TrainingError) as error:
            return error_reply(HTTPStatus.CONFLICT, str(error))

    def _delete_retrain(self, request: Request) -> Reply:
        try:
            return Reply(HTTPStatus.OK, self._service.teaching.cancel())
        except TrainingError as error:
            return error_reply(HTTPStatus.CONFLICT, str(error))

    def _post_activate(self, request: Request, version: str) -> Reply:
        _check_query(request, "force")
        force = request.query.get("force", "0")
        if force not in ("0", "1"):
            raise _BadRequest(f"force must be 0 or 1, not {force[:40]!r}")
        self._service.heads.activate(version, force=force == "1")
        return Reply(HTTPStatus.OK, {"active": version})


def _check_query(request: Request, *known: str) -> None:
    for name in request.query:
        if name not in known:
            raise _BadRequest(f"unknown parameter {name[:40]!r}; {request.path} knows {', '.join(known)}")


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not 1 <= int(text) <= most:
        raise _BadRequest(f"{name} must be a number from 1 to {most}, not {text[:40]!r}")
    return int(text)
