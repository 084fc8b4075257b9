"""The head: the last layer, as it is served and as it is stored."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.errors import DamagedError, LabelError, MismatchError
from agent.learning.solving.npz import arrays_of
from agent.records import Prediction, checked_name, plain_json

FORMAT = 1
FEW_LABELS = 64
FAR = 1e3  # of a bias: what is rounded off beside it is felt in the answer
LARGEST = 1e30  # of the weights of a label, added up: an answer to any bottleneck is far from infinite then

_MEMBERS = {"meta": "|u1", "weights": "<f4", "bias": "<f4"}

Float32 = NDArray[np.float32]
Targets = NDArray[np.int32]  # class indices


class Form(NamedTuple):
    """What a head must have been made for: the bottlenecks that a backbone gives."""

    backbone_id: str
    size: int  # D


@dataclass(frozen=True, eq=False)
class Head:
    """A linear last layer over bottlenecks exactly as the backbone gives them.

    What training did to the bottlenecks (quantization scale and zero point, standardisation)
    and to the logits (temperature) is folded into weights and bias, so that an answer takes
    one matrix-vector product. It understands only bottlenecks of the backbone `backbone_id`:
    the caller compares the two. Raises ValueError where the shapes do not fit together.
    """

    labels: tuple[str, ...]  # K
    weights: Float32  # [D, K]
    bias: Float32  # [K]
    backbone_id: str

    def __post_init__(self) -> None:
        classes = len(self.labels)
        if self.weights.dtype != np.float32 or self.bias.dtype != np.float32:
            raise ValueError(f"weights and bias must be float32, not {self.weights.dtype} and {self.bias.dtype}")
        if self.weights.ndim != 2 or self.weights.shape[1] != classes or self.bias.shape != (classes,):
            raise ValueError(f"weights {self.weights.shape} and bias {self.bias.shape} do not fit {classes} labels")

    @property
    def size(self) -> int:
        """D, the length of the bottlenecks that it takes."""
        return int(self.weights.shape[0])

    def check(self, form: Form | None = None) -> None:
        """Whether it can serve: by itself and, where `form` is given, a backbone that gives such bottlenecks.

        Raises MismatchError for a head of another backbone, or that takes bottlenecks of another length; DamagedError
        where it has no labels, some of which are none or come twice, or weights that are not finite.
        """
        if form is not None and self.backbone_id != form.backbone_id:
            raise MismatchError(
                f"the head was made with another backbone or TFLite runtime (id {self.backbone_id[:8]!r}, here "
                f"{form.backbone_id[:8]})"
            )
        if form is not None and self.size != form.size:
            raise MismatchError(
                f"the head takes bottlenecks of {self.size} values, the backbone here gives {form.size}"
            )
        if (fault := self._fault()) is not None:
            raise DamagedError(f"the head is damaged: {fault}")

    def _fault(self) -> str | None:
        if not self.labels or not self.size:
            return f"its weights are {self.size} x {len(self.labels)}"
        try:
            if any(checked_name(label, "label") != label for label in self.labels):
                return "a label is not as labels are stored (NFC, without blanks around it)"
        except LabelError as error:
            return str(error)
        if len(set(self.labels)) != len(self.labels):
            return "a label comes twice"
        with np.errstate(over="ignore", invalid="ignore"):
            largest = np.abs(self.weights).sum(axis=0).max() + np.abs(self.bias).max()
        if not np.isfinite(self.weights).all() or not np.isfinite(self.bias).all():
            return "its weights are not finite numbers"
        if not largest < LARGEST:
            return "its weights are so large that its answers would not be finite"
        return None

    def logits(self, raw: NDArray[Any]) -> Float32:
        """[K] of one raw bottleneck [D], or [B, K] of a batch [B, D]; uint8, int8, float16 or float32.

        Raises ValueError for bottlenecks of another length.
        """
        if raw.shape[-1] != self.size:
            raise ValueError(f"the head takes bottlenecks of {self.size} values, not {raw.shape[-1]}")
        return linear(raw, self.weights, self.bias)

    def probabilities(self, raw: NDArray[Any]) -> Float32:
        """Like `logits`, through the softmax: float32, each row sums to 1."""
        return softmax(self.logits(raw))

    def to_bytes(self) -> bytes:
        """A .npz (numpy.load opens it) with the sha256 of its bytes behind it."""
        meta = {"format": FORMAT, "labels": self.labels, "backbone_id": self.backbone_id}
        meta_json = np.frombuffer(json.dumps(meta, ensure_ascii=False).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, meta=meta_json, weights=self.weights.astype("<f4"), bias=self.bias.astype("<f4"))
        npz = buffer.getvalue()
        return npz + hashlib.sha256(npz).digest()

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Head":
        """The head that `to_bytes` stored, in memory that its own size bounds.

        Raises DamagedError if as much as a bit of it has changed, and where it cannot serve (see `check`).
        """
        npz, digest = stored[:-32], stored[-32:]
        if hashlib.sha256(npz).digest() != digest:
            raise DamagedError(
                "the head is damaged (its sha256 does not match): roll back to another version, or retrain"
            )
        try:
            arrays = arrays_of(npz, _MEMBERS)
            meta = plain_json(arrays["meta"].tobytes())
            if not isinstance(meta, dict):
                raise ValueError("its meta is no JSON object")
            if not isinstance(meta["labels"], list) or not isinstance(meta["backbone_id"], str):
                raise ValueError("its labels are no list, or its backbone_id is no text")
            if meta["format"] != FORMAT:
                raise DamagedError(f"the head has format {meta['format']!r:.40}, this version reads {FORMAT}: retrain")
            weights, bias = arrays["weights"].astype(np.float32), arrays["bias"].astype(np.float32)
            head = cls(tuple(meta["labels"]), weights, bias, meta["backbone_id"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"these bytes are no head: {error}") from error
        head.check()
        return head


def as_float32(raw: NDArray[Any], out: Float32 | None = None) -> Float32:
    """Raw bottlenecks as float32, into `out` of the same shape if it is given."""
    if out is None:
        if raw.dtype == np.float32:
            return raw
        out = np.empty(raw.shape, np.float32)
    if raw.dtype != np.float16:
        np.copyto(out, raw)
        return out
    # numpy converts float16 one value at a time. Shifted into place, its 10 bits of mantissa and
    # 5 of exponent are a float32 that is 2^112 too small, subnormal values included.
    bits = out.view(np.int32)
    np.copyto(bits, raw.view(np.int16))
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)  # all but the copies of the sign
    np.multiply(out, np.float32(2.0**112), out=out)
    return out


def linear(raw: NDArray[Any], weights: Float32, bias: Float32) -> Float32:
    """The logits [K], or [B, K], of raw bottlenecks [D], or [B, D].

    Where floats lie far from 0, and so does the bias that takes it off again, little is left of large sums: these are
    then made in float64.
    """
    if raw.dtype == np.float32 and np.abs(bias).max() > FAR:
        exact: Float32 = (raw.astype(np.float64) @ weights.astype(np.float64) + bias).astype(np.float32)
        return exact
    product: Float32 = as_float32(raw) @ weights
    product += bias
    return product


def softmax(logits: Float32) -> Float32:
    """Probabilities along the last axis."""
    shifted: Float32 = logits - logits.max(axis=-1, keepdims=True)  # the largest becomes 0: exp cannot overflow
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


def predictions(probabilities: Float32, labels: Sequence[str], top: int) -> tuple[Prediction, ...]:
    """The `top` most probable labels, best first, of one row of probabilities [K]; ties go to the lower index."""
    top = min(top, len(labels))
    if top < 1:
        return ()
    if len(labels) <= FEW_LABELS:  # sorting them takes less time than calling numpy
        values = probabilities.tolist()
        ranked = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:top]  # stable: ties as they come
        return tuple(Prediction(labels[index], values[index]) for index in ranked)
    least = np.partition(probabilities, len(labels) - top)[len(labels) - top]
    best = np.flatnonzero(probabilities >= least)  # more than `top` where the last ones are equal
    order = np.argsort(-probabilities[best], kind="stable")[:top]
    return tuple(Prediction(labels[index], float(probabilities[index])) for index in best[order].tolist())
