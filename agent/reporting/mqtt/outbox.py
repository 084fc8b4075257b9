"""Reports on their way to the broker: numbered, in order, and none lost while there is room on flash.

They go straight out as long as the broker takes them; then all that it has not acknowledged, and whatever comes
after, goes to the spool, and out of it in order when the broker is back. So the first reports of a spool that is not
empty are the ones under way, and each is deleted only when it has been acknowledged.
"""

import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from agent.errors import StateError
from agent.reporting.mqtt.sequence import Sequence
from agent.reporting.mqtt.spool import Report, Spool

log = logging.getLogger(__name__)

MAX_STRAIGHT = 80  # reports under way before further ones go to the spool: fewer than the connection queues
MAX_FROM_SPOOL = 20  # the pace of catching up: no more than this unacknowledged
ROUNDS = 20  # of these at a time, if all are too large for the broker: none of them waits for it
SYNC_S = 30.0  # what a power cut may take of the reports that wait, but of no one else's flash


class Receipt(Protocol):
    def is_published(self) -> bool:
        """Whether the broker has acknowledged it, or nothing is to be waited for."""


class _TooLarge:
    def is_published(self) -> bool:
        return True


TOO_LARGE: Receipt = _TooLarge()  # for what the broker does not take for its size, so that nothing waits behind it
Send = Callable[[str, bytes], Receipt | None]  # (topic below the node, payload); None: not now


@dataclass(slots=True)
class _Sent:
    receipt: Receipt
    report: Report
    spooled: bool  # it is in the spool too


class Outbox:
    """For one thread at a time, but for `sync`. `dropped` counts the reports that were lost."""

    def __init__(self, spool: Spool, sequence: Sequence) -> None:
        self._spool = spool
        self._sequence = sequence
        self._under_way: deque[_Sent] = deque()
        self._lost = 0  # besides those that the spool counts
        self._complained = False
        self._closed = False
        self._synced = time.monotonic()
        self._goes_straight = False  # reports do, since there is a connection and the spool is empty
        sequence.settle()

    @property
    def dropped(self) -> int:
        return self._lost + self._spool.dropped

    @property
    def waiting(self) -> int:
        """Reports that the broker has not acknowledged."""
        return len(self._spool) + sum(not sent.spooled for sent in self._under_way)

    def put(self, name: str, payload: Mapping[str, Any], send: Send | None) -> bool:
        """Number a report and send it, or keep it; whether either could be done.

        `send` is None while there is no connection. Raises TypeError or ValueError for what is no JSON.
        """
        report = numbered(name, payload, self._sequence)
        if self._closed:
            self._lost += 1
            return False
        if send is not None and not len(self._spool) and len(self._under_way) < MAX_STRAIGHT:
            receipt = send(name, report.payload)
            if receipt is TOO_LARGE:
                self._lost += 1
                return False
            if receipt is not None:
                self._under_way.append(_Sent(receipt, report, spooled=False))
                return True
        if not len(self._spool):
            self._keep_under_way()
        return self._keep(report)

    def connected(self) -> None:
        """To be called when there is a connection, before `advance`."""
        self._goes_straight = not len(self._spool)
        (self._sequence.reserve if self._goes_straight else self._sequence.settle)()

    def advance(self, send: Send) -> None:
        """Take leave of what was acknowledged, and send what comes next; to be called when acknowledgements came."""
        for _ in range(ROUNDS):
            self._take_acknowledged()
            self._send_next(send)
            if not self._under_way or not self._under_way[0].receipt.is_published():
                break
        if not len(self._spool) and not self._goes_straight:
            self._goes_straight = True
            self._sequence.reserve()

    def disconnected(self) -> None:
        """Keep what was not acknowledged, to be sent again."""
        self._take_acknowledged()
        if not len(self._spool):
            self._keep_under_way()
        self._lost += sum(not sent.spooled for sent in self._under_way)
        self._under_way.clear()

    def unsynced(self) -> list[Path]:
        """The files that are due to be synced, by the caller, who may take the time."""
        now = time.monotonic()
        if now - self._synced < SYNC_S:
            return []
        self._synced = now
        return self._spool.unsynced()

    def close(self) -> None:
        """Nothing is taken any more; what waits is on flash when this returns."""
        if self._closed:
            return
        self._closed = True
        self.disconnected()
        sync(self._spool.unsynced())
        self._spool.close()
        self._sequence.settle()

    def _send_next(self, send: Send) -> None:
        """From the spool, as many as may be under way."""
        spooled = sum(sent.spooled for sent in self._under_way)
        while len(self._under_way) < MAX_FROM_SPOOL and (report := self._spool.at(spooled)) is not None:
            receipt = send(report.name, report.payload)
            if receipt is None:
                return
            self._under_way.append(_Sent(receipt, report, spooled=True))
            spooled += 1

    def _take_acknowledged(self) -> None:
        while self._under_way and self._under_way[0].receipt.is_published():
            sent = self._under_way.popleft()
            self._lost += sent.receipt is TOO_LARGE  # counted now: until here it might have been sent once more
            if sent.spooled and self._spool.take():
                self._sequence.settle()

    def _keep_under_way(self) -> None:
        """From here on reports wait: those under way, which are older, come first."""
        if self._goes_straight:
            self._goes_straight = False
            self._sequence.settle()
        self._under_way = deque(sent for sent in self._under_way if not sent.receipt.is_published())
        for sent in self._under_way:
            sent.spooled = self._append(sent.report)

    def _keep(self, report: Report) -> bool:
        gone = self._spool.trim()
        if gone:
            self._sequence.settle()
            if not self._complained:
                log.warning("there is no more room for reports that wait for the broker: the oldest go")
                self._complained = True
        while gone and self._under_way:  # they may arrive nevertheless, but are counted
            gone -= self._under_way.popleft().spooled
        kept = self._append(report)
        self._lost += not kept
        return kept

    def _append(self, report: Report) -> bool:
        try:
            self._spool.append(report)
        except OSError as error:
            if not self._complained:
                log.error("reports cannot be kept for the broker: %s", error.strerror)
                self._complained = True
            return False
        return True


def numbered(name: str, payload: Mapping[str, Any], sequence: Sequence) -> Report:
    """A report with its number as `seq`. Raises TypeError or ValueError, with no number given, for what is no JSON."""
    text = as_json(payload)
    seq = sequence.next(name)
    return Report(name, seq, b'%s,"seq":%d}' % (text[:-1], seq))


def as_json(payload: Mapping[str, Any]) -> bytes:
    """Raises TypeError or ValueError for what is no JSON."""
    return json.dumps(payload, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def open_outbox(folder: Path, max_bytes: int, max_age_s: float) -> Outbox | None:
    """The reports that wait in a folder; None where they cannot, which is logged and ends nothing."""
    try:
        spool = Spool(folder, max_bytes, max_age_s)
        return Outbox(spool, Sequence(folder / "seq", spool.highest))
    except StateError as error:
        log.error("%s: reports that cannot be sent are lost", error)
        return None


def sync(paths: Iterable[Path]) -> None:
    """Their lines are on flash when this returns, as far as the medium works."""
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # all of it was taken meanwhile
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            log.warning("%s cannot be synced: %s", path, error.strerror)
        finally:
            os.close(descriptor)
