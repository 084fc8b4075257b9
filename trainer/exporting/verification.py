"""Is the bundle what the float network was? Measured on pictures that it was not calibrated on, and on canaries.

Canaries are pictures that anyone can make again from their numbers; a manifest holds what the float network says of
them. Integers alone, so that every machine makes the same bytes: a grid of colours from a linear congruential generator
(Park and Miller 1988), stretched bilinearly.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import BundleError, ConfigError
from agent.vision.backbone import FAMILY
from trainer.exporting import runtimes
from trainer.exporting.runtimes import Answer, ask

GOOD_COSINE = 0.98  # what trained networks reach in int8
GOOD_DROP = 0.01  # of transfer top-1
OTHER_PICTURES = 32  # held-out pictures for the runtime that is not installed here: int8 is slow in 2.14 on x86-64
COLUMNS_ALIVE = 0.5  # share of the columns that must differ between pictures
CANARIES = 4
CANARY_SLACK = 0.05  # of the cosine, for kernels that round in another way
_GRID = 6  # colours a side
_MULTIPLIER, _MODULUS = 48271, 2**31 - 1


@dataclass(frozen=True)
class Parity:
    """One runtime's answers beside the float network's, on the first N held-out pictures."""

    family: str
    cosines: NDArray[np.float32]  # [N]
    canary_cosine: float  # the least
    invoke_ms: float
    answer: Answer

    def as_dict(self) -> dict[str, float]:
        return {
            "cosine_mean": round(float(self.cosines.mean()), 4),
            "cosine_min": round(float(self.cosines.min()), 4),
            "canary_cosine_min": round(self.canary_cosine, 4),
            "invoke_ms": round(self.invoke_ms, 3),
        }


@dataclass
class Verified:
    exact: NDArray[np.float32]  # [N, D], the float network's of held-out pictures
    of_canaries: NDArray[np.float32]  # [CANARIES, D], likewise
    parities: list[Parity] = field(default_factory=list)
    unchecked: dict[str, str] = field(default_factory=dict)  # family → why
    warnings: list[str] = field(default_factory=list)

    def canaries(self) -> dict[str, Any]:
        """For a manifest: the float network's bottlenecks, and the least cosine that a bundle must reach."""
        least = min(parity.canary_cosine for parity in self.parities)
        return {
            "count": len(self.of_canaries),
            "float16": base64.b64encode(self.of_canaries.astype("<f2").tobytes()).decode(),
            "cosine_min": round(least - CANARY_SLACK, 4),
        }


def cosines(exact: NDArray[np.float32], rough: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N] of rows [N, D]; two rows of noughts agree."""
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rough, axis=1)
    same = (exact == rough).all(axis=1)
    said = np.where(same, 1.0, (exact * rough).sum(axis=1) / np.where(norms > 0, norms, 1.0))
    return said.astype(np.float32)


def _predicted(network: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(network.predict(images, batch_size=32, verbose=0), dtype=np.float32)


def verify(bundle: Path, network: Any, held_out: NDArray[np.uint8]) -> Verified:
    """Asks both runtimes. Raises BundleError where the one that is installed here cannot use the bundle."""
    birds = canaries(*held_out.shape[1:3])
    exact = _predicted(network, held_out)
    of_canaries = _predicted(network, birds)
    if not np.isfinite(exact).all():
        raise BundleError("the float network gives values that are not finite: its weights are damaged")
    verified = Verified(exact, of_canaries)
    for family in sorted(runtimes.REQUIREMENTS, key=lambda family: family != FAMILY):
        count = len(held_out) if family == FAMILY else min(len(held_out), OTHER_PICTURES)
        try:
            answer = ask(family, bundle, np.concatenate([held_out[:count], birds]))
        except ConfigError as error:
            verified.unchecked[family] = str(error)
            continue
        except BundleError as error:
            if family == FAMILY:
                raise
            verified.unchecked[family] = str(error)
            verified.warnings.append(f"{error}: boards with that runtime cannot use this bundle")
            continue
        agreement = cosines(np.concatenate([exact[:count], of_canaries]), answer.bottlenecks)
        verified.parities.append(
            Parity(family, agreement[:count], float(agreement[count:].min()), answer.invoke_ms, answer)
        )
    verified.warnings += _off(verified)
    return verified


def _off(verified: Verified) -> Sequence[str]:
    """What the figures say, in sentences for people."""
    said = []
    for parity in verified.parities:
        mean, least = float(parity.cosines.mean()), float(parity.cosines.min())
        if mean < GOOD_COSINE:
            said.append(
                f"{parity.family} and the float network differ: the mean cosine is {mean:.4f}, the least {least:.4f}, "
                f"where trained networks reach {GOOD_COSINE} in int8; calibrate on more pictures of what the board "
                "will see, or take --quantize float16"
            )
    alive = float((verified.exact.std(axis=0) > 1e-6).mean())
    if alive < COLUMNS_ALIVE:
        said.append(f"only {alive:.0%} of the bottleneck's values differ between pictures: is the preprocessing right?")
    return said


def canary(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """Canary `number` (from 0) as [height, width, 3]."""
    state, values = number + 1, []
    for _ in range(_GRID * _GRID * 3 + 8):
        state = state * _MULTIPLIER % _MODULUS
        values.append(state >> 23)  # 0..255
    grid = np.array(values[8:], dtype=np.int64).reshape(_GRID, _GRID, 3)
    rows, row_shares = _positions(height)
    columns, column_shares = _positions(width)
    down, across = row_shares[:, None, None], column_shares[None, :, None]
    upper = grid[rows][:, columns] * (256 - across) + grid[rows][:, columns + 1] * across
    lower = grid[rows + 1][:, columns] * (256 - across) + grid[rows + 1][:, columns + 1] * across
    return np.asarray((upper * (256 - down) + lower * down) // 65536, dtype=np.uint8)


def _positions(length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each pixel the cell of the grid before it, and how far it is from there in 256ths."""
    at = np.arange(length, dtype=np.int64) * ((_GRID - 1) * 256 - 1) // max(length - 1, 1)
    return at >> 8, at & 255


def canaries(height: int, width: int) -> NDArray[np.uint8]:
    """All of them, [CANARIES, height, width, 3]."""
    return np.stack([canary(number, height, width) for number in range(CANARIES)])
