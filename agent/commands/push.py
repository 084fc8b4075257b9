"""`lastlayer push`: pictures to a running board, from a shell script."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.board.files import printable, read_bounded
from agent.board.secret import Secret, warn_of_open
from agent.commands import SUMMARIES
from agent.commands.sender import Address, Sender, results
from agent.errors import ConfigError, DatasetError, ImageError, InputError, LabelError, LastlayerError
from agent.terminal import as_json, command, progress, say, write

if TYPE_CHECKING:
    from agent.learning.pictures.dataset import Dataset
    from agent.learning.pictures.labelled import LabelledPicture

MAX_BYTES = 268_435_456  # the most that frames.max_bytes can be

EXAMPLE = """\
example:  lastlayer push frame.jpg --camera door
          libcamera-still -n -o - | lastlayer push - --camera door --json
          lastlayer push pictures/glass/ --label glass
          lastlayer push pictures/                 # pictures/CLASS/*.jpg, or train/CLASS and val/CLASS, as for learn
          lastlayer push parked/ --camera yard --task spaces --view left --label taken

What cannot be reached, or has no room (503), is tried again until --timeout. Of a folder the pictures in it are
sent, by their names; where there are none, those of its class folders, with their labels and splits. With --json
there is a line for each picture: its result, or its `results`, and its name as `file`.
exit codes: 0 all were sent · 2 wrong usage, token, task or view · 3 a picture was refused, or none is left of a class;
            the others were sent
            7 the board could not be reached in time: this picture and those behind it were not sent
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "push",
        options,
        execute,
        summary=SUMMARIES["push"],
        description="Sends pictures to a running `lastlayer run`, on this machine or another, and prints its answers.",
        epilog=EXAMPLE,
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a file, a folder, or - for stdin")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", default="http://127.0.0.1:8080", help="of the board (default: %(default)s)")
    where.add_argument("--socket", metavar="PATH", help="the unix socket of the board (http.socket)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="a file with the board's token")
    parser.add_argument("--camera", help="the name of the camera")
    parser.add_argument("--label", help="what the pictures show: the board remembers it")
    parser.add_argument("--view", metavar="NAME", help="of the task, the one that shows what the label says")
    parser.add_argument("--new-labels", action="store_true", help="labels that are like others are meant")
    parser.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="how long a picture is tried (default: %(default)g)"
    )


def execute(arguments: argparse.Namespace) -> int:
    sender = Sender(Address(arguments.url, arguments.socket), _token(arguments.token_file), arguments.timeout)
    query = {
        name: value for name in ("camera", "label", "task", "view") if (value := getattr(arguments, name)) is not None
    }
    if arguments.new_labels:
        query["new"] = "1"
    batches = [_batch(name, query) for name in arguments.pictures]
    pictures = [picture for batch in batches for picture in batch.pictures]
    has_bar = len(pictures) > 1 and sys.stderr.isatty()
    sent, failed = 0, dict[str, str]()
    try:
        for picture in progress(pictures, "push") if has_bar else pictures:
            try:
                answer = sender.send(_payload(picture.read), picture.query)
            except InputError as error:
                say(f"lastlayer push: {printable(picture.name)}: {error}")
                failed[picture.name] = str(error)
                continue
            sent += 1
            line = {"file": _shown(picture.name), **answer}
            _print(as_json(line) if arguments.json else _text(line), above_bar=has_bar)
    except LastlayerError as error:
        raise type(error)(f"{error}; {sent} pictures were sent") from error
    finally:
        sender.close()
    if sent + len(failed) > 1:
        print(f"{sent} pictures sent, {len(failed)} refused, {sender.retries} times tried again", file=sys.stderr)
    is_missing = any([_told(batch.dataset, failed) for batch in batches if batch.dataset is not None])
    return ImageError.exit_code if failed or is_missing else 0


@dataclass(frozen=True)
class _Picture:
    name: str
    read: Callable[[], bytes]  # raises OSError and InputError
    query: Mapping[str, str]


@dataclass(frozen=True)
class _Batch:
    """What one word of the command line stands for."""

    pictures: list[_Picture]
    dataset: "Dataset | None" = None  # where class folders say the labels


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 86400 seconds")
    return seconds


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    secret = Secret("--token-file", file)
    warn_of_open([secret])
    return secret.token()


def _batch(name: str, query: Mapping[str, str]) -> _Batch:
    """A file, or what lies in a folder. Raises ConfigError for a folder without pictures."""
    if name == "-" or not _is_folder(name):
        read = partial(sys.stdin.buffer.read, MAX_BYTES + 1) if name == "-" else partial(read_bounded, name, MAX_BYTES)
        return _Batch([_Picture(name, read, query)])
    # Of folders alone: it takes a while to be imported.
    from agent.learning.pictures.labelled import is_of_system, is_picture

    try:
        inside = sorted(path for path in Path(name).iterdir() if not is_of_system(path.name))
    except OSError as error:
        raise ConfigError(f"{printable(name)}: the folder cannot be read: {error.strerror}") from error
    pictures = [path for path in inside if is_picture(path) and not path.is_dir()]
    if not pictures:
        return _of_classes(name, query)
    if any(path.is_dir() for path in inside):
        say(f"lastlayer push: {printable(name)}: pictures lie in it, so the folders in it are not entered")
    return _Batch([_Picture(str(path), partial(read_bounded, path, MAX_BYTES), query) for path in pictures])


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:  # a name that is too long, a folder that nobody may look into: whoever reads it says so
        return False


def _of_classes(name: str, query: Mapping[str, str]) -> _Batch:
    """The pictures of class folders, with their labels and splits. Raises ConfigError."""
    from agent.learning.pictures.dataset import open_dataset
    from agent.learning.pictures.labelled import check_labels

    shown = printable(name)
    try:
        with open_dataset(Path(name)) as dataset:  # files stay readable behind it
            if "label" in query:
                raise ConfigError(f"{shown}: no picture lies in this folder; its class folders say their labels")
            if "new" not in query:
                check_labels(dataset, ())  # the board asks too, when it has taken the first ones
            first: dict[str, LabelledPicture] = {}  # by their ids: where they came first
            pictures = [_Picture(one.name, partial(_read_once, one, first), {**query, **_said(one)}) for one in dataset]
            return _Batch(pictures, dataset)
    except DatasetError as error:
        raise ConfigError(f"{shown}: no picture lies in this folder, nor in class folders: {error}") from error


def _said(picture: "LabelledPicture") -> dict[str, str]:
    return {"label": picture.label} | ({"split": picture.split} if picture.split else {})


def _read_once(picture: "LabelledPicture", first: "dict[str, LabelledPicture]") -> bytes:
    """Raises OSError, and LabelError where it came first with another label: the board would take the one that comes
    last, at every sending."""
    from agent.records import picture_id

    payload = picture.read()
    before = first.setdefault(picture_id(payload), picture)
    if before.label != picture.label:
        raise LabelError(f"not sent as {picture.label!r}: it is {before.label!r} in {printable(before.name)}")
    return payload


def _told(dataset: "Dataset", failed: Mapping[str, str]) -> bool:
    """Whether no picture is left of a class; what is left out is said."""
    from agent.learning.pictures.leftout import LeftOut, complaint, lines

    refused = [LeftOut(one.name, failed[one.name], one.label) for one in dataset if one.name in failed]
    for line in lines(dataset.left_out):
        say(line)
    missing = dataset.missing(refused)
    if missing:
        say(f"warning: {complaint(missing)}")
    return bool(missing)


def _payload(read: Callable[[], bytes]) -> bytes:
    """Raises ImageError."""
    try:
        payload = read()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error
    if len(payload) > MAX_BYTES:
        raise ImageError(f"has more than {MAX_BYTES} bytes, which no board takes")
    return payload


def _print(line: str, above_bar: bool) -> None:
    if above_bar:
        from tqdm import tqdm

        with tqdm.external_write_mode():
            write(line)
    else:
        write(line)


def _shown(name: str) -> str:
    """A name in any bytes as text that can be printed."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _text(line: dict[str, Any]) -> str:
    """A line for each view that looked at it."""
    name = printable(line["file"])
    return "\n".join(f"{name}: {_of_view(result)}{_said_by(result)}" for result in results(line))


def _of_view(result: dict[str, Any]) -> str:
    names = [name for key in ("task", "view") if (name := result.get(key, ""))]
    return f"{printable(', '.join(names))}: " if names else ""


def _said_by(result: dict[str, Any]) -> str:
    said = ", ".join(f"{best['label']} {best['probability']:.0%}" for best in result["predictions"]) or "unknown"
    return f"{said}  ({'nothing new since ' if result.get('skipped') else ''}frame {result['frame_id']})"
