"""The description of the HTTP face, beside the face."""

import http.client
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi import checks

from agent.ingress.http.routes import OPENAPI, Api
from tests.conftest import crops
from tests.daemon import PATIENCE_S, Daemon, lastlayer

load_all_checks()
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.use_after_free,
]
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
DESCRIPTION: dict[str, Any] = json.loads(OPENAPI.read_text())
ENDLESS = "/v1/events"
OPERATIONS = [(method, path) for path, methods in DESCRIPTION["paths"].items() if path != ENDLESS for method in methods]


def test_every_route_is_described_and_every_description_is_a_route() -> None:
    described = {(method.upper(), path) for path, methods in DESCRIPTION["paths"].items() for method in methods}
    assert Api(None, None).routes == described  # type: ignore[arg-type]


def picture() -> st.SearchStrategy[bytes]:
    """A good picture, or none."""
    from sklearn.datasets import load_sample_images

    return st.sampled_from(crops(load_sample_images().images[0], 3, seed=1)) | st.binary(max_size=100)


for media_type in ("image/jpeg", "image/png", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, picture())


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, learnt_once: Path) -> Iterator[Daemon]:
    """It has learnt something, and has two heads to choose from."""
    state = Path(shutil.copytree(learnt_once, tmp_path_factory.mktemp("described") / "state"))
    lastlayer("--state", state, "retrain", "--solver", "sgd", "--steps", "100")
    with Daemon(state, {"retrain": {"solver": "sgd", "steps": 100}}) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def described(daemon: Daemon) -> Any:
    """As the daemon describes itself."""
    return schemathesis.openapi.from_url(f"{daemon.url}/v1/openapi.json")


@pytest.fixture
def known(daemon: Daemon, jpegs: list[bytes]) -> dict[str, str]:
    """What can stand in a path."""
    frame_id = daemon.ask("POST", "/v1/frames?label=china", jpegs[0])["frame_id"]
    return {"frame_id": frame_id, "label": "china", "version": "2", "name": "first"}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_daemon_answers_as_it_is_described(method: str, path: str, described: Any, known: dict[str, str]) -> None:
    operation = described[path][method]
    strategies = [operation.as_strategy(generation_mode=mode) for mode in (POSITIVE, NEGATIVE)]

    tried = []

    @given(st.one_of(strategies), st.booleans())
    @settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
    def conforms(case: schemathesis.Case[Any], of_what_is_there: bool) -> None:
        if of_what_is_there:
            case.path_parameters = {name: known[name] for name in case.path_parameters}
        case.call_and_validate(checks=CHECKS, timeout=PATIENCE_S)
        tried.append(case)

    conforms()
    assert tried


@pytest.mark.parametrize("path", DESCRIPTION["paths"])
def test_other_methods_are_refused_by_name(path: str, daemon: Daemon) -> None:
    taken = {method.upper() for method in DESCRIPTION["paths"][path]}
    taken |= {"HEAD"} if "GET" in taken else set()
    for method in sorted({"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} - taken):
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
        connection.request(method, path)
        response = connection.getresponse()
        assert (response.status, set(response.headers["Allow"].split(", "))) == (405, taken)
        assert "takes" in json.loads(response.read())["error"]
        connection.close()
