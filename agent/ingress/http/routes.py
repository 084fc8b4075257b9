"""The HTTP face: from requests to the service's calls, and from what they return to replies."""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from agent.errors import BusyError, InputError, TrainingError
from agent.ingress.encoded import flag, said
from agent.ingress.http.forms import BadRequest, number, only_key, picture
from agent.ingress.http.message import Reply, Request, Stream, error_reply
from agent.ingress.http.routing import Router
from agent.records import Frame, Result
from agent.reporting import feed, prometheus
from agent.reporting.feed import Feed
from agent.service import Service
from agent.service.metrics import families
from agent.service.tasks import Task
from agent.state.parcels import PAGE_EXAMPLES
from agent.vision.classifier import TOP

WAIT_FOR_ROOM_S = 2.0  # then the sender is told to come again
MAX_TOP = 1000
MAX_RECENT = 100
OPENAPI = Path(__file__).with_name("openapi.json")


class Api(Router):
    """All routes, as openapi.json describes them. Thread-safe."""

    def __init__(self, service: Service, events: Feed) -> None:
        self._service = service
        self._events = events
        super().__init__(
            [
                ("POST", "/v1/frames?camera&label&split&new&top&task&view", self._post_frame),
                ("GET", "/v1/frames?limit", self._get_frames),
                ("DELETE", "/v1/frames/{frame_id}", self._delete_frame),
                ("POST", "/v1/frames/{frame_id}/label?new&task&view", self._post_label),
                ("GET", "/v1/tasks", self._get_tasks),
                ("DELETE", "/v1/labels/{label}?task", self._delete_label),
                ("POST", "/v1/labels/{label}/rename?new&task", self._post_rename),
                ("POST", "/v1/retrain?task", self._post_retrain),
                ("GET", "/v1/retrain?task", self._get_retrain),
                ("DELETE", "/v1/retrain?task", self._delete_retrain),
                ("GET", "/v1/heads?task", self._get_heads),
                ("GET", "/v1/heads/{version}?task", self._get_head),
                ("POST", "/v1/heads?task", self._post_head),
                ("POST", "/v1/heads/rollback?task", self._post_rollback),
                ("POST", "/v1/heads/{version}/activate?force&task", self._post_activate),
                ("GET", "/v1/examples?start&limit&task", self._get_examples),
                ("GET", "/v1/models?task", self._get_models),
                ("POST", "/v1/models?task", self._post_model),
                ("POST", "/v1/models/rollback?task", self._post_models_rollback),
                ("POST", "/v1/models/{name}/use?task", self._post_use),
                ("GET", "/v1/status", self._get_status),
                ("GET", "/v1/timings", self._get_timings),
                ("GET", "/v1/events", self._get_events),
                ("GET", "/v1/openapi.json", self._get_openapi),
                ("GET", "/metrics", self._get_metrics),
                ("GET", "/healthz", self._get_health),
            ]
        )

    def _task(self, request: Request) -> Task:
        """The one that is named, or the only one there is."""
        return self._service.tasks.one(request.query.get("task"))

    def _post_frame(self, request: Request) -> Reply:
        try:
            payload, fields = picture(request)
        except (BadRequest, InputError):
            self._service.seeing.count_bad("http")
            raise
        results = self._service.classify(
            Frame.pushed(payload, fields.get("camera", "")),
            "http",
            said(fields),
            top=number(fields, "top", TOP, MAX_TOP),
            wait_s=WAIT_FOR_ROOM_S,
        )
        return Reply(HTTPStatus.OK, of_frame(results))

    def _get_frames(self, request: Request) -> Reply:
        limit = number(request.query, "limit", 20, MAX_RECENT)
        return Reply(
            HTTPStatus.OK, {"frames": [of_frame(results) for results in self._service.seeing.recent()[:limit]]}
        )

    def _delete_frame(self, request: Request, frame_id: str) -> Reply:
        return Reply(HTTPStatus.OK, {"frame_id": frame_id, "examples_deleted": self._service.forget(frame_id)})

    def _post_label(self, request: Request, frame_id: str) -> Reply:
        text, query = only_key(request, "label"), request.query
        label = self._service.label(
            frame_id, text, task=query.get("task"), view=query.get("view"), new=flag(query, "new")
        )
        return Reply(HTTPStatus.OK, {"frame_id": frame_id, "label": label})

    def _get_tasks(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, {"tasks": self._service.described_tasks()})

    def _delete_label(self, request: Request, label: str) -> Reply:
        return Reply(
            HTTPStatus.OK, {"label": label, "examples_deleted": self._task(request).teaching.delete_label(label)}
        )

    def _post_rename(self, request: Request, label: str) -> Reply:
        is_new = flag(request.query, "new")
        name, count = self._task(request).teaching.rename_label(label, only_key(request, "to"), new=is_new)
        return Reply(HTTPStatus.OK, {"label": name, "examples_renamed": count})

    def _post_retrain(self, request: Request) -> Reply:
        try:
            return Reply(HTTPStatus.ACCEPTED, self._task(request).teaching.retrain())
        except (BusyError, TrainingError) as error:
            return error_reply(HTTPStatus.CONFLICT, str(error))

    def _get_retrain(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, self._task(request).teaching.retraining())

    def _delete_retrain(self, request: Request) -> Reply:
        try:
            return Reply(HTTPStatus.OK, self._task(request).teaching.cancel())
        except TrainingError as error:
            return error_reply(HTTPStatus.CONFLICT, str(error))

    def _get_heads(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, self._task(request).heads.list())

    def _get_head(self, request: Request, version: str) -> Reply:
        return Reply(HTTPStatus.OK, self._task(request).heads.report(version))

    def _post_rollback(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, {"active": self._task(request).heads.rollback()})

    def _post_activate(self, request: Request, version: str) -> Reply:
        self._task(request).heads.activate(version, force=flag(request.query, "force"))
        return Reply(HTTPStatus.OK, {"active": version})

    def _post_head(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, self._task(request).exchange.take_head(request.body))

    def _get_examples(self, request: Request) -> Reply:
        most = number(request.query, "limit", PAGE_EXAMPLES, PAGE_EXAMPLES)
        page = self._task(request).exchange.page(request.query.get("start", "0"), most)
        return Reply(HTTPStatus.OK, page, content_type="application/octet-stream")

    def _get_models(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, self._task(request).exchange.models())

    def _post_model(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, self._task(request).exchange.take_backbone(request.body))

    def _post_models_rollback(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, self._task(request).exchange.rollback())

    def _post_use(self, request: Request, name: str) -> Reply:
        return Reply(HTTPStatus.OK, self._task(request).exchange.use(name))

    def _get_status(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, self._service.status())

    def _get_timings(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, self._service.phases())

    def _get_events(self, request: Request) -> Stream:
        return Stream(self._events.listen(self._service.status()), feed.CONTENT_TYPE)

    def _get_openapi(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, OPENAPI.read_bytes())

    def _get_metrics(self, request: Request) -> Reply:
        """In the format that is asked for; Prometheus asks for OpenMetrics."""
        openmetrics = "application/openmetrics-text" in request.accept
        text = prometheus.exposition(families(self._service), openmetrics=openmetrics)
        return Reply(HTTPStatus.OK, text, content_type=prometheus.OPENMETRICS if openmetrics else prometheus.TEXT)

    def _get_health(self, request: Request) -> Reply:
        trouble = self._service.trouble()
        if trouble is not None:
            return error_reply(HTTPStatus.SERVICE_UNAVAILABLE, f"frames cannot be classified: {trouble}")
        return Reply(HTTPStatus.OK, {"status": "ok"})


def of_frame(results: Sequence[Result]) -> dict[str, Any]:
    """What is said of a frame: by one view its result, by several what they share and `results`."""
    first = results[0].as_dict()
    if len(results) == 1:
        return first
    shared: dict[str, Any] = {
        name: first[name] for name in ("frame_id", "camera", "ref", "received_ms") if name in first
    }
    return {**shared, "results": [result.as_dict() for result in results]}
