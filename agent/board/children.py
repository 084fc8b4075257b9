"""Child processes: what they need to find this package, wherever it is run from."""

import os
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """The environment for `python -m agent…` in a child process: not of a folder `agent` where it happens to start."""
    search_path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": search_path, "PYTHONSAFEPATH": "1", **more}
