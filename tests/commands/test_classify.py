"""What `lastlayer classify` says beside its answer."""

from pathlib import Path

from tests.daemon import lastlayer


def test_the_runtimes_remarks_are_for_who_asks(state: Path, jpegs: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    assert lastlayer("--state", state, "classify", tmp_path / "a.jpg").stderr == ""
    verbose = lastlayer("--state", state, "--verbose", "classify", tmp_path / "a.jpg").stderr
    assert not [line for line in verbose.splitlines() if line.startswith("INFO: ")]
