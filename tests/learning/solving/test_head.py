import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from agent.errors import StateError
from agent.learning.solving.head import Head, as_float32, predictions, softmax

SCRIPTS = ("verre", "стекло", "玻璃", "زجاج", "שקית", "काँच", "ガラス", "🫙", "a b", "0", "no")


def random_head(size: int = 7, labels: tuple[str, ...] = SCRIPTS) -> Head:
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((size, len(labels))).astype(np.float32)
    return Head(labels, weights, rng.standard_normal(len(labels)).astype(np.float32), "sha256:abc")


def damaged(stored: bytes) -> str:
    with pytest.raises(StateError) as caught:
        Head.from_bytes(stored)
    return str(caught.value)


def test_a_head_comes_back_as_it_was_stored() -> None:
    head = random_head()
    again = Head.from_bytes(head.to_bytes())
    assert again.labels == SCRIPTS
    assert again.backbone_id == "sha256:abc"
    np.testing.assert_array_equal(again.weights, head.weights)
    np.testing.assert_array_equal(again.bias, head.bias)


def test_the_same_head_is_stored_in_the_same_bytes() -> None:
    assert random_head().to_bytes() == random_head().to_bytes()


def test_every_flipped_byte_is_refused() -> None:
    stored = random_head().to_bytes()
    for place in range(len(stored)):
        broken = bytearray(stored)
        broken[place] ^= 0x10
        assert "sha256" in damaged(bytes(broken))


def test_every_truncation_is_refused() -> None:
    stored = random_head().to_bytes()
    for length in range(len(stored)):
        assert "sha256" in damaged(stored[:length])


@given(st.binary(max_size=200))
def test_bytes_that_are_no_head_are_refused_even_with_the_right_sha256(noise: bytes) -> None:
    assert "sha256" in damaged(noise)
    assert "no head" in damaged(noise + hashlib.sha256(noise).digest())


def test_a_head_of_a_later_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.learning.solving.head.FORMAT", 2)
    stored = random_head().to_bytes()
    monkeypatch.undo()
    assert "format 2" in damaged(stored)


def test_a_head_whose_parts_do_not_fit_is_refused() -> None:
    head = random_head()
    with pytest.raises(ValueError, match="do not fit"):
        Head(head.labels[:-1], head.weights, head.bias, "")
    with pytest.raises(ValueError, match="float32"):
        Head(head.labels, head.weights.astype(np.float64), head.bias, "")


def test_a_bottleneck_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="7 values, not 8"):
        random_head().logits(np.zeros(8, np.uint8))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "float32"])
def test_raw_bottlenecks_of_every_dtype_agree_with_float32(dtype: str) -> None:
    head = random_head()
    raw = np.random.default_rng(2).integers(0, 100, (5, 7)).astype(dtype)
    expected = raw.astype(np.float64) @ head.weights + head.bias
    np.testing.assert_allclose(head.logits(raw), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(head.logits(raw[3]), expected[3], rtol=1e-4, atol=1e-4)
    assert head.logits(raw).dtype == np.float32


@given(hnp.arrays(np.float16, 20, elements=st.floats(width=16, allow_nan=False, allow_infinity=False)))
def test_float16_is_converted_exactly(raw: Any) -> None:
    np.testing.assert_array_equal(as_float32(raw), raw.astype(np.float32))


def test_softmax_agrees_with_scipy_and_does_not_overflow() -> None:
    logits = np.random.default_rng(3).standard_normal((6, 9)).astype(np.float32) * np.float32(300)
    np.testing.assert_allclose(softmax(logits), special.softmax(logits, axis=1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(softmax(logits[0]), softmax(logits)[0])


@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=st.sampled_from([0.0, 0.125, 0.25, 0.5])), st.integers(0, 40)
)
def test_predictions_are_the_best_in_order_and_ties_go_to_the_lower_index(probabilities: Any, top: int) -> None:
    labels = [str(k) for k in range(len(probabilities))]
    expected = sorted(range(len(labels)), key=lambda k: (-probabilities[k], k))[:top]
    found = predictions(probabilities, labels, top)
    assert [(p.label, p.probability) for p in found] == [(str(k), float(probabilities[k])) for k in expected]


def test_predictions_are_fit_for_json() -> None:
    best = predictions(np.array([0.25, 0.75], np.float32), ("a", "b"), 1)[0]
    assert json.dumps([best.label, best.probability]) == '["b", 0.75]'


def test_ten_thousand_labels_serve() -> None:
    labels = tuple(f"label {k}" for k in range(10_000))
    head = Head.from_bytes(random_head(16, labels).to_bytes())
    probabilities = head.probabilities(np.full(16, 3, np.uint8))
    assert predictions(probabilities, head.labels, 5)[0].label == labels[int(probabilities.argmax())]
