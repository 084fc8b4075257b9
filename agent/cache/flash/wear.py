"""What the cache writes to flash, by day, in whole pages: how long a card will last."""

import json
import logging
import time
from datetime import date
from pathlib import Path
from typing import Any

from agent.board.files import write_atomically
from agent.cache.flash.layout import PAGE_BYTES

log = logging.getLogger(__name__)

_KEPT_DAYS = 30
_SAVE_EVERY_S = 600.0
_SAVE_BYTES = 4 * PAGE_BYTES  # a new file: its page, its inode, and the folder


class Wear:
    """Counts; kept in a file that is written every ten minutes at most. A count that a crash lost is lost."""

    def __init__(self, path: Path) -> None:
        self.since_start_bytes = 0
        self._path = path
        self._counts = read_counts(path)
        self._saved = time.monotonic()
        self._changed = False

    def wrote(self, size: int, *, compacting: bool = False) -> None:
        """`size` bytes, in whole pages; today's."""
        self.since_start_bytes += size
        days: dict[str, list[int]] = self._counts["days"]
        of_day = days.setdefault(_today(), [0, 0])
        of_day[0] += size
        of_day[1] += size if compacting else 0
        self._counts["written_bytes"] += size
        self._changed = True

    def evicted(self, count: int) -> None:
        self._counts["evicted"] += count
        self._changed = True

    @property
    def compacted_today_bytes(self) -> int:
        return int(self._counts["days"].get(_today(), [0, 0])[1])

    def status(self) -> dict[str, int]:
        return {"written_since_start_bytes": self.since_start_bytes, **summed(self._counts)}

    def save(self, *, now: bool = False) -> None:
        """Keep the counts, if it is time to. A disk that is full is no reason to stop: the next time will do."""
        if not self._changed or not (now or time.monotonic() - self._saved >= _SAVE_EVERY_S):
            return
        self._saved = time.monotonic()
        self.wrote(_SAVE_BYTES)
        days = self._counts["days"]
        self._counts["days"] = {day: days[day] for day in sorted(days)[-_KEPT_DAYS:]}
        try:
            write_atomically(self._path, json.dumps(self._counts).encode())
            self._changed = False
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror or error)


def read_counts(path: Path) -> dict[str, Any]:
    """What the file holds; zeros where there is none, or it is damaged: counts are no reason to stop."""
    try:
        counts = json.loads(path.read_bytes())
        days = {str(day): [int(written), int(compacted)] for day, (written, compacted) in counts["days"].items()}
        return {"written_bytes": int(counts["written_bytes"]), "evicted": int(counts["evicted"]), "days": days}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        log.warning("%s cannot be read, and begins anew: %s", path, error)
    return {"written_bytes": 0, "evicted": 0, "days": {}}


def summed(counts: dict[str, Any]) -> dict[str, int]:
    """In all, today, and on an average day of the last thirty."""
    days = counts["days"]
    recent = sorted(days)[-_KEPT_DAYS:]
    span = 1 + (_day_number(_today()) - _day_number(recent[0])) if recent else 1
    return {
        "written_bytes": counts["written_bytes"],
        "written_today_bytes": days.get(_today(), [0, 0])[0],
        "written_per_day_bytes": sum(days[day][0] for day in recent) // max(1, span),
        "evicted": counts["evicted"],
    }


def years(endurance_tbw: float | None, per_day_bytes: int) -> float | None:
    """How long a card lasts that can be written `endurance_tbw` terabytes (10^12 bytes).

    None where that is not known, or nothing is written.
    """
    return endurance_tbw * 1e12 / per_day_bytes / 365.25 if endurance_tbw is not None and per_day_bytes > 0 else None


def _today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def _day_number(day: str) -> int:
    try:
        return date.fromisoformat(day).toordinal()
    except ValueError:
        return 0
