"""`lastlayer push`: pictures to a running board, from a shell script."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.board.files import read_bounded
from agent.board.secret import Secret, warn_of_open
from agent.commands import SUMMARIES
from agent.commands.sender import Address, Sender
from agent.errors import ConfigError, ImageError, LastlayerError
from agent.terminal import command

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MAX_BYTES = 268_435_456  # the most that frames.max_bytes can be

EXAMPLE = """\
example:  lastlayer push frame.jpg --camera door
          libcamera-still -n -o - | lastlayer push - --camera door --json
          lastlayer push pictures/glass/ --label glass

What cannot be reached, or has no room (503), is tried again until --timeout. Of a folder the pictures in it are
sent, by their names. With --json there is a line for each picture: its result, and its name as `file`.
exit codes: 0 all were sent · 2 wrong usage or token · 3 a picture was refused, the others were sent
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
    parser.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="how long a picture is tried (default: %(default)g)"
    )


def execute(arguments: argparse.Namespace) -> int:
    sender = Sender(Address(arguments.url, arguments.socket), _token(arguments.token_file), arguments.timeout)
    query = {name: value for name in ("camera", "label") if (value := getattr(arguments, name)) is not None}
    sent, failed = 0, 0
    try:
        for name in _names(arguments.pictures):
            try:
                result = sender.send(_payload(name), query)
            except ImageError as error:
                print(f"lastlayer push: {_shown(name)}: {error}", file=sys.stderr)
                failed += 1
                continue
            sent += 1
            line = {"file": _shown(name), **result}
            print(json.dumps(line, ensure_ascii=False) if arguments.json else _text(line), flush=True)
    except LastlayerError as error:
        raise type(error)(f"{error}; {sent} pictures were sent") from error
    finally:
        sender.close()
    if sent + failed > 1:
        print(f"{sent} pictures sent, {failed} refused, {sender.retries} times tried again", file=sys.stderr)
    return ImageError.exit_code if failed else 0


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


def _names(pictures: list[str]) -> Iterator[str]:
    """Of files; the files of a folder in the place of the folder. Raises ConfigError for a folder without pictures."""
    for picture in pictures:
        if picture == "-" or not Path(picture).is_dir():
            yield picture
            continue
        inside = sorted(str(path) for path in Path(picture).iterdir() if path.name.lower().endswith(SUFFIXES))
        if not inside:
            raise ConfigError(f"{_shown(picture)}: no picture lies in this folder ({', '.join(SUFFIXES)})")
        yield from inside


def _payload(name: str) -> bytes:
    """Raises ImageError."""
    try:
        payload = sys.stdin.buffer.read(MAX_BYTES + 1) if name == "-" else read_bounded(name, MAX_BYTES)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
    if len(payload) > MAX_BYTES:
        raise ImageError(f"has more than {MAX_BYTES} bytes, which no board takes")
    return payload


def _shown(name: str) -> str:
    """A name in any bytes as text that can be printed."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _text(line: dict[str, Any]) -> str:
    said = ", ".join(f"{best['label']} {best['probability']:.0%}" for best in line["predictions"]) or "unknown"
    return f"{line['file']}: {said}  (frame {line['frame_id']})"
