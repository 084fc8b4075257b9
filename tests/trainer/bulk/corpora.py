"""A corpus with everything that can be wrong in it, and what a cache holds after all."""

from pathlib import Path
from typing import Any

import numpy as np

from agent.cache import Cache
from tests.conftest import write_class_folders


def write_corpus(folder: Path, photographs: list[np.ndarray], count: int) -> Path:
    """`count` crops each of two classes; one is torn, one lies there twice, and one twice with two labels."""
    write_class_folders(folder, photographs, count)
    china, flower = sorted((folder / "china").iterdir()), sorted((folder / "flower").iterdir())
    china[count // 2].write_bytes(china[count // 2].read_bytes()[:700])
    (folder / "china" / "again.jpg").write_bytes(china[1].read_bytes())
    (folder / "flower" / "mistaken.jpg").write_bytes(china[2].read_bytes())
    flower[3].write_bytes(b"")
    (folder / "nothing").mkdir()
    return folder


def contents(state: Path) -> list[Any]:
    """All that a cache holds, in its order; stamps from the first one on."""
    found = []
    with Cache.read(state / "cache") as cache:
        examples = cache.examples()
        rows = np.arange(examples.count, dtype=np.int64)
        raw = examples.read(rows, np.empty((examples.count, examples.size), examples.dtype))
        assert not examples.rotten
        stamps = np.concatenate([part.column("received_ms")[part.usable()] for part in cache._contents.parts])
        groups = np.concatenate([part.column("group")[part.usable()] for part in cache._contents.parts])
        for row in rows.tolist():
            label, split = examples.labels[examples.targets[row]], int(examples.splits[row])
            named = int(examples.frame_ids[row]), label, split, int(groups[row]), int(stamps[row] - stamps.min())
            found.append((*named, raw[row].tobytes()))
    return found
