"""A sweep shared out over processes: states and settings, each process reading the examples of its share once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.reporting.timing import Timings
from trainer.cluster import connected, in_our_words
from trainer.sweeping.sweep import Curve, Effort, Setting, shared_out, sweep


def spread_out(
    caches: Mapping[Path, Path],
    settings: Sequence[Setting],
    effort: Effort,
    timings: Timings,
    workers: int,
    scheduler: str | None,
) -> dict[Path, list[Curve]]:
    """The curves of each state, as `sweep` gives them. Raises ServiceError, and what sweep raises."""
    with connected(workers, scheduler) as client, in_our_words():
        threads = sum(client.nthreads().values())
        shares = shared_out(settings, min(len(settings), max(1, threads // len(caches))))
        tasks = {
            state: [client.submit(_swept, cache.absolute(), share, effort, pure=False) for share in shares]
            for state, cache in caches.items()
        }
        found = {}
        for state, futures in tasks.items():
            curves = []
            for part, phases in client.gather(futures):
                timings.merge(phases)
                curves += part
            found[state] = sorted(curves, key=lambda curve: list(settings).index(curve.setting))
    return found


def _swept(cache: Path, settings: Sequence[Setting], effort: Effort) -> tuple[list[Curve], dict[str, Any]]:
    timings = Timings(node="worker", runtime="numpy", role="trainer")
    curves = sweep(cache, settings, effort, timings, int, threads=1)
    return curves, timings.drain()
