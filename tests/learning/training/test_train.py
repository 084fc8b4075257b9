import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agent.errors import ConfigError, TrainingError
from agent.learning.training.choosing import ADAM_MARGIN
from agent.learning.training.examples import TRAIN, VAL, ArrayExamples
from agent.learning.training.progress import Progress
from agent.learning.training.settings import STUDY, Settings
from agent.learning.training.train import train
from agent.learning.training.validation import evaluate_head
from agent.records import SPLITS
from agent.reporting.timing import Timer

FAST = Settings(solver="adam", steps=300, validate_every=100)


def blobs(
    count: int = 1500, size: int = 24, classes: int = 5, val: int = 500, seed: int = 0, apart: float = 0.45
) -> tuple[ArrayExamples, float]:
    """Gaussian blobs of one spread, and the top-1 of the best classifier there can be on their val rows."""
    rng = np.random.default_rng(seed)
    means = apart * rng.standard_normal((classes, size))
    targets = rng.permutation(np.arange(count) % classes)
    x = (means[targets] + rng.standard_normal((count, size))).astype(np.float32)
    splits = np.where(np.arange(count) < val, VAL, TRAIN)
    best = (x @ means.T - (means**2).sum(axis=1) / 2).argmax(axis=1) == targets
    labels = tuple(f"class {k}" for k in range(classes))
    return ArrayExamples(x, targets, labels, splits, backbone_id="b"), float(best[:val].mean()) if val else 0.0


def top1(training: Any) -> float:
    assert training.validation is not None
    return float(training.validation.top1)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(solver="adam", steps=500, learning_rate=0.01, epsilon=1e-8),
        Settings(solver="sgd", steps=1000, learning_rate=0.1),
        Settings(solver="adam", steps=500, standardise=True),
    ],
)
def test_gaussian_blobs_are_told_apart_as_well_as_can_be(settings: Settings) -> None:
    source, best = blobs()
    assert 0.7 < best < 0.98
    assert top1(train(source, settings)) > best - 0.03


def test_the_default_serves_where_examples_are_fewer_than_values() -> None:
    source, best = blobs(count=160 + 500, size=200, apart=0.3)
    training = train(source)
    assert top1(training) > best - 0.12
    assert {candidate.recipe.solver for candidate in training.candidates} == {"lda", "ridge", "adam"}


def test_the_study_is_the_study() -> None:
    assert (STUDY.solver, STUDY.learning_rate, STUDY.epsilon) == ("adam", 0.01, 0.1)
    assert (STUDY.batch, STUDY.steps, STUDY.validate_every) == (100, 10_000, 500)


@pytest.mark.parametrize("settings", [Settings(), FAST])
def test_the_same_seed_gives_the_same_head(settings: Settings) -> None:
    source, _ = blobs()
    assert train(source, settings).head.to_bytes() == train(source, settings).head.to_bytes()


def test_another_seed_gives_another_order() -> None:
    source, _ = blobs()
    assert train(source, FAST).head.to_bytes() != train(source, replace(FAST, seed=1)).head.to_bytes()


class OnFlash:
    """Examples that are not in memory, and remember how many were read at once."""

    def __init__(self, examples: ArrayExamples) -> None:
        self.count, self.size, self.dtype = examples.count, examples.size, examples.dtype
        self.labels, self.targets, self.splits = examples.labels, examples.targets, examples.splits
        self.scale, self.zero_point, self.backbone_id = 1.0, 0, "b"
        self.reads: list[int] = []
        self._examples = examples

    def read(self, rows: Any, out: Any) -> Any:
        self.reads.append(len(rows))
        return self._examples.read(rows, out)


@pytest.mark.parametrize("settings", [Settings(memory_bytes=10_000), replace(FAST, memory_bytes=10_000)])
def test_examples_that_do_not_fit_into_memory_are_streamed(settings: Settings) -> None:
    examples, best = blobs(count=4000)
    source = OnFlash(examples)
    assert top1(train(source, settings)) > best - 0.03
    assert max(source.reads) <= 1024


def test_examples_that_fit_into_memory_are_read_once() -> None:
    source = OnFlash(blobs()[0])
    train(source)
    assert source.reads == [source.count]


def test_a_learning_rate_that_is_too_high_is_named() -> None:
    source, _ = blobs()
    x = source.read(np.arange(source.count), np.empty((source.count, source.size), np.float32)) * np.float32(1e20)
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train(ArrayExamples(x, source.targets, source.labels), Settings(solver="sgd", learning_rate=100.0))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16"])
def test_a_head_for_raw_bottlenecks_is_what_float32_gives(dtype: str) -> None:
    exact, _ = blobs()
    x = exact.read(np.arange(exact.count), np.empty((exact.count, exact.size), np.float32))
    zero = 128 if dtype == "uint8" else 0
    raw = np.clip(np.rint(x * 20) + zero, 0 if zero else -127, 255 if zero else 127).astype(dtype)
    quantized = ArrayExamples(raw, exact.targets, exact.labels, exact.splits, scale=0.05, zero_point=zero)
    dequantized = (raw.astype(np.float32) - zero) * np.float32(0.05)
    real = ArrayExamples(dequantized, exact.targets, exact.labels, exact.splits)
    for settings in (Settings(), FAST):
        ours, expected = train(quantized, settings).head, train(real, settings).head
        np.testing.assert_allclose(ours.probabilities(raw), expected.probabilities(dequantized), atol=0.01)


def test_validation_examples_are_never_trained_on() -> None:
    source, _ = blobs()
    x = source.read(np.arange(source.count), np.empty((source.count, source.size), np.float32))
    kept = source.splits == TRAIN
    alone = ArrayExamples(x[kept], source.targets[kept], source.labels)
    beside = train(source, FAST).head.weights
    np.testing.assert_allclose(
        beside / np.linalg.norm(beside),  # the temperature is all that validation may change
        (weights := train(alone, FAST).head.weights) / np.linalg.norm(weights),
        atol=1e-6,
    )


def test_probabilities_are_as_sure_as_they_are_right() -> None:
    for settings in (Settings(), FAST):
        validation = train(blobs()[0], settings).validation
        assert validation is not None
        assert validation.ece < 0.08


def test_without_validation_examples_some_are_set_aside_to_choose_by_and_then_used() -> None:
    source, _ = blobs(count=1000, val=0)
    training = train(source)
    assert training.validation is None
    assert training.examples == 1000
    assert "on 250 validation examples" in training.reason
    fresh, best = blobs(count=3000, val=3000)  # the same means, other draws
    x = fresh.read(np.arange(1000, 3000), np.empty((2000, fresh.size), np.float32))
    assert (training.head.logits(x).argmax(axis=1) == fresh.targets[1000:]).mean() > best - 0.03


@pytest.mark.parametrize("per_class", [1, 2, 5])
@pytest.mark.parametrize("classes", [2, 7])
def test_very_few_examples_give_a_sensible_head(per_class: int, classes: int) -> None:
    rng = np.random.default_rng(3)
    means = rng.standard_normal((classes, 64)) * 4
    targets = np.repeat(np.arange(classes), per_class)
    labels = tuple(map(str, range(classes)))
    training = train(ArrayExamples((means[targets] + rng.standard_normal((len(targets), 64))), targets, labels))
    assert "too few" in training.reason
    probabilities = training.head.probabilities((means + rng.standard_normal(means.shape)).astype(np.float32))
    assert (probabilities.argmax(axis=1) == np.arange(classes)).all()
    assert probabilities.max() < 0.9999


def test_a_rare_class_is_found_among_common_ones() -> None:
    rng = np.random.default_rng(4)
    means = rng.standard_normal((3, 30))
    targets = np.repeat([0, 1, 2], [2000, 1000, 12])
    x = (means[targets] + rng.standard_normal((len(targets), 30))).astype(np.float32)
    head = train(ArrayExamples(x, targets, ("day", "night", "parcel"))).head
    parcels = (means[2] + rng.standard_normal((500, 30))).astype(np.float32)
    assert (head.logits(parcels).argmax(axis=1) == 2).mean() > 0.8


@pytest.mark.slow
def test_a_thousand_classes_are_learnt() -> None:
    rng = np.random.default_rng(5)
    means = rng.standard_normal((1000, 48))
    targets = np.tile(np.arange(1000), 4)
    x = (means[targets] + 0.5 * rng.standard_normal((4000, 48))).astype(np.float16)
    splits = np.where(np.arange(4000) < 3000, TRAIN, VAL)
    assert top1(train(ArrayExamples(x, targets, tuple(map(str, range(1000))), splits))) > 0.9


def test_labels_without_examples_to_train_on_are_left_out_and_listed() -> None:
    source, _ = blobs(classes=4)
    splits = np.where(source.targets == 2, VAL, source.splits)
    x = source.read(np.arange(source.count), np.empty((source.count, source.size), np.float32))
    training = train(ArrayExamples(x, source.targets, source.labels, splits), FAST)
    assert training.head.labels == ("class 0", "class 1", "class 3")
    assert training.untrained_labels == ("class 2",)
    assert training.validation is not None
    assert training.validation.unknown_labels == {"class 2": int((source.targets == 2).sum())}


def test_no_examples_and_one_label_are_refused() -> None:
    with pytest.raises(TrainingError, match="no examples"):
        train(ArrayExamples(np.zeros((0, 4), np.uint8), np.zeros(0), ()))
    with pytest.raises(TrainingError, match="'glass'"):
        train(ArrayExamples(np.ones((3, 4), np.uint8), np.zeros(3), ("glass", "paper")))
    only_val = ArrayExamples(np.ones((4, 4), np.uint8), np.array([0, 1, 0, 1]), ("a", "b"), np.full(4, VAL))
    with pytest.raises(TrainingError, match="no examples to train on"):
        train(only_val)


@pytest.mark.parametrize(
    "wrong",
    [
        {"solver": "lbfgs"},
        {"batch": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"beta2": 1.0},
        {"weight_decay": 1000.0},
        {"seed": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Settings(**wrong)


def test_curves_and_progress_tell_how_it_went() -> None:
    said: list[Progress] = []
    training = train(blobs()[0], FAST, on_progress=said.append)
    assert [point.step for point in training.curves] == [100, 200, 300]
    assert training.curves[-1].loss < training.curves[0].loss
    assert all(point.val_top1 is not None and 0 < point.val_top1 <= 1 for point in training.curves)
    assert [p.point for p in said if p.stage == "adam"] == list(training.curves)


def test_without_validation_examples_the_curves_have_only_what_was_trained() -> None:
    assert train(blobs(val=0)[0], FAST).curves[-1].val_top1 is None


class Recorder(Timer):
    def __init__(self) -> None:
        self.phases: dict[str, int] = {}

    def add(self, phase: str, ms: float, images: int = 1) -> None:
        assert ms >= 0
        self.phases[phase] = self.phases.get(phase, 0) + images


def test_every_phase_is_timed_where_it_happens() -> None:
    recorder = Recorder()
    training = train(blobs()[0], FAST, timings=recorder)
    assert recorder.phases.keys() == {"file_access", "training", "validation", "epoch"}
    assert training.phases["training"]["count"] == 300
    assert recorder.phases["training"] == training.phases["training"]["images"] == 30_000
    assert training.phases["epoch"]["count"] == 30


def test_no_time_is_counted_in_two_phases() -> None:
    began = time.monotonic()
    phases = train(blobs()[0]).phases
    assert "closed_form" in phases
    whole_ms = (time.monotonic() - began) * 1000
    assert sum(total["total_ms"] for phase, total in phases.items() if phase != "epoch") <= whole_ms


def stops(after: int) -> Iterator[bool]:
    yield from [False] * after
    while True:
        yield True


@pytest.mark.parametrize("settings", [Settings(), FAST])
def test_a_training_can_be_stopped(settings: Settings) -> None:
    for after in (0, 3, 20):
        answers = stops(after)
        with pytest.raises(TrainingError, match="stopped"):
            train(blobs()[0], settings, should_stop=lambda answers=answers: next(answers))  # type: ignore[misc]


def test_the_report_is_fit_for_json_and_says_what_won() -> None:
    training = train(blobs()[0])
    report = json.loads(json.dumps(training.as_dict()))
    assert training.solver in report["reason"]
    best = max(candidate["top1"] for candidate in report["candidates"])
    assert report["validation"]["top1"] >= best - ADAM_MARGIN


def test_labels_in_many_scripts_stay_as_they_are() -> None:
    labels = ("стекло", "玻璃", "زجاج", "a b", "no")
    source, _ = blobs()
    x = source.read(np.arange(source.count), np.empty((source.count, source.size), np.float32))
    assert train(ArrayExamples(x, source.targets, labels), FAST).head.labels == labels


def test_where_none_can_be_spared_each_example_judges_once() -> None:
    source, best = blobs(count=150 + 500, val=500)
    hidden = ArrayExamples(
        source.read(np.arange(650), np.empty((650, 24), np.float32)),
        source.targets,
        source.labels,
        np.where(source.splits == VAL, SPLITS.index("test"), TRAIN),
    )
    training = train(hidden)
    assert "each of 150 examples is judged by the others" in training.reason
    assert {candidate.recipe.solver for candidate in training.candidates} == {"lda", "ridge"}
    assert evaluate_head(training.head, hidden, np.arange(500)).top1 > best - 0.1


def test_a_hundred_classes_of_one_example_are_too_few_to_choose_by() -> None:
    source, _ = blobs(count=120, val=0, classes=120)
    assert "too few" in train(source).reason
