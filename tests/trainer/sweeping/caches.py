"""A cache of seeded Gaussian blobs, so far apart that heads learn something and not everything."""

from pathlib import Path

import numpy as np

from agent.cache import Cache, Layout
from agent.records import SPLITS, Example

LAYOUT = Layout.of("ab" * 16, 24, "uint8", 0.01, 3)


def write_cache(folder: Path, count: int = 600, classes: int = 7, spread: float = 60.0, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    centres = rng.uniform(60, 190, (classes, LAYOUT.size))
    labels = rng.integers(0, classes, count)
    rows = np.clip(centres[labels] + rng.normal(0, spread, (count, LAYOUT.size)), 0, 255).astype(np.uint8)
    with Cache(folder / "cache", LAYOUT) as cache:
        cache.append(
            [
                Example(f"{n + 1:016x}", f"class {label}", row, n, split=SPLITS[int(n % 5 == 0)], split_said=True)
                for n, (label, row) in enumerate(zip(labels.tolist(), rows, strict=True))
            ]
        )
    return folder
