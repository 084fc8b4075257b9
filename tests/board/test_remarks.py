import logging
import os
import threading

import pytest

from agent.board.remarks import remarks_logged


def test_a_remark_is_logged_and_all_else_comes_out_as_it_was(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="agent.board.remarks")
    with remarks_logged():
        os.write(2, b"INFO: Created a delegate.\nERROR: a node failed\nno line end")
    os.write(2, b"; after")
    assert capfd.readouterr() == ("", "ERROR: a node failed\nno line end; after")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.DEBUG, "INFO: Created a delegate.")
    ]


def test_what_was_said_before_an_error_comes_out_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="torn"), remarks_logged():
        os.write(2, b"INFO: a remark\nWARNING: a file is torn\n")
        raise ValueError("torn")
    assert capfd.readouterr().err == "WARNING: a file is torn\n"


def test_several_threads_lose_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    def load(number: int) -> None:
        with remarks_logged():
            os.write(2, b"INFO: a remark\nERROR: %d\n" % number)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"end\n")
    assert sorted(capfd.readouterr().err.split()) == sorted(
        ["ERROR:", *map(str, range(20))] + ["ERROR:"] * 19 + ["end"]
    )


def test_without_a_stderr_the_work_is_done_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        with remarks_logged():
            done = True
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert done
