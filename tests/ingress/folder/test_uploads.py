"""Uploads into the folder that a real daemon watches, with real pictures."""

from pathlib import Path

from tests.daemon import PATIENCE_S, Daemon
from tests.waiting import until


def settings(folder: Path, **more: object) -> dict[str, object]:
    return {"folder": {"path": str(folder), "after": "move", **more}}


def seen(daemon: Daemon) -> dict[str, int]:
    return dict(daemon.ask("GET", "/v1/status")["sources"].get("folder", {"frames": 0}))


def test_an_upload_that_goes_on_where_it_broke_off_is_one_good_frame(
    state: Path, jpegs: list[bytes], tmp_path: Path
) -> None:
    """As an FTP server writes it: made empty, closed in the middle, opened again at an offset. And over a restart."""
    day = tmp_path / "frames" / "front door" / "2026" / "11" / "27"
    day.mkdir(parents=True)
    picture, half = day / "x.JPG", len(jpegs[0]) // 2
    with Daemon(state, settings(tmp_path / "frames", scan_s=0.5, settle_s=3600)) as daemon:
        picture.touch()
        picture.write_bytes(jpegs[0][:half])
        (day / "y.jfif").write_bytes(jpegs[1])  # taken after what came before it
        until(lambda: seen(daemon)["frames"], PATIENCE_S)
        assert [path.name for path in day.iterdir()] == ["x.JPG"]
    with Daemon(state, settings(tmp_path / "frames", scan_s=0.5, settle_s=3600)) as daemon:
        with picture.open("r+b") as file:
            file.seek(half)
            file.write(jpegs[0][half:])
        until(lambda: seen(daemon)["frames"], PATIENCE_S)
        assert seen(daemon) == {"frames": 1, "bad_frames": 0, "dropped": 0}
        (result,) = daemon.ask("GET", "/v1/frames")["frames"]
        assert (result["camera"], result["predictions"][0]["label"]) == ("front door", "china")
    done = tmp_path / "frames" / "done" / "front door" / "2026" / "11" / "27"
    assert sorted(path.name for path in done.iterdir()) == ["x.JPG", "y.jfif"]


def test_what_stays_torn_is_bad_in_the_end_and_counted_once(state: Path, jpegs: list[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    (folder / "door" / "27").mkdir(parents=True)
    with Daemon(state, settings(folder, scan_s=0.5, settle_s=1)) as daemon:
        (folder / "door" / "27" / "empty.jpg").touch()
        (folder / "door" / "27" / "torn.jpg").write_bytes(jpegs[0][:3000])
        until(lambda: len(list(folder.glob("bad/door/27/*.jpg"))) == 2, PATIENCE_S)
        assert seen(daemon) == {"frames": 0, "bad_frames": 2, "dropped": 0}
        until(lambda: not list((folder / "door").iterdir()), PATIENCE_S)
    assert (folder / "door").is_dir()
