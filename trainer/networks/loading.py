"""A network from where a person has it: a name, a .keras or .h5 file, a SavedModel."""

import hashlib
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from agent.errors import BundleError, ConfigError
from agent.vision.bundle import MANIFEST, sha256_of
from trainer.networks import efficientnet_lite, preprocessing, tinyresnet
from trainer.networks.applications import Application, headless, is_application, names
from trainer.networks.cutting import cut
from trainer.networks.standardised import maps
from trainer.networks.trained import record, trained_size
from trainer.quiet import quiet


@dataclass(frozen=True)
class Wanted:
    """What a person asked for."""

    source: str  # efficientnet-lite0, an application's name, or a path
    weights: str | None = None  # of an application: imagenet, random, or a file; of efficientnet-lite0: a file
    alpha: float | None = None
    size: int | None = None
    seed: int = 0
    layer: str | None = None  # where to cut
    cut: tuple[str, ...] = ()  # layers to tap, or a name for such
    preprocess: str | None = None  # a name of preprocessing.NAMED
    custom: tuple[str, ...] = ()  # module:Class


@dataclass(frozen=True)
class Network:
    """A float network, ready to be measured and converted."""

    model: Any  # Keras: image [B, H, W, 3] of 0..255 → bottleneck [B, D]; of a tapped one, to the list of its maps
    height: int
    width: int
    cut: str  # where it was cut, for people
    source: dict[str, Any]  # where it comes from, for the manifest
    tapped: bool = False  # `standardised` makes its bottleneck
    is_random: bool = False  # its weights say nothing yet


def open_network(wanted: Wanted) -> Network:
    """Raises ConfigError for what cannot be read or understood, BundleError for what cannot be a backbone."""
    if wanted.preprocess is not None and wanted.preprocess not in preprocessing.NAMED:
        raise ConfigError(f"--preprocess {wanted.preprocess}: there are {', '.join(preprocessing.NAMED)}")
    if wanted.cut and wanted.layer is not None:
        raise ConfigError("--layer cuts at one layer, --cut taps several: leave one of them away")
    path = Path(wanted.source)
    if path.exists():
        return _from_file(path, wanted)
    if wanted.source == efficientnet_lite.NAME:
        return _efficientnet_lite(wanted)
    if not is_application(wanted.source):
        raise ConfigError(
            f"there is no file or folder {wanted.source}, and no network is called so; there are "
            f"{efficientnet_lite.NAME}, and of keras.applications {', '.join(names())}"
        )
    return _from_applications(wanted)


def application(wanted: Wanted) -> Application:
    """Raises ConfigError where the weights are no file."""
    given = wanted.weights or "imagenet"
    if given not in ("imagenet", "random") and not Path(given).is_file():
        raise ConfigError(f"--weights {given}: there is no such file; it can be imagenet, random or a file")
    weights: Any = given if given in ("imagenet", "random") else Path(given)
    return Application(wanted.source, weights, wanted.alpha, wanted.size, wanted.seed)


def load_keras(path: Path, custom: Sequence[str] = ()) -> Any:
    """The network in a .keras or .h5 file. Raises ConfigError."""
    try:
        with quiet():
            return keras.saving.load_model(path, custom_objects=_imported(custom), compile=False)
    except Exception as error:
        # Keras raises all sorts; its own words come in many lines.
        words = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be loaded: {_way_out(words)}{words[:300]}") from error


def _way_out(words: str) -> str:
    if "Could not locate" in words or "Unknown layer" in words:
        return "it has a layer or a function of its own: say where its class is by --custom module:Class; Keras says: "
    if "Lambda" in words and "safe_mode" in words:
        return "it has a Lambda layer, which is code: save it again with a layer in its place; Keras says: "
    return "is it a .keras file of Keras 3? Keras says: "


def _imported(custom: Sequence[str]) -> dict[str, Any]:
    """name → class of every module:Class; modules are looked for in the working directory too."""
    found = {}
    if custom:
        sys.path.insert(0, str(Path.cwd()))
    for word in custom:
        module, _, name = word.partition(":")
        try:
            found[name] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"--custom {word}: must be module:Class, and it must import: {error}") from error
    return found


def _efficientnet_lite(wanted: Wanted) -> Network:
    if wanted.preprocess is not None or wanted.alpha is not None or wanted.layer is not None:
        raise ConfigError(
            f"{wanted.source} has its own preprocessing and width, and is cut by --cut: leave --preprocess, --alpha "
            "and --layer away"
        )
    cut = wanted.cut or ("standard",)
    named = cut[0] if len(cut) == 1 and cut[0] in efficientnet_lite.CUTS else None
    size = wanted.size or efficientnet_lite.SIZES.get(named or "", efficientnet_lite.SIZE)
    path = Path(wanted.weights) if wanted.weights is not None else efficientnet_lite.weights_file()
    taps = efficientnet_lite.CUTS[named] if named is not None else cut
    network = efficientnet_lite.efficientnet_lite0(size)
    efficientnet_lite.load_weights(network, path)
    source = {"network": "EfficientNet-Lite0", "weights": path.name, "sha256": sha256_of(path)}
    if wanted.weights is None:
        source |= {"package": f"{efficientnet_lite.PACKAGE} {efficientnet_lite.package_version()}"}
    return _tapped(network, taps, size, source)


def _tapped(network: Any, taps: Sequence[str], size: int, source: dict[str, Any]) -> Network:
    return Network(maps(network, taps), size, size, _tapped_where(taps), source, tapped=True)


def _tapped_where(taps: Sequence[str]) -> str:
    return f"the layers {', '.join(taps)}, pooled and made alike"


def _from_applications(wanted: Wanted) -> Network:
    if wanted.preprocess is not None:
        raise ConfigError(f"{wanted.source} has a preprocessing of its own: leave --preprocess away")
    asked = application(wanted)
    features = headless(asked)
    size = int(features.input_shape[1])
    source = {"network": f"keras.applications.{wanted.source}", "weights": str(asked.weights)}
    if asked.alpha is not None:
        source["alpha"] = str(asked.alpha)
    if isinstance(asked.weights, Path):
        source |= {"weights": asked.weights.name, "sha256": sha256_of(asked.weights)}
    is_random = asked.weights == "random"
    if wanted.cut:
        return replace(_tapped(features, wanted.cut, size, source), is_random=is_random)
    model, where = cut(features, wanted.source, wanted.layer)
    return Network(model, size, size, where, source, is_random=is_random)


def _from_file(path: Path, wanted: Wanted) -> Network:
    if wanted.weights is not None or wanted.alpha is not None:
        raise ConfigError(f"{path} has its own weights and width: --weights and --alpha are for keras.applications")
    if path.suffix == ".tflite" or (path / MANIFEST).is_file():
        raise ConfigError(f"{path} is exported already and has no layers: give the network that it was made of")
    if path.is_dir():
        if wanted.cut:
            raise ConfigError(f"{path} is a SavedModel, which has no layers to tap: leave --cut away")
        from trainer.networks.savedmodel import open_saved_model

        model, where = open_saved_model(path, wanted.layer)
        source = {"network": path.name, "sha256": _sha256_of_folder(path)}
        inside = False
    else:
        whole = load_keras(path, wanted.custom)
        source = {"network": path.name, "sha256": sha256_of(path)}
        if wanted.layer is None and not wanted.cut and tinyresnet.has_taps(whole):
            size = sides_of(whole, path, wanted.size, tinyresnet.SIZE)[0]
            return _tapped(in_float32(whole), tinyresnet.TAPS, size, source)
        if wanted.cut:
            model, where = maps(in_float32(whole), wanted.cut), _tapped_where(wanted.cut)
        else:
            model, where = cut(in_float32(whole), path.name, wanted.layer)
        inside = preprocessing.is_inside(whole) or record(path) is not None  # ours are trained on the bytes
    height, width = sides_of(model, path, wanted.size)
    model = _with_preprocessing(model, (height, width), path, wanted.preprocess, inside)
    return Network(model, height, width, where, source, tapped=bool(wanted.cut))


def _sha256_of_folder(folder: Path) -> str:
    parts = [f"{path.relative_to(folder)} {sha256_of(path)}\n" for path in sorted(folder.rglob("*")) if path.is_file()]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def sides_of(model: Any, path: Path, size: int | None, otherwise: int | None = None) -> tuple[int, int]:
    """Height and width of the pictures that a network takes: its own, or else `size`, or what it was trained on.

    Raises ConfigError where nothing says it.
    """
    own = tuple(model.input_shape[1:3])
    if None in own:
        size = size or trained_size(path) or otherwise
        if size is None:
            raise ConfigError(f"{path} takes pictures of any size: say which by --size")
        return size, size
    if size is not None and own != (size, size):
        raise ConfigError(f"{path} takes pictures of {own[1]} x {own[0]}: leave --size away")
    return int(own[0]), int(own[1])


def _with_preprocessing(model: Any, sides: tuple[int, int], path: Path, preprocess: str | None, inside: bool) -> Any:
    if preprocess is None and not inside:
        raise BundleError(
            f"{path} does not show what it wants to see instead of the bytes 0..255, as no Rescaling or Normalization "
            f"is at its beginning: say it by --preprocess: {', '.join(preprocessing.NAMED)}"
        )
    image = keras.Input((*sides, 3), name="image")
    x: Any = image
    for layer in preprocessing.layers(preprocessing.NAMED[preprocess or "none"]):
        x = layer(x)
    return keras.Model(image, model(x), name="backbone")


def in_float32(model: Any) -> Any:
    """The same network, its layers in float32 where it was trained in mixed precision."""
    if all(layer.compute_dtype in ("float32", None) for layer in model._flatten_layers()):
        return model

    def plain(layer: Any) -> Any:
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=plain, recursive=True)
    copy.set_weights(model.get_weights())
    return copy
