"""Whatever a name leads to: a regular file of a bounded size is read, all else refused at once."""

import io
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.board.files import Rationed, open_regular, printable, read_bounded


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(OSError, match="at most 4 bytes are read here, it has 5 bytes"):
        read_bounded(path, 4)


def test_a_file_that_takes_no_room_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 20 << 30)
    with pytest.raises(OSError, match="it has 21474836480 bytes"):
        read_bounded(path, 64 << 20)


def test_what_says_that_it_has_no_size_is_bounded_all_the_same() -> None:
    assert Path("/proc/self/maps").stat().st_size == 0
    with pytest.raises(OSError, match="at most 10 bytes are read here, it has more than that"):
        read_bounded("/proc/self/maps", 10)


def test_what_is_no_regular_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for name, what in [
        (tmp_path / "fifo", "a FIFO"),
        (tmp_path / "link", "a FIFO"),
        (tmp_path / "socket", "a socket"),
        (tmp_path, "a folder"),
        (Path("/dev/zero"), "a device"),
    ]:
        with pytest.raises(OSError, match=f"it is {what}, not a regular file"):
            open_regular(name)
    with pytest.raises(OSError, match="no file has such a name"):
        open_regular("zero\0byte")
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "gone")


def test_a_link_is_followed_unless_it_must_not_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("file")
    assert read_bounded(tmp_path / "link", 1) == b"1"
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "link", flags=os.O_NOFOLLOW)


@given(st.binary(max_size=50), st.integers(0, 60), st.lists(st.integers(-1, 100) | st.just(1 << 62), max_size=9))
def test_a_parser_gets_what_is_there_or_its_ration_at_most(content: bytes, ration: int, sizes: list[int]) -> None:
    class Raw(io.BytesIO):
        """Raw as a file is: readinto, and no more than there is."""

    reader, got = Rationed(Raw(content), ration), b""  # type: ignore[arg-type]
    try:
        for size in sizes:
            got += reader.read(size)
    except OSError:
        assert len(content) > ration
    assert content.startswith(got)
    assert len(got) <= ration


def test_a_name_in_any_bytes_is_one_line_that_anything_can_show(tmp_path: Path) -> None:
    assert printable("größe 大.jpg") == "größe 大.jpg"
    assert printable(Path(os.fsdecode(b"a\xff\n\x1b[2J\x00.jpg"))) == r"a\xff\n\x1b[2J\x00.jpg"


@given(st.binary())
def test_every_name_can_be_shown(name: bytes) -> None:
    assert printable(os.fsdecode(name)).encode().decode().isprintable()
