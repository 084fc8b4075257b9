"""`lastlayer push` as shell scripts call it: against a real daemon, and against one that is made to be difficult."""

import fcntl
import http.server
import json
import os
import pty
import socket
import socketserver
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.commands.sender import Address
from agent.errors import ConfigError
from tests.daemon import ROOT, Daemon, lastlayer, loaded_after

RESULT = {"frame_id": "0" * 16, "predictions": [{"label": "glass", "probability": 0.75}]}


class Scripted(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.requests.append((self.path, self.headers.get("Authorization"), body))
        step = server.script.pop(0) if server.script else (200, {}, json.dumps(RESULT))
        if step is None:  # it went away without a word
            self.close_connection = True
            return
        status, headers, answer = step
        self.send_response(status)
        for name, value in {"Content-Length": str(len(answer)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.encode())

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Tcp(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def scripted(*script: Any, path: Path | None = None) -> Iterator[Any]:
    server: Any = Tcp(("127.0.0.1", 0), Scripted) if path is None else Unix(str(path), Scripted)
    server.script, server.requests = list(script), []
    server.words = ["--url", f"http://127.0.0.1:{server.server_address[1]}"] if path is None else ["--socket", path]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def picture(tmp_path: Path, jpegs: list[bytes]) -> Path:
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    return tmp_path / "a.jpg"


@pytest.fixture(scope="module")
def daemon(learnt_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    import shutil

    with Daemon(Path(shutil.copytree(learnt_once, tmp_path_factory.mktemp("push") / "state"))) as running:
        yield running


def test_files_folders_and_stdin_are_sent(daemon: Daemon, tmp_path: Path, jpegs: list[bytes], picture: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("2.jpg", "1.JPG"):
        (folder / name).write_bytes(jpegs[1])
    (folder / "notes.txt").write_text("not sent")
    command = ["push", picture, folder, "-", "--url", daemon.url, "--camera", "Tür", "--json"]
    with picture.open("rb") as stdin:
        ended = lastlayer(*command, stdin=stdin)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(picture), str(folder / "1.JPG"), str(folder / "2.jpg"), "-"]
    assert [line["predictions"][0]["label"] for line in lines] == ["china", "flower", "flower", "china"]
    assert {line["camera"] for line in lines} == {"Tür"}
    assert "4 pictures sent, 0 refused" in ended.stderr


def test_class_folders_say_labels_and_splits(tmp_path: Path, jpegs: list[bytes]) -> None:
    names = ["train/glass/a.jpg", "train/glass/b.jfif", "Test/paper/c.jpg", "Test/@eaDir/c.jpg", "pred/d.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jpegs[0] + name.encode())
    with scripted() as board:
        ended = lastlayer("push", tmp_path, *board.words, "--camera", "door", "--json")
    assert [(path, body) for path, _, body in board.requests] == [
        ("/v1/frames?camera=door&label=paper&split=test", jpegs[0] + names[2].encode()),
        ("/v1/frames?camera=door&label=glass&split=train", jpegs[0] + names[0].encode()),
        ("/v1/frames?camera=door&label=glass&split=train", jpegs[0] + names[1].encode()),
    ]
    assert json.loads(ended.stdout.splitlines()[0])["file"] == str(tmp_path / "Test/paper/c.jpg")
    assert "3 pictures sent" in ended.stderr
    assert "left out: 1: the folder pred is no split" in ended.stderr


def test_a_class_of_which_no_picture_is_left_is_told_and_the_others_are_sent(tmp_path: Path, picture: Path) -> None:
    for name in ("set/glass/a.jpg", "set/paper/a.heic", "set/tin/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(picture.read_bytes() + name.encode())  # no two are the same
    refused: tuple[int, dict[str, str], str] = (400, {}, '{"error": "the picture is torn"}')
    with scripted((200, {}, json.dumps(RESULT)), refused) as board:
        ended = lastlayer("push", tmp_path / "set", *board.words, expect=3)
    assert len(board.requests) == 2
    assert "no picture is left of 2 classes: paper: .heic is not read" in ended.stderr
    assert "tin: the picture is torn" in ended.stderr


def test_a_picture_in_two_class_folders_is_sent_once_and_labels_that_are_like_others_are_asked_about(
    daemon: Daemon, tmp_path: Path, jpegs: list[bytes]
) -> None:
    for place, payload in {"glass/a": jpegs[0], "paper/b": jpegs[1], "paper/copy": jpegs[0]}.items():
        path = tmp_path / "pictures" / f"{place}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload)
    for _ in range(2):
        ended = lastlayer("push", "--url", daemon.url, tmp_path / "pictures", expect=3)
        assert "paper/copy.jpg: not sent as 'paper': it is 'glass' in" in ended.stderr
        labels = daemon.ask("GET", "/v1/status")["labels"]
        assert (labels["glass"], labels["paper"]) == (1, 1)
    (tmp_path / "pictures" / "paper" / "copy.jpg").unlink()
    (tmp_path / "pictures" / "paper").rename(tmp_path / "pictures" / "glas")
    refused = lastlayer("push", "--url", daemon.url, tmp_path / "pictures", expect=3).stderr
    assert "did you mean" in refused
    assert "pictures sent" not in refused
    lastlayer("push", "--url", daemon.url, tmp_path / "pictures", "--new-labels")
    assert daemon.ask("GET", "/v1/status")["labels"]["glas"] == 1


def test_a_folder_with_pictures_in_it_is_no_set_of_classes(tmp_path: Path, picture: Path) -> None:
    for name in ("2026/old.jpg", "._a.jpg", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture.read_bytes())
    with scripted() as board:
        ended = lastlayer("push", tmp_path, *board.words)
    assert [path for path, _, _ in board.requests] == ["/v1/frames"]
    assert "the folders in it are not entered" in ended.stderr


def test_class_folders_and_a_label_are_not_said_together(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "set" / "glass").mkdir(parents=True)
    picture.rename(tmp_path / "set" / "glass" / "a.jpg")
    ended = lastlayer("push", tmp_path / "set", "--label", "paper", expect=2)
    assert "its class folders say their labels" in ended.stderr


def test_a_bar_shows_how_far_it_is_on_a_terminal(tmp_path: Path, picture: Path) -> None:
    for name in ("glass", "paper"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "a.jpg").write_bytes(picture.read_bytes() + name.encode())
    terminal, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    with scripted() as board:
        command = [sys.executable, "-m", "agent", "push", str(tmp_path / "set"), *map(str, board.words)]
        ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=child, check=True)
    os.close(child)
    assert b"2/2" in os.read(terminal, 1 << 16)
    os.close(terminal)
    assert ended.stdout.count(b"glass 75%") == 2


def test_a_label_is_remembered(daemon: Daemon, picture: Path) -> None:
    ended = lastlayer("push", picture, "--url", daemon.url, "--label", "a cup")
    assert ended.stdout.startswith(f"{picture}: china ")
    assert daemon.ask("GET", "/v1/status")["labels"]["a cup"] == 1


def test_a_bad_picture_is_told_and_the_others_are_sent(daemon: Daemon, tmp_path: Path, picture: Path) -> None:
    (tmp_path / "bad.jpg").write_text("hello")
    ended = lastlayer("push", tmp_path / "bad.jpg", tmp_path / "gone.jpg", picture, "--url", daemon.url, expect=3)
    assert f"{tmp_path / 'bad.jpg'}: not a picture" in ended.stderr
    assert f"{tmp_path / 'gone.jpg'}: cannot be read: No such file" in ended.stderr
    assert ended.stdout.count("frame ") == 1


def test_a_picture_that_is_larger_than_the_board_takes_is_refused_with_its_reason(state: Path, tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(20_000_000))
    with Daemon(state) as daemon:
        ended = lastlayer("push", tmp_path / "large.jpg", "--url", daemon.url, expect=3)
    assert "frames.max_bytes" in ended.stderr


def test_a_name_in_any_bytes_is_sent_and_shown(daemon: Daemon, tmp_path: Path, picture: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.jpg"))
    odd.write_bytes(picture.read_bytes())
    line = json.loads(lastlayer("push", odd, "--url", daemon.url, "--json").stdout)
    assert line["file"].endswith("\\xff\n.jpg")
    told = lastlayer("push", odd, "--url", daemon.url, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert rf"{tmp_path}/\xff\n.jpg: " in told.stdout


def test_a_name_that_no_file_has_is_said_and_the_others_are_sent(daemon: Daemon, picture: Path) -> None:
    ended = lastlayer("push", "x" * 300, picture, "--url", daemon.url, expect=3)
    assert f"{'x' * 300}: cannot be read: File name too long" in ended.stderr
    assert "1 pictures sent, 1 refused" in ended.stderr


def test_a_board_without_room_is_asked_again(picture: Path) -> None:
    full = (503, {"Retry-After": "1"}, '{"error": "16 frames are under way already"}')
    with scripted(full, full) as board:
        ended = lastlayer("push", picture, *board.words)
    assert len(board.requests) == 3
    assert "16 frames are under way already; trying again" in ended.stderr


def test_a_connection_that_broke_is_made_again(picture: Path) -> None:
    with scripted(None, None) as board:
        lastlayer("push", picture, picture, *board.words)
    assert len(board.requests) == 4


def test_a_board_that_starts_later_is_waited_for(picture: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    command = [sys.executable, "-m", "agent", "push", str(picture), "--socket", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as pushing:
        assert pushing.stderr is not None
        assert "No such file or directory; trying again" in pushing.stderr.readline()
        with scripted(path=path) as board:
            assert pushing.wait(60) == 0
    assert board.requests[0][2] == picture.read_bytes()


def test_a_unix_socket_and_a_token(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret-of-16-chars\n")
    with scripted(path=tmp_path / "socket") as board:
        lastlayer("push", picture, *board.words, "--token-file", tmp_path / "token", "--camera", "a&b=c d")
    assert board.requests == [("/v1/frames?camera=a%26b%3Dc+d", "Bearer s3cret-of-16-chars", picture.read_bytes())]


def test_what_cannot_be_reached_is_given_up_after_the_timeout(picture: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts and never answers
        words = ["push", picture, "--url", f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.5"]
        assert "given up after 0.5 s; 0 pictures were sent" in lastlayer(*words, expect=7).stderr
    assert "Connection refused" in lastlayer(*words, expect=7).stderr


@pytest.mark.parametrize(
    ("step", "code", "complaint"),
    [
        ((401, {}, '{"error": "a token is needed"}'), 2, "--token-file"),
        ((404, {}, "<html>"), 7, "is this a Lastlayer?"),
        ((200, {}, "<html>hello"), 7, "not as Lastlayer does"),
        ((200, {}, "[]"), 7, "not as Lastlayer does"),
        ((500, {}, '{"error": "the flash is full"}'), 1, "the flash is full"),
    ],
)
def test_what_trying_again_cannot_mend_is_told_at_once(picture: Path, step: Any, code: int, complaint: str) -> None:
    with scripted(step) as board:
        assert complaint in lastlayer("push", picture, *board.words, expect=code).stderr
    assert len(board.requests) == 1


def test_a_folder_without_pictures_and_a_bad_token_file_are_refused(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "token").write_text("two words")
    assert "no picture lies" in lastlayer("push", tmp_path / "empty", expect=2).stderr
    for token in ("token", "gone"):
        assert "--token-file" in lastlayer("push", picture, "--token-file", tmp_path / token, expect=2).stderr
    lastlayer("push", picture, "--timeout", "nan", expect=2)


@pytest.mark.parametrize("url", ["", "board", "ftp://board", "http://", "http://b:x", "http://b:99999", "http://b?x=1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url must be"):
        Address(url)


def test_a_url_may_hold_ipv6_and_a_path() -> None:
    address = Address("https://[::1]:8443/board/")
    assert (address.prefix, address.connection(1).host, address.connection(1).port) == ("/board", "::1", 8443)


def test_it_starts_without_numpy_and_pillow() -> None:
    loaded = loaded_after("from agent.cli import main; main(['push', '--help'])")
    assert "agent.commands.sender" in loaded
    assert not loaded & {"numpy", "PIL", "yaml", "tqdm", "paho", "psutil"}


def of_view(task: str, view: str, *predictions: tuple[str, float], **more: Any) -> dict[str, Any]:
    said = [{"label": label, "probability": probability} for label, probability in predictions]
    return {"frame_id": "0" * 16, "task": task, "view": view, "predictions": said, **more}


LEFT, RIGHT = (
    {"camera": "yard", "name": name, "region": [x, 0.0, 0.5, 1.0]} for name, x in (("left", 0.0), ("right", 0.5))
)
TASKS = {"gate": {"views": [{"camera": "yard"}]}, "spaces": {"views": [LEFT, RIGHT]}}


@pytest.fixture(scope="module")
def with_tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("tasks") / "state", {"tasks": TASKS}) as running:
        yield running


def labels(board: Daemon) -> dict[str, dict[str, int]]:
    return {name: task["labels"] for name, task in board.ask("GET", "/v1/tasks")["tasks"].items()}


def test_a_frame_is_pushed_once_for_all_views_and_labelled_for_one(with_tasks: Daemon, picture: Path) -> None:
    words = ("--url", with_tasks.url, "--camera", "yard")
    heads = [line.split(": ")[1] for line in lastlayer("push", picture, *words).stdout.splitlines()]
    assert heads == ["gate, yard", "spaces, left", "spaces, right"]
    (line,) = lastlayer("push", picture, *words, "--task", "spaces", "--json").stdout.splitlines()
    assert [result["view"] for result in json.loads(line)["results"]] == ["left", "right"]
    before = with_tasks.ask("GET", "/v1/status")["frames"]
    lastlayer("push", picture, *words, "--task", "gate", "--label", "open")
    lastlayer("push", picture, *words, "--task", "spaces", "--view", "left", "--label", "free")
    lastlayer("push", picture, *words, "--view", "right", "--label", "taken")
    assert labels(with_tasks) == {"gate": {"open": 1}, "spaces": {"free": 1, "taken": 1}}
    assert with_tasks.ask("GET", "/v1/status")["frames"] == before + 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--camera", "yard"],
            "say which: task=gate, view=yard; task=spaces, view=left; task=spaces, view=right: name",
        ),
        (["--camera", "yard", "--task", "spaces"], "view=left; task=spaces, view=right: name it with --task, and its"),
        (["--camera", "yard", "--task", "feeder"], "there is no task 'feeder': there is gate, spaces"),
        (
            ["--camera", "yard", "--task", "gate", "--view", "left"],
            "no view of task 'gate' and view 'left' looks at frames of",
        ),
        (["--camera", "door", "--task", "gate"], "what looks is yard of the task gate at yard"),
        (["--task", "gate"], "looks at frames without the name of a camera"),
    ],
)
def test_a_label_whose_view_is_not_clear_ends_it_at_the_first_picture(
    with_tasks: Daemon, tmp_path: Path, picture: Path, words: list[str], said: str
) -> None:
    for label in ("one", "two"):
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / "a.jpg").write_bytes(picture.read_bytes() + label.encode())
    ended = lastlayer("push", tmp_path / "set", "--url", with_tasks.url, *words, expect=2)
    assert said in ended.stderr
    assert ended.stderr.endswith("; 0 pictures were sent\n") and ended.stderr.count("\n") == 1
    assert not any("one" in known for known in labels(with_tasks).values())


def test_a_board_without_tasks_knows_the_task_default(daemon: Daemon, picture: Path) -> None:
    said = lastlayer("push", picture, "--url", daemon.url, "--task", "default").stdout
    assert said.startswith(f"{picture}: china ")
    ended = lastlayer("push", picture, "--url", daemon.url, "--task", "gate", expect=2)
    assert "there is no task 'gate': there is default" in ended.stderr


def test_several_results_are_shown_by_task_and_view(picture: Path) -> None:
    several = [
        of_view("gate", "yard", ("open", 0.93), ("closed", 0.07)),
        of_view("spaces", "left\n", ("free", 0.8), frame_id="f" * 16, skipped=True),
        of_view("feeder", ""),
    ]
    answer = {"frame_id": "0" * 16, "camera": "yard", "received_ms": 1, "results": several}
    with scripted((200, {}, json.dumps(answer)), (200, {}, json.dumps(answer))) as board:
        assert lastlayer("push", picture, *board.words).stdout.splitlines() == [
            f"{picture}: gate, yard: open 93%, closed 7%  (frame {'0' * 16})",
            f"{picture}: spaces, left\\n: free 80%  (nothing new since frame {'f' * 16})",
            f"{picture}: feeder: unknown  (frame {'0' * 16})",
        ]
        (line,) = lastlayer("push", picture, "--json", *board.words).stdout.splitlines()
        assert json.loads(line) == {"file": str(picture), **answer}


def test_the_only_result_of_a_board_with_tasks_names_its_task(picture: Path) -> None:
    with scripted((200, {}, json.dumps(of_view("gate", "yard", ("open", 0.93))))) as board:
        said = lastlayer("push", picture, *board.words).stdout
    assert said == f"{picture}: gate, yard: open 93%  (frame {'0' * 16})\n"


def test_task_and_view_are_asked_for_with_the_labels_of_class_folders_too(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "set" / "taken").mkdir(parents=True)
    (tmp_path / "set" / "taken" / "a.jpg").write_bytes(picture.read_bytes())
    with scripted() as board:
        lastlayer("push", picture, *board.words, "--task", "gate")
        lastlayer("push", tmp_path / "set", *board.words, "--camera", "yard", "--task", "spaces", "--view", "left&")
    assert [path for path, _, _ in board.requests] == [
        "/v1/frames?task=gate",
        "/v1/frames?camera=yard&task=spaces&view=left%26&label=taken",
    ]


def test_a_task_that_must_be_named_is_said_at_the_first_picture(tmp_path: Path, picture: Path) -> None:
    for name in ("glass", "paper"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "a.jpg").write_bytes(picture.read_bytes() + name.encode())
    error = "a label is of one: say which of gate, spaces"
    with scripted((400, {}, json.dumps({"error": error, "unnamed": True}))) as board:
        said = lastlayer("push", tmp_path / "set", *board.words, expect=2).stderr
    assert f"{board.words[1]}: {error}: name it with --task, and its view with --view; 0 pictures were sent" in said
    assert len(board.requests) == 1


def test_a_task_that_is_not_there_is_said_at_the_first_picture(picture: Path) -> None:
    with scripted((404, {}, '{"error": "there is no task \'gate\': there is default"}')) as board:
        said = lastlayer("push", picture, picture, *board.words, "--task", "gate", expect=2).stderr
    assert said == (
        f"lastlayer push: {board.words[1]}: there is no task 'gate': there is default; 0 pictures were sent\n"
    )
    assert len(board.requests) == 1


def test_a_label_that_the_board_takes_for_a_slip_is_told_and_the_others_are_sent(
    daemon: Daemon, tmp_path: Path, picture: Path, jpegs: list[bytes]
) -> None:
    for label, payload in {"chinas": jpegs[0] + b"1", "paper mug": jpegs[1] + b"2"}.items():
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / "a.jpg").write_bytes(payload)
    ended = lastlayer("push", tmp_path / "set", "--url", daemon.url, expect=3)
    assert "chinas/a.jpg: " in ended.stderr and "did you mean" in ended.stderr
    assert "is this a Lastlayer?" not in ended.stderr
    assert "1 pictures sent, 1 refused" in ended.stderr


@pytest.mark.parametrize(
    "answer",
    [
        "[" * 100_000,
        "[1]",
        '{"predictions": 3, "frame_id": "0"}',
        '{"predictions": [{"label": "glass", "probability": "much"}], "frame_id": "0"}',
        '{"predictions": [], "frame_id": "\\ud800"}',
        '{"predictions": []}',
        '{"frame_id": "0", "results": 3}',
        '{"frame_id": "0", "results": []}',
        '{"frame_id": "0", "results": [3]}',
        '{"frame_id": "0", "results": [{"predictions": []}]}',
        '{"frame_id": "0", "results": [{"frame_id": "0", "predictions": [], "task": 3}]}',
        '{"results": [{"frame_id": "0", "predictions": []}]}',
    ],
)
def test_what_answers_otherwise_than_a_board_is_said_so(picture: Path, answer: str) -> None:
    with scripted((200, {}, answer)) as server:
        ended = lastlayer("push", *server.words, picture, expect=7)
    assert "answers, but not as Lastlayer does" in ended.stderr


def test_an_answer_that_never_ends_is_given_up(picture: Path) -> None:
    with scripted((200, {"Content-Length": str(1 << 40)}, "x" * (2 << 20))) as server:
        ended = lastlayer("push", *server.words, picture, expect=7)
    assert "comes to no end" in ended.stderr


def test_a_complaint_is_fit_for_a_terminal(picture: Path) -> None:
    with scripted((400, {}, json.dumps({"error": "\x1b[2J" + "x" * 100_000}))) as server:
        ended = lastlayer("push", *server.words, picture, expect=3)
    assert "\x1b" not in ended.stderr
    assert len(ended.stderr) < 1000


def test_what_is_no_file_is_not_waited_for(picture: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    with scripted() as server:
        ended = lastlayer("push", *server.words, tmp_path / "fifo.jpg", "/dev/zero", picture, expect=3)
        assert "it is a FIFO, not a regular file" in ended.stderr
        assert "it is a device, not a regular file" in ended.stderr
        assert "a.jpg" in ended.stdout
        ended = lastlayer("push", *server.words, "--token-file", tmp_path / "fifo.jpg", picture, expect=2)
    assert "cannot be read: it is a FIFO" in ended.stderr
