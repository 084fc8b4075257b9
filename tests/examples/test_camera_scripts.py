"""The scripts in examples/ as people run them: real ffmpeg, motion and curl, a real RTSP camera, a real daemon."""

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import PATIENCE_S, Daemon
from tests.waiting import until

pytestmark = pytest.mark.examples

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DEBIAN_PYTHON = "/usr/bin/python3"
DEVICE = "/dev/video0"
ODD = """-Bob's "front door" & Küche; $HOME %20 `x` \\"""
NAMES = ["front door", "Küche", "a&b=c#d?e", "100%25", "@file", "<file;type=x", 'Bob\'s "yard"', ODD]


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (apt-get install)")


def has_gstreamer() -> bool:
    if not Path(DEBIAN_PYTHON).exists():
        return False
    program = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    return subprocess.run([DEBIAN_PYTHON, "-c", program], capture_output=True, check=False).returncode == 0


@pytest.fixture
def daemon(state: Path) -> Iterator[Daemon]:
    with Daemon(state) as running:
        yield running


@pytest.fixture
def pictures(tmp_path: Path, jpegs: list[bytes]) -> dict[str, Path]:
    paths = {label: tmp_path / f"{label}.jpg" for label in ("china", "flower")}
    for path, payload in zip(paths.values(), jpegs, strict=True):
        path.write_bytes(payload)
    return paths


@contextmanager
def running(daemon: Daemon, *words: object, env: Mapping[str, str] | None = None, **options: Any) -> Iterator[Any]:
    """A script with all its children, until the block ends."""
    environment = {**os.environ, "BOARD": daemon.url, **(env or {})}
    process = subprocess.Popen(list(map(str, words)), env=environment, start_new_session=True, text=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()


def seen(daemon: Daemon, camera: str) -> list[str]:
    """The labels of a camera's frames, newest first."""
    results = daemon.ask("GET", "/v1/frames?limit=100")["frames"]
    return [result["predictions"][0]["label"] for result in results if result["camera"] == camera]


def counted(daemon: Daemon) -> int:
    """How many frames came; the same picture is one of those that are seen, however often it comes."""
    return int(daemon.ask("GET", "/v1/status")["frames"])


def film(path: Path, *inputs: object, filters: str) -> Path:
    command = ["ffmpeg", "-loglevel", "error", "-nostdin", *inputs, "-filter_complex", filters]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", path]
    subprocess.run(list(map(str, command)), check=True)
    return path


def still(picture: Path, seconds: float) -> list[object]:
    return ["-loop", "1", "-t", seconds, "-framerate", "10", "-i", picture]


@needs("curl")
@pytest.mark.parametrize("name", NAMES)
def test_curl_fetches_from_an_ip_camera_and_pushes(
    name: str, daemon: Daemon, pictures: dict[str, Path], tmp_path: Path
) -> None:
    class Camera(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path), **more)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as camera:
        threading.Thread(target=camera.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{camera.server_address[1]}/flower.jpg"
        with running(daemon, "sh", EXAMPLES / "curl.sh", url, name, "0.1"):
            until(lambda: counted(daemon) >= 3, PATIENCE_S)
        camera.shutdown()
    assert set(seen(daemon, name)) == {"flower"}


@pytest.mark.parametrize("name", NAMES)
def test_plain_python_encodes_the_name_of_the_camera(name: str, daemon: Daemon, pictures: dict[str, Path]) -> None:
    command = [sys.executable, "-S", EXAMPLES / "push.py", f"--camera={name}", "--url", daemon.url, pictures["china"]]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    assert seen(daemon, name) == ["china"]


def test_plain_python_sends_files_and_outlives_a_restart_of_the_board(
    state: Path, pictures: dict[str, Path], tmp_path: Path
) -> None:
    command: list[Any] = [
        sys.executable,
        "-S",
        EXAMPLES / "push.py",
        "--camera",
        "door",
    ]  # -S: nothing but the standard library
    with Daemon(state) as daemon:
        url = daemon.url
        command += ["--url", url]
        sent = subprocess.run([*command, *pictures.values()], check=True, capture_output=True, text=True)
        assert [line.split()[2] for line in sent.stdout.splitlines()] == ["china", "flower"]
        broken = subprocess.run([*command, __file__], check=True, capture_output=True, text=True)
        assert "refused: not a picture" in broken.stderr
    with subprocess.Popen([*command, pictures["china"]], stderr=subprocess.PIPE, stdout=subprocess.PIPE) as waiting:
        assert waiting.stderr is not None
        assert b"refused; again in 0.2 s" in waiting.stderr.readline()
        with Daemon(state, {"http": {"port": int(url.rpartition(":")[2])}}) as daemon:
            assert waiting.wait(PATIENCE_S) == 0
            assert seen(daemon, "door") == ["china"]


def test_plain_python_shows_what_each_view_of_a_board_with_tasks_says(
    state: Path, pictures: dict[str, Path], tmp_path: Path
) -> None:
    sides = [
        {"camera": "yard", "name": name, "region": [x, 0.0, 0.5, 1.0]} for name, x in (("left", 0), ("right", 0.5))
    ]
    tasks = {"default": {"views": [{"camera": "yard"}]}, "spaces": {"views": sides}}
    command: list[Any] = [sys.executable, "-S", EXAMPLES / "push.py", "--camera", "yard", pictures["china"]]
    with Daemon(state, {"tasks": tasks}) as daemon:
        command += ["--url", daemon.url]
        asked = [["default/yard", "china"], ["spaces/left", "unknown"], ["spaces/right", "unknown"]]
        for words, expected in (([], asked), (["--task", "spaces"], asked[1:]), (["--task", "default"], asked[:1])):
            sent = subprocess.run([*command, *words], check=True, capture_output=True, text=True)
            assert [line.split()[::3] for line in sent.stdout.splitlines()] == expected
        refused = subprocess.run([*command, "--task", "gate"], check=True, capture_output=True, text=True)
        assert "refused: there is no task 'gate'" in refused.stderr


@needs("ffmpeg")
def test_ffmpeg_cuts_a_video_file(daemon: Daemon, pictures: dict[str, Path], tmp_path: Path) -> None:
    both = [*still(pictures["china"], 2), *still(pictures["flower"], 2)]
    source = film(tmp_path / "film.mp4", *both, filters="[0][1]concat,crop=640:426,format=yuv420p")
    with running(daemon, "sh", EXAMPLES / "ffmpeg.sh", source, ODD, 4, stderr=subprocess.PIPE) as script:
        assert script.wait(PATIENCE_S) == 0
        assert "the stream has ended" in script.stderr.read()
    labels = seen(daemon, ODD)
    assert labels == ["flower"] * labels.count("flower") + ["china"] * labels.count("china")
    assert set(labels) == {"china", "flower"}


@needs("ffmpeg")
@pytest.mark.skipif(not has_gstreamer(), reason="Debian's Python has no GStreamer RTSP server (gir1.2-gst-rtsp-server)")
def test_ffmpeg_follows_an_rtsp_camera_that_goes_away_and_comes_back(
    daemon: Daemon, pictures: dict[str, Path], tmp_path: Path
) -> None:
    script = (EXAMPLES / "ffmpeg.sh").read_text().replace("sleep 5", "sleep 0.2")
    (tmp_path / "ffmpeg.sh").write_text(script)
    shutil.copy(EXAMPLES / "push.py", tmp_path)

    def camera(label: str, port: int) -> list[str]:
        pipeline = f"( filesrc location={pictures[label]} ! jpegdec ! imagefreeze is-live=true "
        pipeline += "! video/x-raw,framerate=5/1 ! jpegenc ! rtpjpegpay name=pay0 )"
        server = (Path(__file__).parent / "rtsp_server.py").read_text()
        return [DEBIAN_PYTHON, "-W", "ignore", "-c", server.replace('"0"', f'"{port}"'), pipeline]

    with running(daemon, *camera("china", 0), stdout=subprocess.PIPE) as first:
        port = int(first.stdout.readline())
        url = f"rtsp://127.0.0.1:{port}/camera"
        with running(daemon, "sh", tmp_path / "ffmpeg.sh", url, "gate", 2, stderr=subprocess.DEVNULL):
            until(lambda: "china" in seen(daemon, "gate"), PATIENCE_S)
            os.killpg(first.pid, signal.SIGKILL)
            with running(daemon, *camera("flower", port), stdout=subprocess.PIPE) as second:
                assert int(second.stdout.readline()) == port
                until(lambda: "flower" in seen(daemon, "gate"), PATIENCE_S)


@needs("ffmpeg")
def test_a_usb_cameras_jpegs_are_passed_on(daemon: Daemon, pictures: dict[str, Path], tmp_path: Path) -> None:
    """There is no V4L2 device to be had without a kernel module: ffmpeg's input alone is put in its place."""
    ffmpeg = tmp_path / "ffmpeg"
    source = f"-f image2 -loop 1 -framerate 5 -i {pictures['china']}"
    ffmpeg.write_text(
        "#!/bin/sh\n"
        'said="$*"\n'
        'wanted="-f v4l2 -input_format mjpeg -video_size 640x480 -i /dev/null"\n'
        'case $said in *"$wanted"*) ;; *) echo "not asked: $said" >&2; exit 1 ;; esac\n'
        f'exec {shutil.which("ffmpeg")} -nostdin -loglevel error {source} ${{said##*"$wanted"}}\n'
    )
    ffmpeg.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with running(daemon, "sh", EXAMPLES / "v4l2.sh", "/dev/null", ODD, "0.1", env=env):  # a character device
        until(lambda: seen(daemon, ODD), PATIENCE_S)
    assert set(seen(daemon, ODD)) == {"china"}


@needs("ffmpeg")
@pytest.mark.skipif(not Path(DEVICE).exists(), reason=f"no {DEVICE}: no camera, and no v4l2loopback in this kernel")
def test_a_real_usb_camera(daemon: Daemon) -> None:
    with running(daemon, "sh", EXAMPLES / "v4l2.sh", DEVICE, "usb", "0.1"):
        until(lambda: counted(daemon) >= 3, PATIENCE_S)
    told = [frame["predictions"] for frame in daemon.ask("GET", "/v1/frames?limit=100")["frames"]]
    assert len({json.dumps(predictions) for predictions in told}) > 1, "a live picture has noise"


def test_a_device_that_is_no_camera_is_named() -> None:
    command = ["sh", str(EXAMPLES / "v4l2.sh"), "/dev/video99", "usb"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, "/dev/video99 is no camera" in ended.stderr) == (1, True)


def test_picamera2_pictures_are_pushed(daemon: Daemon, pictures: dict[str, Path], tmp_path: Path) -> None:
    """picamera2 needs a Raspberry Pi's camera stack: a module with its outermost calls stands in for it."""
    (tmp_path / "picamera2.py").write_text(
        "class Picamera2:\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *_): pass\n"
        "    def create_still_configuration(self, main): return {'main': main}\n"
        "    def configure(self, configuration): assert configuration == {'main': {'size': (640, 480)}}\n"
        "    def start(self): self.started = True\n"
        "    def capture_file(self, file, *, format):\n"
        "        assert self.started and format == 'jpeg'\n"
        f"        file.write(open({str(pictures['flower'])!r}, 'rb').read())\n"
    )
    script = [sys.executable, EXAMPLES / "picamera2_push.py", "--url", daemon.url, f"--camera={ODD}", "--every", "0.1"]
    with running(daemon, *script, env={"PYTHONPATH": str(tmp_path)}):
        until(lambda: counted(daemon) >= 2, PATIENCE_S)
    assert set(seen(daemon, ODD)) == {"flower"}


def on_picture_save(daemon: Daemon, picture: Path, name: str) -> subprocess.CompletedProcess[str]:
    """What motion runs: its line, with the file and the camera's name put in as they are."""
    (line,) = re.findall(r"^on_picture_save (.*)$", (EXAMPLES / "motion.conf").read_text(), re.MULTILINE)
    line = line.replace("http://127.0.0.1:8080", daemon.url).replace("%f", str(picture)).replace("%$", name)
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)


@needs("curl")
@pytest.mark.parametrize("name", NAMES)
def test_motions_line_encodes_the_name_of_the_camera(name: str, daemon: Daemon, pictures: dict[str, Path]) -> None:
    ended = on_picture_save(daemon, pictures["china"], re.sub(r'(["$`\\])', r"\\\1", name))  # as motion.conf asks
    assert (ended.stderr, seen(daemon, name)) == ("", ["china"])
    assert not pictures["china"].exists()


@needs("curl")
def test_motions_line_removes_no_picture_that_was_not_pushed(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "old.jpg").write_bytes(b"no picture")
    os.utime(tmp_path / "old.jpg", (1_700_000_000, 1_700_000_000))
    ended = on_picture_save(daemon, tmp_path / "bad.jpg", "front door")
    assert "400" in ended.stderr
    assert [path.name for path in tmp_path.glob("*.jpg")] == ["bad.jpg"]  # none fills the memory for ever
    daemon.stop(PATIENCE_S)
    ended = on_picture_save(daemon, tmp_path / "bad.jpg", "front door")
    assert "connect" in ended.stderr.lower()
    assert (tmp_path / "bad.jpg").exists()


@needs("motion", "ffmpeg", "curl")
@pytest.mark.parametrize("name", ["front door", "Küche & Bad's", r"the \"yard\""])
def test_motion_pushes_what_moved(name: str, daemon: Daemon, pictures: dict[str, Path], tmp_path: Path) -> None:
    moving = "[1]scale=200:-2[c];[0][c]overlay=x='if(lt(t,4),-300,if(lt(t,7),(t-4)*150,900))':y=60:shortest=1,"
    moving += "scale=640:480,format=yuv420p"
    sides = [*still(pictures["flower"], 12), *still(pictures["china"], 12)]  # motion plays it again and again
    source = film(tmp_path / "film.mp4", *sides, filters=moving)
    (tmp_path / "saved").mkdir()
    config = (EXAMPLES / "motion.conf").read_text()
    for pattern, text in {
        r"^camera_name .*": f"camera_name {name}",
        r"^video_device .*": f"netcam_url file://{source}\nwebcontrol_port 0",
        r"^framerate .*": "framerate 10",
        r"^event_gap .*": "event_gap 1",
        r"^target_dir .*": f"target_dir {tmp_path / 'saved'}",
        r"http://127\.0\.0\.1:8080": daemon.url,
    }.items():
        config, count = re.subn(pattern, text.replace("\\", r"\\"), config, flags=re.MULTILINE)
        assert count == 1, pattern
    (tmp_path / "motion.conf").write_text(config)
    with running(daemon, "motion", "-n", "-c", tmp_path / "motion.conf", stderr=subprocess.DEVNULL):
        until(lambda: seen(daemon, name.replace("\\", "")), PATIENCE_S)
        until(lambda: not list((tmp_path / "saved").iterdir()), PATIENCE_S)
    assert daemon.ask("GET", "/v1/status")["bad_frames"] == 0


@needs("motion", "ffmpeg")
def test_motion_saves_into_the_watched_folder(state: Path, pictures: dict[str, Path], tmp_path: Path) -> None:
    """What it writes is complete when it is taken."""
    moving = "[1]scale=200:-2[c];[0][c]overlay=x='(t-1)*150':y=60:shortest=1,scale=640:480,format=yuv420p"
    sides = [*still(pictures["flower"], 6), *still(pictures["china"], 6)]
    source = film(tmp_path / "film.mp4", *sides, filters=moving)
    folder = tmp_path / "frames"
    (folder / "door").mkdir(parents=True)
    (tmp_path / "motion.conf").write_text(
        f"daemon off\nsetup_mode off\nnetcam_url file://{source}\nwebcontrol_port 0\nwidth 640\nheight 480\n"
        f"framerate 10\nevent_gap 1\npicture_output on\nmovie_output off\ntarget_dir {folder / 'door'}\n"
    )
    with Daemon(state, {"folder": {"path": str(folder), "after": "delete"}}) as daemon:
        with running(daemon, "motion", "-n", "-c", tmp_path / "motion.conf", stderr=subprocess.DEVNULL):
            until(lambda: len(seen(daemon, "door")) >= 5, PATIENCE_S)
        assert daemon.ask("GET", "/v1/status")["sources"]["folder"]["bad_frames"] == 0


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.sh")))
def test_every_shell_script_says_how_it_is_called(script: str) -> None:
    subprocess.run(["sh", "-n", EXAMPLES / script], check=True)
    ended = subprocess.run(["sh", EXAMPLES / script], capture_output=True, text=True, check=False)
    assert (ended.returncode != 0, f"usage: {script}" in ended.stderr) == (True, True)
