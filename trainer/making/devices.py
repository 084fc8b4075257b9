"""What Keras computes on, and in which precision."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras

from trainer.quiet import quiet

Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Device:
    kind: Literal["cpu", "gpu"]
    name: str


def device() -> Device:
    """The one that Keras' backend takes by itself. TensorFlow is told to take of its memory only what it needs."""
    return {"tensorflow": _of_tensorflow, "torch": _of_torch, "jax": _of_jax}[keras.config.backend()]()


def prepare(wanted: Precision, seed: int) -> tuple[Device, str]:
    """The device, and the precision that was chosen for it; all that Keras draws comes from the seed."""
    with quiet():  # seeding wakes TensorFlow, whatever the backend is
        found = device()
        keras.utils.set_random_seed(seed)
    return found, choose_precision(wanted, found.kind)


def choose_precision(wanted: Precision, kind: str) -> str:
    """Sets the precision of all layers to come: `auto` is mixed bfloat16 on a GPU, float32 on a CPU."""
    chosen = ("mixed_bfloat16" if kind == "gpu" else "float32") if wanted == "auto" else wanted
    keras.config.set_dtype_policy(chosen)
    return chosen


def _of_tensorflow() -> Device:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        return Device("cpu", "cpu")
    return Device("gpu", str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "gpu")))


def _of_torch() -> Device:
    import torch

    if not torch.cuda.is_available():
        return Device("cpu", "cpu")
    return Device("gpu", str(torch.cuda.get_device_name(0)))


def _of_jax() -> Device:
    import jax

    first: Any = jax.devices()[0]
    return Device("gpu" if first.platform == "gpu" else "cpu", str(first.device_kind))
