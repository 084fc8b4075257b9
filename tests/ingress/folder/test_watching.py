"""The watched folder, with a real file system and the kernel's inotify; only what classifies is a stand-in."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from agent.config import FolderConfig
from agent.errors import ImageError
from agent.ingress.folder import folders
from agent.ingress.folder import watching as watched
from agent.ingress.folder.files import KEEP_BAD, MAX_DEPTH
from agent.ingress.folder.inotify import Inotify
from agent.ingress.folder.watching import WatchedFolder
from agent.reporting.timing import Timings
from tests.waiting import until

PATIENCE_S = 30.0
RESCAN_S = SETTLE_S = 0.2
After = Literal["move", "delete", "keep"]


class Eye:
    """Takes note of what it is shown. A payload that is empty or begins with `bad` is no picture."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, str, int]] = []
        self.torn = 0  # of those that come again if they are bad
        self.bad = 0
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, payload: bytes, *, camera: str, received_ms: int, tentative: bool) -> None:
        assert self.hold.wait(PATIENCE_S)
        if payload.startswith(b"bad") or not payload:
            self.torn += tentative
            self.bad += not tentative
            raise ImageError("not a picture")
        self.seen.append((payload, camera, received_ms))

    @property
    def payloads(self) -> list[bytes]:
        return [payload for payload, _, _ in self.seen]

    def wait(self, count: int) -> None:
        until(lambda: len(self.seen) >= count, PATIENCE_S)
        assert len(self.seen) == count


@contextmanager
def watching(
    path: Path,
    eye: Eye,
    after: After = "move",
    *,
    scan_s: float = 3600.0,
    settle_s: float = SETTLE_S,
    camera: str | None = None,
) -> Iterator[WatchedFolder]:
    """Scans are an hour apart unless something has just been found: what is seen sooner, inotify told."""
    config = FolderConfig(path, after, camera, scan_s, settle_s)
    folder = WatchedFolder(config, eye, Timings(node="test", runtime="none"), max_bytes=1000, rescan_s=RESCAN_S)
    folder.start()
    if path.is_dir():
        until(lambda: folder._folders.watches or folder._said, PATIENCE_S)
    try:
        yield folder
    finally:
        eye.hold.set()
        folder.stop(PATIENCE_S)
        assert not folder._thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    return folder


def refuse() -> Inotify:
    raise OSError(errno.EMFILE, "Too many open files")


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_a_file_that_was_written_is_taken_and_moved(path: Path) -> None:
    eye = Eye()
    with watching(path, eye):
        (path / "a.jpg").write_bytes(b"one")
        until(lambda: (path / "done" / "a.jpg").exists(), PATIENCE_S)
    assert eye.payloads == [b"one"]
    assert names(path) == ["done"]


def test_a_file_that_was_moved_here_is_taken(path: Path, tmp_path: Path) -> None:
    eye = Eye()
    with watching(path, eye, "delete"):
        (tmp_path / "x").write_bytes(b"one")
        (tmp_path / "x").rename(path / "x.PNG")
        until(lambda: not names(path), PATIENCE_S)
    assert eye.payloads == [b"one"]


def test_a_file_is_not_taken_before_it_is_closed(path: Path) -> None:
    eye = Eye()
    with watching(path, eye):
        with (path / "a.jpg").open("wb") as file:
            file.write(b"half")
            file.flush()
            (path / "b.jpg").write_bytes(b"whole")
            eye.wait(1)  # events come in order: if the other was to be taken, it would have been
            file.write(b" and half")
        eye.wait(2)
    assert eye.payloads == [b"whole", b"half and half"]


def test_what_lay_there_at_the_start_is_taken_oldest_first(path: Path) -> None:
    for age, name in enumerate(["c.jpg", "a.jpeg", "b.png"]):
        (path / name).write_bytes(name.encode())
        os.utime(path / name, (1_700_000_000 - age, 1_700_000_000 - age))
    eye = Eye()
    with watching(path, eye, "delete"):
        eye.wait(3)
        until(lambda: not names(path), PATIENCE_S)
    assert eye.payloads == [b"b.png", b"a.jpeg", b"c.jpg"]
    assert [received_ms for _, _, received_ms in eye.seen] == [1_699_999_998_000, 1_699_999_999_000, 1_700_000_000_000]


def test_a_stamp_of_the_future_or_before_1970_is_not_believed(path: Path) -> None:
    latest = 4_000_000_000 if sys.maxsize > 1 << 32 else (1 << 31) - 1  # Debian 12 counts 32 bits of seconds there
    for number, stamp in enumerate([latest, -5, 0]):
        (path / f"{number}.jpg").write_bytes(b"x")
        os.utime(path / f"{number}.jpg", (stamp, stamp))
    eye = Eye()
    with watching(path, eye):
        eye.wait(3)
    assert all(1_600_000_000_000 < received_ms < 4_000_000_000_000 for _, _, received_ms in eye.seen)


def test_a_subfolder_is_a_camera_even_one_made_later(path: Path) -> None:
    eye = Eye()
    (path / "door").mkdir()
    with watching(path, eye, camera="yard"):
        (path / "a.jpg").write_bytes(b"1")
        (path / "door" / "a.jpg").write_bytes(b"2")
        eye.wait(2)
        (path / "gate").mkdir()
        (path / "gate" / "a.jpg").write_bytes(b"3")
        eye.wait(3)
        until(lambda: (path / "done" / "gate" / "a.jpg").exists(), PATIENCE_S)
    assert [camera for _, camera, _ in eye.seen] == ["yard", "door", "gate"]
    assert names(path / "done") == ["a.jpg", "door", "gate"]


def test_what_is_kept_is_taken_once_and_again_when_it_was_rewritten(path: Path) -> None:
    (path / "a.jpg").write_bytes(b"old")
    eye = Eye()
    with watching(path, eye, "keep", scan_s=0.1):
        eye.wait(1)
        (path / "b.jpg").write_bytes(b"other")
        eye.wait(2)
        (path / "a.jpg").write_bytes(b"newer")
        eye.wait(3)
        (path / "c.jpg").write_bytes(b"bad")
        until(lambda: eye.bad, PATIENCE_S)
        (path / "d.jpg").write_bytes(b"last")  # many scans later nothing was taken twice
        eye.wait(4)
    assert (eye.bad, names(path)) == (1, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])


@pytest.mark.parametrize("after", ["move", "delete"])
def test_a_bad_picture_is_put_aside_and_not_tried_again(path: Path, after: After) -> None:
    eye = Eye()
    with watching(path, eye, after, scan_s=0.1):
        (path / "a.jpg").write_bytes(b"bad one")
        until(lambda: (path / "bad" / "a.jpg").exists(), PATIENCE_S)
        (path / "b.jpg").write_bytes(b"good")
        eye.wait(1)
    assert eye.bad == 1


def test_where_pictures_are_deleted_the_bad_ones_do_not_fill_the_disk(path: Path) -> None:
    eye = Eye()
    with watching(path, eye, "delete"):
        for number in range(KEEP_BAD + 5):
            (path / f"{number}.jpg").write_bytes(b"bad")
        until(lambda: names(path) == ["bad"], PATIENCE_S)
    assert (eye.bad, len(names(path / "bad"))) == (KEEP_BAD + 5, KEEP_BAD)


def test_a_picture_that_is_too_large_is_not_read_whole(path: Path) -> None:
    (path / "a.jpg").touch()
    os.truncate(path / "a.jpg", 1 << 40)  # of holes
    eye = Eye()
    with watching(path, eye):
        eye.wait(1)
    assert len(eye.payloads[0]) == 1001  # one more than is allowed: the service refuses and counts it


def test_a_picture_of_the_same_name_does_not_replace_the_one_before(path: Path) -> None:
    eye = Eye()
    with watching(path, eye):
        for number in range(3):
            (path / "frame.jpg").write_bytes(b"%d" % number)
            until(lambda: not (path / "frame.jpg").exists(), PATIENCE_S)
    assert sorted(file.read_bytes() for file in (path / "done").iterdir()) == [b"0", b"1", b"2"]
    assert all(name.startswith("frame") and name.endswith(".jpg") for name in names(path / "done"))


def test_a_picture_that_was_replaced_meanwhile_is_not_deleted_unseen(path: Path, tmp_path: Path) -> None:
    eye = Eye()
    eye.hold.clear()
    with watching(path, eye, "delete"):
        (path / "a.jpg").write_bytes(b"one")
        until(lambda: eye.hold._cond._waiters, PATIENCE_S)  # type: ignore[attr-defined]
        (tmp_path / "new").write_bytes(b"two")
        (tmp_path / "new").rename(path / "a.jpg")
        eye.hold.set()
        eye.wait(2)
        until(lambda: not names(path), PATIENCE_S)
    assert eye.payloads == [b"one", b"two"]


def test_names_may_be_any_bytes(path: Path) -> None:
    odd = [b"\xff\xfe.jpg", b"new\nline.jpg", b" .jpg", "Küche.jpg".encode(), b"x" * 251 + b".jpg", b"%s{}.jpg"]
    folder = os.fsencode(path)
    eye = Eye()
    with watching(path, eye):
        for _ in range(2):  # the second time the names are taken in done/
            for name in odd:
                Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
            until(lambda: names(path) == ["done"], PATIENCE_S)
        Path(os.fsdecode(folder + b"/cam\xff")).mkdir()
        Path(os.fsdecode(folder + b"/cam\xff/a.jpg")).write_bytes(b"a")
        until(lambda: len(eye.seen) == 2 * len(odd) + 1, PATIENCE_S)
    assert eye.payloads == [*odd, *odd, b"a"]
    assert eye.seen[-1][1] == "cam\ufffd"
    assert len(names(path / "done")) == 2 * len(odd) + 1


def test_a_subfolder_whose_name_can_be_no_cameras_is_passed_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path / "a\tb").mkdir()
    (path / "a\tb" / "x.jpg").write_bytes(b"never")
    (path / "y.jpg").write_bytes(b"seen")
    eye = Eye()
    with watching(path, eye, scan_s=0.1):
        eye.wait(1)
    assert eye.payloads == [b"seen"]
    assert caplog.text.count("passed over") == 1


def test_links_fifos_devices_and_other_files_are_left_alone(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.jpg").write_bytes(b"elsewhere")
    (path / "link.jpg").symlink_to(secret)
    (path / "camera").symlink_to(tmp_path / "elsewhere")
    (path / "folder.jpg").mkdir()
    os.mkfifo(path / "fifo.jpg")  # opening it would wait for ever
    for name in ["notes.txt", ".hidden.jpg", "a.jpg.tmp", "clip.mkv"]:
        (path / name).write_bytes(b"other")
    before = names(path)
    eye = Eye()
    with watching(path, eye, "delete", scan_s=0.1):
        (tmp_path / "again.jpg").symlink_to(secret)
        (tmp_path / "again.jpg").rename(path / "again.jpg")
        (path / "good.jpg").write_bytes(b"good")
        eye.wait(1)
        until(lambda: not (path / "good.jpg").exists(), PATIENCE_S)
    assert eye.payloads == [b"good"]
    assert names(path) == sorted([*before, "again.jpg"])
    assert stat.S_ISFIFO((path / "fifo.jpg").stat().st_mode)
    assert (secret.exists(), (tmp_path / "elsewhere" / "x.jpg").exists()) == (True, True)


def test_a_thousand_files_at_once_are_all_taken(path: Path) -> None:
    eye = Eye()
    with watching(path, eye, "delete"):
        for number in range(1000):
            (path / f"{number}.jpg").write_bytes(b"%d" % number)
        eye.wait(1000)
        until(lambda: not names(path), PATIENCE_S)
    assert sorted(map(int, eye.payloads)) == list(range(1000))


def test_what_inotify_lost_is_found_by_a_scan(path: Path) -> None:
    """More events than its queue holds, while a picture is under way."""
    room = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if room > 100_000:
        pytest.skip(f"inotify's queue holds {room} events here: too many to fill")
    eye = Eye()
    eye.hold.clear()
    with watching(path, eye, "delete"):
        (path / "first.jpg").write_bytes(b"first")
        until(lambda: eye.hold._cond._waiters, PATIENCE_S)  # type: ignore[attr-defined]
        for number in range(room + 10):  # the queue joins only events that are the same as the last
            (path / f"x{number % 2}").touch()
        (path / "lost.jpg").write_bytes(b"lost")
        eye.hold.set()
        eye.wait(2)
    assert eye.payloads == [b"first", b"lost"]


def test_a_folder_that_comes_later_goes_and_comes_back_is_watched(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.rmdir()
    eye = Eye()
    with watching(path, eye, "delete") as folder:
        until(lambda: folder._said, PATIENCE_S)
        for number in range(3):
            path.mkdir()
            until(lambda: folder._folders.watches, PATIENCE_S)
            (path / "a.jpg").write_bytes(b"%d" % number)
            eye.wait(number + 1)
            if number == 1:
                path.rename(tmp_path / "elsewhere")
            else:
                shutil.rmtree(path)
            until(lambda: not folder._folders.watches, PATIENCE_S)
    assert eye.payloads == [b"0", b"1", b"2"]
    assert "waiting for it" in caplog.text


def test_an_upload_in_pieces_is_taken_when_it_is_whole(path: Path) -> None:
    """As FTP servers write it: made empty, closed in the middle, and gone on with where that ended."""
    eye = Eye()
    with watching(path, eye, settle_s=3600.0):
        (path / "a.jpg").touch()
        until(lambda: eye.torn == 1, PATIENCE_S)
        (path / "a.jpg").write_bytes(b"bad, for it is ")
        until(lambda: eye.torn == 2, PATIENCE_S)
        with (path / "a.jpg").open("r+b") as file:
            file.write(b"now")
            file.seek(0, os.SEEK_END)
            file.write(b"whole")
        until(lambda: (path / "done" / "a.jpg").exists(), PATIENCE_S)
    assert eye.payloads == [b"now, for it is whole"]
    assert (eye.bad, names(path)) == (0, ["done"])


def test_what_is_torn_has_its_time_anew_whenever_it_changes(path: Path) -> None:
    eye = Eye()
    with watching(path, eye, settle_s=1.0):
        changed = time.monotonic()
        for size in range(1, 5):  # longer, all in all, than a second
            (path / "a.jpg").write_bytes(b"bad" * size)
            changed = time.monotonic()
            until(lambda: eye.torn == size, PATIENCE_S)  # noqa: B023
            threading.Event().wait(0.4)
            assert (eye.bad, names(path)) == (0, ["a.jpg"])
        until(lambda: (path / "bad" / "a.jpg").exists(), PATIENCE_S)
        assert time.monotonic() - changed >= 1.0
    assert (eye.bad, eye.payloads) == (1, [])


def test_an_upload_that_goes_on_without_being_closed_is_not_bad(path: Path) -> None:
    """No event tells of it: it is looked at when its time is over, and has changed."""
    eye = Eye()
    with watching(path, eye, settle_s=0.5), (path / "a.jpg").open("wb", buffering=0) as file:
        with (path / "a.jpg").open("ab"):  # closed by another
            pass
        until(lambda: eye.torn, PATIENCE_S)
        for torn in range(2, 5):
            file.write(b"bad")
            until(lambda: eye.torn >= torn, PATIENCE_S)  # noqa: B023
        file.seek(0)
        file.write(b"whole and good")
        eye.wait(1)
    assert eye.bad == 0


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced"])
def test_what_becomes_of_a_torn_file_meanwhile_is_followed(path: Path, how: str) -> None:
    eye = Eye()
    with watching(path, eye, settle_s=0.5) as folder:
        (path / "a.jpg").write_bytes(b"bad half")
        until(lambda: eye.torn == 1, PATIENCE_S)
        if how == "removed":
            (path / "a.jpg").unlink()
        elif how == "renamed":
            (path / "a.jpg").rename(path / "b.jpg")
        else:
            (path / "a.jpg.part").write_bytes(b"good")
            (path / "a.jpg.part").rename(path / "a.jpg")
        until(lambda: eye.torn + len(eye.seen) == (1 if how == "removed" else 2), PATIENCE_S)
        until(lambda: not folder._torn, PATIENCE_S)
    assert len(eye.seen) == (how == "replaced")
    assert eye.bad == (how == "renamed")
    assert names(path) == {"removed": [], "renamed": ["bad"], "replaced": ["done"]}[how]


def test_without_inotify_an_upload_in_pieces_is_taken_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "Inotify", refuse)
    eye = Eye()
    with watching(path, eye, settle_s=3600.0, scan_s=0.1):
        (path / "a.jpg").write_bytes(b"bad half")
        until(lambda: eye.torn == 1, PATIENCE_S)
        (path / "a.jpg").write_bytes(b"good")
        eye.wait(1)
    assert eye.bad == 0


def test_folders_by_date_are_of_the_camera_above_them_and_are_removed_when_empty(path: Path) -> None:
    eye = Eye()
    (path / "door" / "2026" / "11" / "26").mkdir(parents=True)
    (path / "door" / "2026" / "11" / "26" / "x.jfif").write_bytes(b"old")
    with watching(path, eye):
        eye.wait(1)
        folder = path / "door" / "2026" / "11" / "27" / "001" / "jpg"
        folder.mkdir(parents=True)
        for name in ("x.jfif", "y.JPG", "z.jpe"):
            (folder / name).write_bytes(name.encode())  # the first perhaps before it is watched
        eye.wait(4)
        (path / "door" / "a.jpg").write_bytes(b"flat")
        eye.wait(5)
        until(lambda: names(path / "door") == [], PATIENCE_S)
    assert {camera for _, camera, _ in eye.seen} == {"door"}
    done = path / "done" / "door"
    assert sorted(str(file.relative_to(done)) for file in done.rglob("*.*")) == [
        "2026/11/26/x.jfif",
        "2026/11/27/001/jpg/x.jfif",
        "2026/11/27/001/jpg/y.JPG",
        "2026/11/27/001/jpg/z.jpe",
        "a.jpg",
    ]


def test_folders_that_others_still_need_stay(path: Path) -> None:
    """Empty since they were made, with something that is no picture, or kept busy."""
    eye = Eye()
    day = path / "door" / "2026" / "27"
    (path / "door" / "inbox").mkdir(parents=True)
    (path / "gate" / "2026").mkdir(parents=True)
    (path / "gate" / "2026" / "clip.mp4").write_bytes(b"film")
    day.mkdir(parents=True)
    with watching(path, eye, "delete", settle_s=0.5) as folder:
        (path / "gate" / "2026" / "x.jpg").write_bytes(b"x")
        for number in range(4):
            (day / f"{number}.jpg").write_bytes(b"%d" % number)
            until(lambda: not names(day), PATIENCE_S)
            threading.Event().wait(0.2)
        until(lambda: not day.exists(), PATIENCE_S)
        until(lambda: not folder._left, PATIENCE_S)
        (path / "door" / "2026" / "28").mkdir(parents=True)
        threading.Event().wait(1.0)
    assert names(path / "door") == ["2026", "inbox"]
    assert names(path / "door" / "2026") == ["28"]
    assert names(path / "gate" / "2026") == ["clip.mp4"]


def test_where_pictures_are_kept_so_are_their_folders(path: Path) -> None:
    eye = Eye()
    (path / "door" / "2026").mkdir(parents=True)
    with watching(path, eye, "keep", settle_s=0.0, scan_s=0.1):
        (path / "door" / "2026" / "a.jpg").write_bytes(b"good")
        eye.wait(1)
        (path / "door" / "2026" / "a.jpg").unlink()
        (path / "b.jpg").write_bytes(b"good")
        eye.wait(2)
    assert (path / "door" / "2026").is_dir()


def test_bad_pictures_of_one_name_lie_beside_each_other(path: Path) -> None:
    eye = Eye()
    with watching(path, eye, "delete", scan_s=0.1):
        for day in ("26", "27"):
            (path / "door" / day).mkdir(parents=True)
            (path / "door" / day / "x.jpg").write_bytes(b"bad")
        until(lambda: eye.bad == 2 and names(path / "door") == [], PATIENCE_S)
    assert sorted(str(file.relative_to(path)) for file in path.rglob("*.jpg")) == [
        "bad/door/26/x.jpg",
        "bad/door/27/x.jpg",
    ]


def test_where_pictures_are_deleted_a_camera_keeps_so_many_bad_ones_over_all_days(path: Path) -> None:
    eye = Eye()
    for day in range(3):
        (path / "door" / str(day)).mkdir(parents=True)
        for number in range(KEEP_BAD // 2):
            (path / "door" / str(day) / f"{number}.jpg").write_bytes(b"bad")
    with watching(path, eye, "delete", scan_s=0.1):
        until(lambda: eye.bad == 3 * (KEEP_BAD // 2) and names(path / "door") == [], PATIENCE_S)
    assert len(list(path.rglob("*.jpg"))) == KEEP_BAD


def test_deep_folders_that_are_links_or_the_systems_or_too_deep_are_passed_over(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "elsewhere").mkdir()
    deepest = path.joinpath("door", *map(str, range(MAX_DEPTH - 1)))
    for folder in (tmp_path / "elsewhere", path / "door" / "@eaDir", path / "door" / ".thumbs", deepest / "beyond"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "x.jpg").write_bytes(b"never")
    (path / "door" / "link").symlink_to(tmp_path / "elsewhere")
    (path / "door" / "loop").symlink_to(path)
    (deepest / "x.jpg").write_bytes(b"deep")
    eye = Eye()
    with watching(path, eye, "keep", scan_s=0.1):
        eye.wait(1)
        (path / "y.jpg").write_bytes(b"last")
        eye.wait(2)
    assert eye.payloads == [b"deep", b"last"]
    assert caplog.text.count(f"more than {MAX_DEPTH} levels below") == 1


def test_more_folders_than_are_looked_through_are_told_of(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(folders, "MAX_FOLDERS", 4)
    for day in range(10):
        (path / "door" / str(day)).mkdir(parents=True)
        (path / "door" / str(day) / "x.jpg").write_bytes(b"%d" % day)
    eye = Eye()
    with watching(path, eye, "keep", scan_s=0.1):
        eye.wait(2)
    assert sorted(eye.payloads) == [b"8", b"9"]  # the newest, by their names
    assert caplog.text.count("more than 4 folders") == 1


def test_what_inotify_has_no_room_to_watch_is_found_by_scans(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add = Inotify.add

    def full(notify: Inotify, folder: str, mask: int) -> int:
        if "2026" in folder:
            raise OSError(errno.ENOSPC, "No space left on device")
        return add(notify, folder, mask)

    monkeypatch.setattr(Inotify, "add", full)
    eye = Eye()
    with watching(path, eye, scan_s=0.1):
        (path / "door" / "2026").mkdir(parents=True)
        (path / "door" / "2026" / "a.jpg").write_bytes(b"one")
        eye.wait(1)
        (path / "door" / "2026").mkdir(parents=True, exist_ok=True)
        (path / "door" / "2026" / "b.jpg").write_bytes(b"two")
        eye.wait(2)
    assert caplog.text.count("max_user_watches") == 1


@pytest.fixture
def mount(path: Path) -> Iterator[Path]:
    """A small file system of its own at `path`: room for 8 files and folders beside its root."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root may mount")
    options = "size=1m,nr_inodes=9"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], check=False, capture_output=True)
    if made.returncode:
        pytest.skip(f"nothing can be mounted here: {made.stderr!r}")
    yield path
    while os.path.ismount(path):
        subprocess.run(["umount", path], check=True)


def test_a_disk_that_is_full_when_pictures_are_moved_leaves_them(mount: Path, caplog: pytest.LogCaptureFixture) -> None:
    eye = Eye()
    for number in range(8):
        (mount / f"{number}.jpg").write_bytes(b"%d" % number)
    with watching(mount, eye, scan_s=0.1):
        eye.wait(8)
        (mount / "0.jpg").unlink()
        (mount / "new.jpg").write_bytes(b"new")
        eye.wait(9)
        for number in range(1, 4):  # room for the folder: from now on they are moved
            (mount / f"{number}.jpg").unlink()
        (mount / "last.jpg").write_bytes(b"last")
        until(lambda: (mount / "done" / "last.jpg").exists(), PATIENCE_S)
        eye.wait(10)
    assert caplog.text.count("cannot be put away: No space left") == 1


def test_a_file_system_that_is_mounted_over_the_folder_and_unmounted_is_noticed(path: Path, mount: Path) -> None:
    subprocess.run(["umount", mount], check=True)
    eye = Eye()
    with watching(path, eye, "delete", scan_s=0.1):
        (path / "a.jpg").write_bytes(b"below")
        eye.wait(1)
        subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
        (path / "a.jpg").write_bytes(b"mounted")
        eye.wait(2)
        until(lambda: not names(path), PATIENCE_S)
        subprocess.run(["umount", path], check=True)  # which nothing of ours hinders
        (path / "a.jpg").write_bytes(b"below again")
        eye.wait(3)
    assert eye.payloads == [b"below", b"mounted", b"below again"]


def test_without_inotify_scans_find_everything(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "Inotify", refuse)
    eye = Eye()
    folder = WatchedFolder(
        FolderConfig(path, "delete", None, 0.1), eye, Timings(node="t", runtime="n"), max_bytes=9, rescan_s=RESCAN_S
    )
    folder.start()
    try:
        (path / "a.jpg").write_bytes(b"one")
        (path / "door").mkdir()
        (path / "door" / "b.jpg").write_bytes(b"two")
        eye.wait(2)
        until(lambda: names(path) == ["door"], PATIENCE_S)
    finally:
        folder.stop(PATIENCE_S)
    assert sorted(eye.payloads) == [b"one", b"two"]


def test_an_error_of_the_service_does_not_end_the_watching(path: Path) -> None:
    class Broken(Eye):
        def __call__(self, payload: bytes, *, camera: str, received_ms: int, tentative: bool) -> None:
            if payload == b"trap":
                raise ZeroDivisionError
            super().__call__(payload, camera=camera, received_ms=received_ms, tentative=tentative)

    eye = Broken()
    with watching(path, eye, "delete"):
        (path / "trap.jpg").write_bytes(b"trap")
        (path / "a.jpg").write_bytes(b"one")
        eye.wait(1)
        (path / "b.jpg").write_bytes(b"two")
        eye.wait(2)
        until(lambda: names(path) == ["trap.jpg"], PATIENCE_S)
    assert eye.payloads == [b"one", b"two"]


def test_it_stops_while_many_files_wait(path: Path) -> None:
    for number in range(50):
        (path / f"{number}.jpg").write_bytes(b"x")
    eye = Eye()
    eye.hold.clear()
    with watching(path, eye) as folder:
        until(lambda: eye.hold._cond._waiters, PATIENCE_S)  # type: ignore[attr-defined]
        folder.stop(0.0)  # returns though a picture is under way
        eye.hold.set()
    assert len(eye.seen) == 1


def test_a_folder_that_was_never_started_can_be_stopped(path: Path) -> None:
    (path / "a.jpg").write_bytes(b"one")
    eye = Eye()
    WatchedFolder(FolderConfig(path, after="delete"), eye, Timings(node="t", runtime="n"), max_bytes=9).stop(1.0)
    assert (names(path), eye.payloads) == (["a.jpg"], [])
