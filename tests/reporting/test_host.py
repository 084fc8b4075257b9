import os
import subprocess
import sys
from pathlib import Path

import psutil

from agent.reporting import host


def test_memory_is_felt_and_heat_where_there_is_a_sensor() -> None:
    assert (host.free_bytes() or 0) > 1 << 20
    temperature = host.temperature_c()
    assert temperature is None or 0 < temperature < 127


def test_a_process_goes_after_everyone_else() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        host.lower_priority(child.pid)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == host.NICENESS
        assert psutil.Process(child.pid).ionice().value == 7
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == str(host.EXPENDABLE)
        assert child.stdin is not None
        child.stdin.close()


def test_a_process_that_has_ended_is_none_to_lower() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
        host.lower_priority(child.pid)
