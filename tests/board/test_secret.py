from pathlib import Path

import pytest

from agent.board.secret import Secret, warn_of_open


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o600, ""),
        (0o640, ""),
        (0o660, ""),
        (0o400, ""),
        (0o644, "may read"),
        (0o604, "may read"),
        (0o602, "may change"),
    ],
)
def test_a_file_is_open_where_others_than_its_owner_and_group_come_at_it(mode: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch()
    path.chmod(mode)
    complaint = Secret("http.token_file", path).complaint
    assert bool(complaint) == bool(said)
    assert said in complaint


def test_what_is_no_file_is_not_complained_of(tmp_path: Path) -> None:
    assert not Secret("--token-file", tmp_path / "none").complaint
    assert not Secret("--token-file", Path("/dev/null")).complaint


def test_one_line_says_what_to_type(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "it's"
    path.touch(mode=0o600)
    warn_of_open([Secret("mqtt.password_file", path)])
    assert not caplog.records
    path.chmod(0o644)
    warn_of_open([Secret("mqtt.password_file", path)])
    (record,) = caplog.records
    assert record.getMessage().startswith(f"mqtt.password_file: every user may read {path}; type: chmod o= '")
