"""Small corpora for the tests of the trainer."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(width: int, height: int, seed: int = 0, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def write_shard(path: Path, payloads: list[bytes], labels: list[int], validation: list[int]) -> None:
    np.savez(
        path,
        data=np.frombuffer(b"".join(payloads), dtype=np.uint8),
        offsets=np.cumsum([0, *map(len, payloads)]),
        label=np.array(labels, dtype=np.int16),
        val=np.array(validation, dtype=np.uint8),
    )
