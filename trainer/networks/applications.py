"""The networks of keras.applications by their names, with weights from a file, from ImageNet, or random."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras

from agent.errors import BundleError, ConfigError
from trainer.networks import preprocessing
from trainer.networks.cutting import cut
from trainer.quiet import quiet

MOMENTUM = 0.9  # of batch normalizations that are trained from nothing
ANY_SIZE = 224  # for a network that takes pictures of any size

Weights = Literal["imagenet", "random"] | Path


@dataclass(frozen=True)
class Application:
    name: str  # as keras.applications spells it
    weights: Weights = "imagenet"
    alpha: float | None = None  # width multiplier; None: the network's own
    size: int | None = None  # side of the input, pixels; None: the network's own
    seed: int = 0  # of random weights


def names() -> list[str]:
    return sorted(name for name in dir(keras.applications) if name[0].isupper())


def is_application(name: str) -> bool:
    return name in names()


def headless(application: Application) -> Any:
    """Keras model: image [B, S, S, 3] of 0..255 → map of features [B, h, w, C].

    Raises ConfigError for a width, a size or weights that the network does not have.
    """
    keras.utils.set_random_seed(application.seed)
    size = application.size or own_size(application)
    features = _with_weights(application, size)
    if application.weights == "random":
        _shorten_memories(features)
    image = keras.Input((size, size, 3), name="image")
    x: Any = image
    for layer in preprocessing.layers(_preprocessing(application.name)):
        x = layer(x)
    return keras.Model(image, features(x), name=application.name.lower()) if x is not image else features


def _shorten_memories(model: Any) -> None:
    """Batch normalizations that remember thousands of steps, as MobileNetV2's, know nothing yet after a short training,
    and the network answers every picture alike."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, MOMENTUM)


def own_size(application: Application) -> int:
    """The side of the pictures for which the network was made, 224 for most."""
    with quiet():
        model = _built(application, include_top=True, weights=None)
    return int(model.input_shape[1] or ANY_SIZE)


def _preprocessing(name: str) -> preprocessing.Affine:
    module = sys.modules[_builder(name).__module__]
    return preprocessing.measured(module.preprocess_input)


def _builder(name: str) -> Callable[..., Any]:
    if not is_application(name):
        raise ConfigError(f"keras.applications has no {name}; it has {', '.join(names())}")
    builder: Callable[..., Any] = getattr(keras.applications, name)
    return builder


def _built(application: Application, **more: Any) -> Any:
    builder = _builder(application.name)
    if application.alpha is not None:
        if "alpha" not in inspect.signature(builder).parameters:
            raise ConfigError(f"{application.name} comes in one width: leave --alpha away")
        more["alpha"] = application.alpha
    try:
        return builder(**more)
    except ValueError as error:
        raise ConfigError(f"{application.name}: {' '.join(str(error).split())}") from error


def _with_weights(application: Application, size: int) -> Any:
    shape = (size, size, 3)
    if application.weights == "random":
        return _built(application, include_top=False, weights=None, input_shape=shape)
    if application.weights == "imagenet":
        return _downloaded(application, shape)
    return _from_file(application, application.weights, shape)


def _downloaded(application: Application, shape: tuple[int, int, int]) -> Any:
    try:
        with quiet():
            return _built(application, include_top=False, weights="imagenet", input_shape=shape)
    except ConfigError:
        raise
    except Exception as error:  # urllib's and Keras' own, bare Exception among them
        raise ConfigError(
            f"the weights of {application.name} cannot be downloaded: {error}; fetch the file on another machine and "
            "name it by --weights FILE, or try the way with --weights random"
        ) from error


def _from_file(application: Application, path: Path, shape: tuple[int, int, int]) -> Any:
    """Weights without the classes, or with them, which are then cut off."""
    if path.suffix == ".keras":
        raise ConfigError(f"{path} is a whole network and no file of weights: give it in the place of its name")
    reasons = []
    for include_top in (False, True):
        model = _built(application, include_top=include_top, weights=None, input_shape=shape)
        try:
            with quiet():
                model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            reasons.append(" ".join(str(error).split())[:200])
            continue
        return _map_of(model) if include_top else model
    raise ConfigError(
        f"{path} does not hold the weights of {application.name} of this --alpha and --size: without classes: "
        f"{reasons[0]}; with them: {reasons[1]}"
    )


def _map_of(model: Any) -> Any:
    """The network of a classifier as far as the map before its pooling, or as far as it can be cut."""
    try:
        features, _ = cut(model, model.name)
    except BundleError as error:
        raise ConfigError(str(error)) from error
    return features
