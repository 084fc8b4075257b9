import json

from hypothesis import given
from hypothesis import strategies as st

from agent.records import Prediction, Result
from agent.reporting.topics import Topics, as_level, from_level, is_topic, result_payload

TOPICS = Topics("porch")
SEEN = Result(
    "00ff00ff00ff00ff",
    "door",
    1_700_000_000_123,
    "3",
    (Prediction("cat", 1.0), Prediction("dog", 0.0)),
    False,
    {"decode": 2.0},
)


def test_every_topic_is_below_the_node() -> None:
    assert TOPICS.availability == "lastlayer/porch/availability"
    assert TOPICS.result == "lastlayer/porch/result"
    assert TOPICS.head == "lastlayer/porch/head"
    assert TOPICS.retrain == "lastlayer/porch/retrain"
    assert TOPICS.timing("session_run") == "lastlayer/porch/timing/session_run"


def test_an_exchange_names_its_task_behind_the_key() -> None:
    assert TOPICS.exchange("head", "key") == "lastlayer/porch/exchange/head/key"
    assert TOPICS.exchange("head", "key", "gate") == "lastlayer/porch/exchange/head/key/gate"


def test_a_result_is_the_http_one_with_the_best_prediction_flat_beside_it() -> None:
    payload = json.loads(json.dumps(result_payload(SEEN)))
    http = json.loads(json.dumps(SEEN.as_dict()))
    assert {**http, "label": "cat", "probability": 1.0, "ts": SEEN.received_ms} == payload
    assert type(payload["probability"]) is float


def test_a_result_without_predictions_has_no_label() -> None:
    nothing = Result("00ff00ff00ff00ff", "", 1, None, (), True)
    payload = result_payload(nothing)
    assert payload["label"] is None
    assert payload["probability"] is None
    assert payload["unknown"] is True


@given(st.text(min_size=1, max_size=100))
def test_any_camera_is_one_level_of_a_topic_and_comes_back_from_it(camera: str) -> None:
    level = as_level(camera)
    assert not set(level) & set("/+#\0")
    assert from_level(level) == camera
    assert is_topic(TOPICS.camera_state(camera))


def test_names_are_escaped_no_more_than_needed() -> None:
    assert as_level("Küche 1") == "Küche 1"
    assert TOPICS.camera_state("a/b") == "lastlayer/porch/camera/a%2Fb/state"
