from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import trainer.making.lessons
from agent.reporting.timing import Stopwatch
from agent.vision.image import decode
from trainer.making.lessons import TEMPERATURE, Lessons, answers
from trainer.making.teacher import Teacher, load_teacher
from trainer.making.views import view_boxes


@pytest.fixture(scope="module")
def teacher(shared: Path) -> Teacher:
    return load_teacher(shared / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite")


@pytest.fixture(scope="module")
def photographs_84(shared: Path) -> list[NDArray[np.uint8]]:
    paths = sorted((shared / "data" / "transfer" / "desk_objects").rglob("*.jpg"))[::80]
    return [decode(path.read_bytes(), 84, 84) for path in paths]


def test_what_was_computed_is_read_and_not_computed_again(
    tmp_path: Path, teacher: Teacher, photographs_84: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.making.lessons, "CHUNK", 3)
    pictures = photographs_84[:7]
    boxes = view_boxes(pictures, 2, seed=0)
    told: list[tuple[int, int]] = []

    def ask() -> NDArray[np.int8]:
        return answers(
            teacher, pictures, boxes, tmp_path, "key", 2, lambda *progress: told.append(progress), Stopwatch()
        )

    first = ask()
    assert first.shape == (7, 2, 1280)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert not (first[0] == first[1]).all()
    chunks = sorted(tmp_path.rglob("*.npy"))
    np.save(chunks[1], np.load(chunks[1]) // 2)  # a mark by which to know it again
    chunks[2].unlink()
    again = ask()
    np.testing.assert_array_equal(again[:3], first[:3])
    np.testing.assert_array_equal(again[3:6], first[3:6] // 2)
    np.testing.assert_array_equal(again[6:], first[6:])


def test_other_pictures_do_not_get_the_answers_of_these(
    tmp_path: Path, teacher: Teacher, photographs_84: list[NDArray[np.uint8]]
) -> None:
    boxes = view_boxes(photographs_84[:1], 1, seed=0)
    one, other = (
        answers(teacher, [photographs_84[n]], boxes, tmp_path, f"key {n}", 1, lambda *_: None, Stopwatch())
        for n in range(2)
    )
    assert (one != other).any()


def test_targets_are_standardised_bottlenecks_and_softened_scores() -> None:
    rng = np.random.default_rng(0)
    teacher = Teacher(b"", 32, 0.5, 3, rng.normal(size=(4, 5)).astype(np.float32), np.ones(5, np.float32), "")
    stored = rng.integers(-128, 128, (6, 2, 4)).astype(np.int8)
    mean, deviation = np.full(4, 2, np.float32), np.full(4, 8, np.float32)
    targets = Lessons(teacher, stored, mean, deviation).targets(np.array([5, 0]), np.array([1, 0]))
    for row, (picture, view) in enumerate([(5, 1), (0, 0)]):
        real = 0.5 * (stored[picture, view].astype(float) - 3)
        np.testing.assert_allclose(targets["features"][row], (real - 2) / 8, rtol=1e-5)
        soft = np.exp((real @ teacher.weights + 1) / TEMPERATURE)
        np.testing.assert_allclose(targets["scores"][row], soft / soft.sum(), rtol=1e-4)
