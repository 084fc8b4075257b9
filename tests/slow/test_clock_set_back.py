"""A board whose wall clock is set back by a year while it runs: nothing that is said is lost or comes out of order."""

import itertools
import time
from pathlib import Path

import pytest

from tests.daemon import PATIENCE_S, Daemon
from tests.mosquitto import Listener, Mosquitto
from tests.waiting import until

pytestmark = pytest.mark.slow

YEAR_MS = 365 * 86_400_000
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def test_reports_arrive_in_order_though_the_clock_goes_back_a_year(
    state: Path, jpegs: list[bytes], mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if LIBRARY is None:
        pytest.skip("libfaketime is not installed (apt-get install libfaketime)")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    monkeypatch.setenv("LD_PRELOAD", str(LIBRARY))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")  # as a kernel has it
    settings = {"mqtt": {"host": mosquitto.host, "port": mosquitto.port, "node": "board"}}
    mosquitto.stop()
    with Daemon(state, settings) as daemon:
        for _ in range(5):
            daemon.ask("POST", "/v1/frames?camera=door", jpegs[0])
        clock.write_text("-365d")
        until(lambda: daemon.ask("POST", "/v1/frames", jpegs[0])["received_ms"] < _now_ms() - YEAR_MS / 2, PATIENCE_S)
        waiting = daemon.ask("GET", "/v1/status")["mqtt"]["waiting"]
        daemon.kill()
    with Daemon(state, settings) as daemon:  # begins in the year before
        assert daemon.ask("GET", "/v1/status")["mqtt"]["waiting"] >= waiting
        daemon.ask("POST", "/v1/frames?camera=door", jpegs[0])
    for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE"):
        monkeypatch.delenv(name)
    mosquitto.start()
    with Listener(mosquitto) as listener, Daemon(state, settings) as daemon:
        daemon.ask("POST", "/v1/frames?camera=end", jpegs[0])
        listener.wait_for("lastlayer/board/result", lambda result: result["camera"] == "end")
        results = listener.wait_for("lastlayer/board/result")
        assert [result["seq"] for result in results] == list(range(1, len(results) + 1))
        jumps = [after["ts"] - before["ts"] for before, after in itertools.pairwise(results)]
        assert min(jumps) < -YEAR_MS / 2 and max(jumps) > YEAR_MS / 2
        assert daemon.ask("GET", "/v1/status")["mqtt"]["dropped"] == 0


def _now_ms() -> float:
    return time.time() * 1000
