"""Our own network: a small residual one, of which two blocks make the bottleneck."""

from typing import Any

import keras
from keras import layers

WIDTHS = (32, 64, 128, 256)
BLOCKS = (1, 2, 2, 1)
STEM_WIDTH = 16
TAPS = ("stage3_1", "stage4_1")  # blocks whose pooled outputs make the bottleneck
SIZE = 96  # pixels, where nothing else is asked for


def _convolution(x: Any, width: int, name: str, stride: int = 1, kernel: int = 3) -> Any:
    x = layers.Conv2D(
        width, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)


def _block(x: Any, width: int, stride: int, name: str) -> Any:
    """Two 3x3 convolutions beside a shortcut: [B, H, W, C] → [B, H/stride, W/stride, width]."""
    y = layers.ReLU(name=f"{name}_relu")(_convolution(x, width, f"{name}_first", stride))
    y = _convolution(y, width, f"{name}_second")
    if stride != 1 or x.shape[-1] != width:
        x = _convolution(x, width, f"{name}_shortcut", stride, kernel=1)
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_sum")([x, y]))


def tiny_resnet() -> Any:
    """A small residual network (He et al. 2016) for any square input of raw bytes 0..255, [B, H, W, 3].

    Its output is the last block's, [B, H/32, W/32, 256]; blocks are named stage1_1, stage2_1, stage2_2, … Plain
    convolutions and ReLU: on a CPU that trains faster than separable ones, and int8 keeps it.
    """
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(image)
    x = layers.ReLU(name="stem")(_convolution(x, STEM_WIDTH, "stem", stride=2))
    for stage, (width, blocks) in enumerate(zip(WIDTHS, BLOCKS, strict=True), 1):
        for block in range(1, blocks + 1):
            x = _block(x, width, 2 if block == 1 else 1, f"stage{stage}_{block}")
    return keras.Model(image, x, name="tiny_resnet")


def with_heads(backbone: Any, heads: dict[str, int]) -> Any:
    """The backbone with one linear layer a head (name → outputs) on a shared hidden layer of 512 values.

    The heads are float32 in every precision: a softmax in 16 bits loses digits.
    """
    pooled = layers.GlobalAveragePooling2D(name="pooled")(backbone.output)
    hidden = layers.Dense(512, activation="relu", name="hidden")(pooled)
    outputs = {name: layers.Dense(size, dtype="float32", name=name)(hidden) for name, size in heads.items()}
    return keras.Model(backbone.input, outputs, name=f"{backbone.name}_with_heads")


def has_taps(trained: Any) -> bool:
    return {layer.name for layer in trained.layers}.issuperset(TAPS)
