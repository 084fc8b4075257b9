"""Curves for TensorBoard. The only place that imports it; it needs no TensorFlow for that."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.errors import ConfigError


class Scalars:
    """Writes curves below a folder, or nothing where there is none. A context manager."""

    def __init__(self, folder: Path | None) -> None:
        """Raises ConfigError where tensorboard is not installed or the folder cannot be written."""
        self._writer: Any = None
        if folder is None:
            return
        try:
            from tensorboard.summary import Writer

            self._writer = Writer(str(folder))
        except ImportError as error:
            raise ConfigError("--tensorboard needs tensorboard: pip install tensorboard") from error
        except OSError as error:
            raise ConfigError(f"--tensorboard {folder} cannot be written: {error.strerror}") from error

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, values: Mapping[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()
