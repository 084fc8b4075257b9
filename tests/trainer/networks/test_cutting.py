"""What of a Keras network becomes a backbone. Nothing is trained or converted; importing Keras alone takes seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import BundleError, ConfigError
from tests.trainer.needing_keras import NEEDING_KERAS

pytestmark = NEEDING_KERAS


def layers() -> Any:
    import keras

    return keras.layers


def image() -> Any:
    import keras

    return keras.Input((16, 16, 3), name="image")


def features(x: Any, width: int = 8) -> Any:
    return layers().Conv2D(width, 3, strides=2, activation="relu", name="conv")(x)


def network(inputs: Any, outputs: Any, name: str = "net") -> Any:
    import keras

    return keras.Model(inputs, outputs, name=name)


def pooled(x: Any) -> Any:
    return layers().GlobalAveragePooling2D(name="pool")(x)


def dense(x: Any, size: int, name: str) -> Any:
    return layers().Dense(size, name=name)(x)


def with_pooling(x: Any) -> Any:
    return dense(dense(pooled(features(x)), 12, "hidden"), 5, "classes")


def without_pooling(x: Any) -> Any:
    return dense(layers().Flatten()(features(x)), 5, "classes")


def with_vector(x: Any) -> Any:
    hidden = dense(layers().Flatten()(features(x)), 12, "hidden")
    return dense(layers().Dropout(0.2)(hidden), 5, "classes")


def with_map(x: Any) -> Any:
    """Its last pooling is a side way (squeeze and excitation), which is not where it ends."""
    y = features(x)
    gate = layers().GlobalAveragePooling2D(keepdims=True, name="squeeze")(y)
    return layers().Multiply(name="excite")([y, layers().Conv2D(8, 1, activation="sigmoid")(gate)])


def with_convolution(x: Any) -> Any:
    """As MobileNet has it: pooled to 1 x 1, then a convolution as the last layer."""
    y = layers().GlobalAveragePooling2D(keepdims=True, name="pool")(features(x))
    return layers().Softmax()(layers().Reshape((5,))(layers().Conv2D(5, 1, name="classes")(y)))


def with_nested(x: Any) -> Any:
    inner_image = image()
    inner = network(inner_image, pooled(features(inner_image)), "inner")
    return dense(layers().Dropout(0.2)(inner(x)), 5, "classes")


@pytest.mark.parametrize(
    ("build", "where", "size"),
    [
        (with_pooling, "the global pooling pool", 8),
        (without_pooling, "the map of conv, pooled", 8),
        (with_vector, "the vector of dropout", 12),
        (with_map, "the map of excite, pooled", 8),
        (with_convolution, "the global pooling pool", 8),
        (with_nested, "the global pooling pool", 8),
    ],
)
def test_a_network_is_cut_at_its_penultimate_layer(build: Any, where: str, size: int) -> None:
    from trainer.networks.cutting import cut

    x = image()
    below, found = cut(network(x, build(x)), "net")
    assert found.startswith(where)
    assert below.output_shape == (None, size)


def test_several_outputs_of_one_vector_are_one_network_and_others_are_refused() -> None:
    from trainer.networks.cutting import cut

    x = image()
    y = pooled(features(x))
    both = network(x, {"a": dense(y, 3, "a"), "b": dense(y, 4, "b")})
    assert cut(both, "net")[1] == "the global pooling pool"
    apart = network(x, [dense(pooled(features(x)), 3, "c"), layers().Flatten(name="all")(x)])
    with pytest.raises(BundleError, match=r"2 outputs .* --layer"):
        cut(apart, "net")
    assert cut(apart, "net", layer="conv")[0].output_shape == (None, 8)
    with pytest.raises(BundleError, match="no layer 'cnov'; its last are"):
        cut(apart, "net", layer="cnov")


def test_two_inputs_other_channels_and_no_graph_are_refused_with_a_way_out() -> None:
    import keras

    from trainer.networks.cutting import cut

    x, metadata = image(), keras.Input((4,), name="metadata")
    joined = layers().Concatenate()([pooled(features(x)), metadata])
    with pytest.raises(BundleError, match=r"2 inputs \(image, metadata\).*keras\.Model\(image, features\)"):
        cut(network([x, metadata], dense(joined, 3, "classes")), "net")
    gray = keras.Input((16, 16, 1))
    with pytest.raises(BundleError, match="RGB images"):
        cut(network(gray, features(gray)), "net")
    with pytest.raises(BundleError, match="no graph of layers"):
        cut(keras.Sequential([layers().Dense(3)]), "net")
    with pytest.raises(BundleError, match="name one by --layer"):
        cut(network(x, dense(layers().Flatten()(x), 3, "classes")), "net")


def test_every_preprocessing_of_keras_applications_is_found_by_asking_it() -> None:
    import keras

    from trainer.networks import preprocessing

    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.float32)
    for name in ("mobilenet_v2", "resnet50", "densenet", "efficientnet", "inception_v3", "vgg16"):
        preprocess = getattr(keras.applications, name).preprocess_input
        x: Any = pixels
        for layer in preprocessing.layers(preprocessing.measured(preprocess)):
            x = layer(x)
        np.testing.assert_allclose(np.asarray(x), preprocess(pixels.copy()), atol=2e-4, err_msg=name)
    for name, like in (("signed", "mobilenet_v2"), ("caffe", "vgg16"), ("torch", "densenet"), ("none", "efficientnet")):
        asked = preprocessing.measured(getattr(keras.applications, like).preprocess_input)
        np.testing.assert_allclose(preprocessing.NAMED[name].matrix, asked.matrix, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(preprocessing.NAMED[name].bias, asked.bias, rtol=1e-3, atol=1e-4)


def saved(tmp_path: Path, build: Any = with_pooling, *, rescaled: bool = True) -> Path:
    x = image()
    y = layers().Rescaling(1 / 255)(x) if rescaled else x
    network(x, build(y)).save(tmp_path / "net.keras")
    return tmp_path / "net.keras"


def test_a_file_that_does_not_show_its_preprocessing_is_asked_for_it(tmp_path: Path) -> None:
    from trainer.networks.loading import Wanted, open_network

    path = str(saved(tmp_path, rescaled=False))
    with pytest.raises(BundleError, match=r"say it by --preprocess: none, unit, signed, torch, caffe"):
        open_network(Wanted(path))
    with pytest.raises(ConfigError, match="--preprocess bgr: there are none"):
        open_network(Wanted(path, preprocess="bgr"))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.float32)
    plain, unit = (open_network(Wanted(path, preprocess=name)).model for name in ("none", "unit"))
    np.testing.assert_allclose(unit(pixels), plain(pixels / 255), rtol=1e-4)
    with pytest.raises(ConfigError, match="leave --size away"):
        open_network(Wanted(path, size=32, preprocess="none"))


def test_a_layer_of_ones_own_is_asked_for_and_taken_from_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.networks.loading import Wanted, open_network

    (tmp_path / "own_layers.py").write_text(
        "import keras\n\n\nclass Doubled(keras.layers.Layer):\n    def call(self, x):\n        return 2 * x\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import own_layers  # type: ignore[import-not-found]

    path = str(saved(tmp_path, lambda x: with_pooling(own_layers.Doubled()(x))))
    with pytest.raises(ConfigError, match="--custom module:Class"):
        open_network(Wanted(path))
    assert open_network(Wanted(path, custom=("own_layers:Doubled",))).model.output_shape == (None, 8)
    with pytest.raises(ConfigError, match="--custom own_layers:Trebled: must be module:Class"):
        open_network(Wanted(path, custom=("own_layers:Trebled",)))


def test_what_was_trained_in_mixed_precision_is_opened_in_float32(tmp_path: Path) -> None:
    import keras

    from trainer.networks.loading import Wanted, load_keras, open_network

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        path = saved(tmp_path, with_nested)
    finally:
        keras.config.set_dtype_policy("float32")
    opened = open_network(Wanted(str(path)))
    assert {layer.compute_dtype for layer in opened.model._flatten_layers()} == {"float32"}
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.float32)
    inner = load_keras(path).get_layer("inner")
    np.testing.assert_allclose(opened.model(pixels), np.asarray(inner(pixels / 255), np.float32), rtol=0.05, atol=0.02)


def test_a_saved_model_is_cut_like_the_network_that_it_was_made_of(tmp_path: Path) -> None:
    from trainer.networks.cutting import cut
    from trainer.networks.loading import Wanted, load_keras, open_network
    from trainer.quiet import quiet

    whole = load_keras(saved(tmp_path, without_pooling_but_vector))
    with quiet():
        whole.export(tmp_path / "saved")
    opened = open_network(Wanted(str(tmp_path / "saved"), preprocess="none"))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(opened.model(pixels), cut(whole, "net")[0](pixels), rtol=1e-4, atol=1e-5)
    with pytest.raises(BundleError, match="say it by --preprocess"):
        open_network(Wanted(str(tmp_path / "saved")))
    with pytest.raises(ConfigError, match="no SavedModel"):
        open_network(Wanted(str(tmp_path)))


def without_pooling_but_vector(x: Any) -> Any:
    return dense(pooled(features(x)), 5, "classes")


def test_weights_of_an_application_come_from_a_file_with_classes_or_without(tmp_path: Path) -> None:
    import keras

    from trainer.networks.loading import Wanted, open_network

    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
    answers = []
    for top in (False, True):
        keras.utils.set_random_seed(1)
        model = keras.applications.MobileNetV2(alpha=0.35, include_top=top, weights=None, input_shape=(32, 32, 3))
        model.save_weights(tmp_path / f"{top}.weights.h5")
        wanted = Wanted("MobileNetV2", weights=str(tmp_path / f"{top}.weights.h5"), alpha=0.35, size=32)
        opened = open_network(wanted)
        assert (opened.height, opened.model.output_shape) == (32, (None, 1280))
        assert opened.source["weights"] == f"{top}.weights.h5"
        answers.append(np.asarray(opened.model(pixels)))
        seen = keras.Model(model.input, model.get_layer("out_relu").output)(pixels / 127.5 - 1)
        np.testing.assert_allclose(answers[-1], np.mean(seen, axis=(1, 2)), rtol=1e-3, atol=1e-12)
    with pytest.raises(ConfigError, match="does not hold the weights of MobileNetV2 of this --alpha"):
        open_network(Wanted("MobileNetV2", weights=str(tmp_path / "True.weights.h5"), alpha=0.5, size=32))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"source": "MobileNetV9"}, "no network is called so; there are efficientnet-lite0, .*MobileNetV2"),
        ({"source": "VGG16", "alpha": 0.5, "weights": "random", "size": 32}, "one width"),
        ({"source": "InceptionV3", "weights": "random", "size": 32}, "Input size must be at least 75x75"),
        ({"source": "MobileNetV2", "weights": "nowhere.h5"}, "there is no such file"),
        ({"source": "MobileNetV2", "preprocess": "unit", "weights": "random"}, "leave --preprocess away"),
    ],
)
def test_what_an_application_cannot_do_is_named(wanted: dict[str, Any], message: str) -> None:
    from trainer.networks.loading import Wanted, open_network

    with pytest.raises(ConfigError, match=message):
        open_network(Wanted(**wanted))


def test_any_network_of_layers_is_tapped_at_several(tmp_path: Path) -> None:
    import keras

    from trainer.networks.loading import Wanted, open_network

    image = keras.Input((16, 16, 3))
    first = keras.layers.Conv2D(4, 3, name="first")(keras.layers.Rescaling(1 / 255)(image))
    second = keras.layers.Conv2D(8, 3, name="second")(first)
    keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(second))).save(tmp_path / "net.keras")
    path = str(tmp_path / "net.keras")
    opened = open_network(Wanted(path, cut=("first", "second")))
    assert opened.tapped
    assert [output.shape[-1] for output in opened.model.outputs] == [4, 8]
    assert opened.cut == "the layers first, second, pooled and made alike"
    with pytest.raises(BundleError, match="no layer 'third'"):
        open_network(Wanted(path, cut=("third",)))
    with pytest.raises(ConfigError, match="leave one of them away"):
        open_network(Wanted(path, layer="first", cut=("second",)))
