from pathlib import Path

import pytest

from agent.errors import StateError
from agent.measuring import learning
from agent.measuring.learning import Effort, measure_epochs, measure_validations, synthetic_cache

EFFORT = Effort(examples=600, validation=300, repeats={100: 2}, validations=2, part=300, epochs=2, whole_s=3600.0)


def test_the_first_epoch_is_run_as_a_whole_and_the_others_are_extrapolated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "IMAGES", 900)
    with synthetic_cache(tmp_path, 0) as cache:
        cache.grow(EFFORT.examples)
        validations = measure_validations(cache.examples(), EFFORT, 0)
        first, *others = measure_epochs(cache, validations, EFFORT, 0)
        assert cache.examples().count == 300 + 900
    assert (first.extrapolated, first.images, first.from_images) == (False, 900, 900)
    assert first.n in (1, 2)
    assert 0 < first.parts_ms["training"] < first.mean_ms
    assert first.parts_ms["file_access"] > 0  # so few are read once, before the first epoch
    assert [(other.extrapolated, other.classes, other.images) for other in others] == [
        (True, 250, 250_000),
        (True, 1000, 1_000_000),
    ]


def test_an_epoch_that_would_take_too_long_is_extrapolated(tmp_path: Path) -> None:
    effort = Effort(600, 300, {100: 2}, 2, part=300, epochs=2, whole_s=0.0)
    with synthetic_cache(tmp_path, 0) as cache:
        cache.grow(effort.examples)
        epochs = measure_epochs(cache, measure_validations(cache.examples(), effort, 0), effort, 0)
        assert cache.examples().count == 600
    assert all(epoch.extrapolated for epoch in epochs)


def test_a_disk_without_room_is_refused_before_it_is_full(tmp_path: Path) -> None:
    with synthetic_cache(tmp_path, 0) as cache, pytest.raises(StateError, match="no room"):
        cache.grow(1 << 40)
