from pathlib import Path

import numpy as np
import pytest

from agent.errors import BundleError, ConfigError
from agent.vision.backbone import FAMILY, Backbone
from agent.vision.bundle import DEFAULT, SHIPPED, load_bundle
from trainer.exporting import runtimes

BUNDLE = SHIPPED / DEFAULT
OTHER = next(family for family in runtimes.REQUIREMENTS if family != FAMILY)


def test_the_runtime_that_is_installed_answers_in_a_child_as_it_does_here() -> None:
    bundle = load_bundle(BUNDLE)
    images = np.random.default_rng(0).integers(0, 256, (3, bundle.height, bundle.width, 3), dtype=np.uint8)
    answer = runtimes.ask(FAMILY, BUNDLE, images)
    backbone = Backbone(bundle)
    stored = np.stack([backbone.bottleneck(image) for image in images])
    np.testing.assert_array_equal(answer.stored, stored)
    np.testing.assert_allclose(answer.bottlenecks, (stored.astype(np.float32) - backbone.zero_point) * backbone.scale)
    assert answer.family == FAMILY
    assert answer.invoke_ms > 0


def test_a_bundle_that_cannot_be_used_is_an_error_of_the_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"{FAMILY} cannot use the model: .*no bundle"):
        runtimes.ask(FAMILY, tmp_path, np.zeros((1, 96, 96, 3), np.uint8))


def test_where_no_python_has_a_wheel_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(runtimes, "_WHEELS", {OTHER: ("3.7",)})
    with pytest.raises(ConfigError, match=r"no Python 3\.7 was found"):
        runtimes.python_with(OTHER)


def test_an_environment_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\nprintf '\\nno network\\n' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr(runtimes, "_interpreter", lambda _: (str(failing), "3"))
    with pytest.raises(ConfigError, match="failed: no network"):
        runtimes.python_with(OTHER)
    assert not list((tmp_path / "lastlayer" / "runtimes").iterdir())
