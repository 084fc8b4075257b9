from typing import Any

import numpy as np
import pytest

from agent.errors import BundleError

pytest.importorskip("tensorflow", reason="the trainer's extra is not installed")

import keras

from trainer.networks.standardised import REACH, Statistics, bottleneck_network, maps, measured

SIDES = (16, 24)


@pytest.fixture(scope="module")
def network() -> Any:
    """Two maps, of 8 and of 40 channels, whose columns have very different sizes."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIDES, 3))
    first = keras.layers.Conv2D(8, 3, 2, padding="same", name="first")(image)
    second = keras.layers.Conv2D(40, 3, 2, padding="same", activation="relu", name="second")(first)
    vector = keras.layers.GlobalAveragePooling2D(name="vector")(second)
    return keras.Model(image, vector, name="net")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (300, 4, 6, 3), np.uint8)  # bright and dark, busy and calm
    return coarse.repeat(4, 1).repeat(4, 2)


def pooled(network: Any, images: np.ndarray) -> np.ndarray:
    answers = maps(network, ("first", "second")).predict(images, verbose=0)
    return np.concatenate([answer.mean(axis=(1, 2)) for answer in answers], axis=1)


def test_the_bottleneck_is_what_the_formulas_say(network: Any, images: np.ndarray) -> None:
    tapped = maps(network, ("first", "second"))
    found = measured(tapped, images)
    values = (pooled(network, images) - found.mean) / found.deviation
    assert np.abs(values).max() < REACH
    taken = (values @ found.directions) * (found.damping - 1)
    wanted = (values + taken @ found.directions.T) / REACH
    given = bottleneck_network(tapped, SIDES, found).predict(images, verbose=0)
    assert given.shape == (300, 48)
    np.testing.assert_allclose(given, wanted, atol=1e-4)


def test_the_strongest_directions_are_no_longer_stronger_than_the_next(network: Any, images: np.ndarray) -> None:
    tapped = maps(network, ("first", "second"))
    found = measured(tapped, images)
    assert len(found.spread) == 48 // 16
    assert (np.diff(found.spread) <= 0).all()
    given = bottleneck_network(tapped, SIDES, found).predict(images, verbose=0)
    before = (pooled(network, images) - found.mean) / found.deviation / REACH
    assert ((given @ found.directions).std(axis=0) < (before @ found.directions).std(axis=0)).all()
    rest = np.eye(48) - found.directions @ found.directions.T
    np.testing.assert_allclose(given @ rest, before @ rest, atol=1e-4)


def test_what_is_far_out_is_cut_off(network: Any, images: np.ndarray) -> None:
    tapped = maps(network, ("second",))
    found = measured(tapped, images[:50])
    narrow = Statistics(found.mean, np.float32(0.01) * found.deviation, found.directions, found.spread, found.damping)
    given = bottleneck_network(tapped, SIDES, narrow).predict(images, verbose=0)
    assert np.abs(given).max() == 1.0


def test_a_dead_channel_stays_quiet(network: Any, images: np.ndarray) -> None:
    kernel, bias = network.get_layer("second").get_weights()
    dead = keras.models.clone_model(network)
    dead.set_weights(network.get_weights())
    dead.get_layer("second").set_weights(
        [np.where(np.arange(40) == 3, 0, kernel), np.where(np.arange(40) == 3, -1, bias)]
    )
    found = measured(maps(dead, ("second",)), images)
    assert found.deviation[3] > 0.04 * np.median(found.deviation)


def test_few_columns_have_no_direction_damped(network: Any, images: np.ndarray) -> None:
    tapped = maps(network, ("first",))
    found = measured(tapped, images)
    assert found.spread.shape == (0,)
    values = (pooled(network, images)[:, :8] - found.mean) / found.deviation / REACH
    np.testing.assert_allclose(bottleneck_network(tapped, SIDES, found).predict(images, verbose=0), values, atol=1e-4)


@pytest.mark.parametrize("name", ["third", "vector"])
def test_a_layer_that_gives_no_map_is_refused(network: Any, name: str) -> None:
    with pytest.raises(BundleError, match=f"net has no layer '{name}' that gives a map; did you mean"):
        maps(network, ("first", name))
