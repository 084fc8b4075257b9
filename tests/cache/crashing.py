"""A process that is killed between two system calls, played in one process."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agent.cache import Cache

_CALLS = ("pwrite", "fsync", "fdatasync", "rename", "replace", "unlink", "ftruncate", "posix_fallocate")


class Killed(BaseException):
    """No handler for errors sees it."""


@contextmanager
def killed_at(call: int) -> Iterator[Callable[[], int]]:
    """From the so-many-th call on (from 0) that changes files, nothing changes any more; gives the calls so far."""
    made = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made > call:
                raise Killed
            return original(*arguments, **options)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        yield lambda: made


def abandon(cache: Cache) -> None:
    """What the kernel does with the files of a process that died."""
    assert cache._writer is not None and cache._held is not None
    cache._writer.changes.close()
    os.close(cache._held)
    cache._writer = cache._held = None
