"""From the bytes 0..255 of an image to what the input of a network takes: done here, and nowhere else."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

USUAL = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0), (-128.0, 127.0))  # ranges that networks are trained with
_NEAR = 0.02  # of a range: a calibration seldom meets its ends exactly


class Input(NamedTuple):
    """The input of a network, as its file says it: a real value is `scale * (stored - zero_point)`."""

    dtype: np.dtype[Any]  # uint8, int8 or float32
    scale: float
    zero_point: int

    @property
    def is_quantized(self) -> bool:
        return self.dtype.kind != "f"

    @property
    def span(self) -> tuple[float, float]:
        """The real values of its least and its greatest byte."""
        limits = np.iinfo(self.dtype)
        return self.scale * (limits.min - self.zero_point), self.scale * (limits.max - self.zero_point)

    def as_they_are(self) -> NDArray[Any]:
        """[256] what the bytes become where they go in as they are: black the least value, white the greatest."""
        return (np.arange(256) + np.iinfo(self.dtype).min).astype(self.dtype)

    def quantized(self, input_range: tuple[float, float]) -> NDArray[Any]:
        """[256] what the bytes become where they stand for values from `input_range`, by the network's quantization."""
        low, high = input_range
        limits = np.iinfo(self.dtype)
        real = low + np.arange(256) * ((high - low) / 255)
        stored = np.clip(np.rint(real / self.scale) + self.zero_point, limits.min, limits.max)
        quantized: NDArray[Any] = stored.astype(self.dtype)
        return quantized

    def changes(self, input_range: tuple[float, float]) -> bool:
        """Whether the quantization makes something else of the bytes than they are."""
        return self.is_quantized and not np.array_equal(self.quantized(input_range), self.as_they_are())

    def word(self, input_range: tuple[float, float] | None) -> str | None:
        """What is odd about it, for people; `input_range` is None where the bytes go in as they are."""
        if not self.is_quantized:
            return None
        low, high = self.span
        said = f"its quantized input spans {low:.4g} to {high:.4g}"
        if input_range is None:
            if any(max(abs(low - least), abs(high - most)) <= _NEAR * (most - least) for least, most in USUAL):
                return None
            return (
                f"{said}, which is no usual range: black and white become these; if the network was trained with "
                "others, such as 0 to 1, say --input-range 0 1"
            )
        step = (input_range[1] - input_range[0]) / 255
        if low - input_range[0] <= step and input_range[1] - high <= step:
            return None
        return f"{said}: what lies outside of the {input_range[0]:g} to {input_range[1]:g} asked for is clipped to it"


def input_of(details: dict[str, Any]) -> Input:
    """Of what a TFLite runtime says of an input. One without a quantization takes its bytes for what they are."""
    scale, zero_point = details["quantization"]
    return Input(np.dtype(details["dtype"]), *((float(scale), int(zero_point)) if scale else (1.0, 0)))


class Pixels:
    """The way of the pixels into one network."""

    def __init__(self, source: Input, input_range: tuple[float, float], *, requantized: bool) -> None:
        """A float input gets values of `input_range`; a quantized one does if it is `requantized`, and else the bytes
        as they are."""
        low, high = input_range
        self._gain, self._offset = np.float32((high - low) / 255), np.float32(low)
        self._dtype = source.dtype
        self._table = source.quantized(input_range) if source.is_quantized and requantized else None

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """Of an image [height, width, 3], of the same shape."""
        if self._table is not None:
            return self._table.take(image)
        if self._dtype == np.uint8:
            return image
        if self._dtype == np.int8:
            signed: NDArray[np.int8] = np.bitwise_xor(image, np.uint8(0x80)).view(np.int8)  # pixel - 128
            return signed
        real: NDArray[np.float32] = np.multiply(image, self._gain)
        real += self._offset
        return real
