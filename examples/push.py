#!/usr/bin/env python3
"""Sends pictures to a Lastlayer board. Nothing but the standard library; copy it and change it.

    python3 push.py --camera door frame.jpg other.jpg
    ffmpeg -i VIDEO -vf fps=2 -f mpjpeg - | python3 push.py --camera door -

It prints a line for each picture: frame id, probability, label. On a board with tasks there
is one for each view that looks at the camera, which begins with TASK/VIEW.

Of a stream (-) the newest frame is sent, and those that came while the board was busy
or away are let go. A board that is away is waited for.
"""

import argparse
import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode, urlsplit


class Board:
    """One connection to a board, made again whenever it breaks."""

    def __init__(self, url: str, camera: str = "", token: str = "", task: str = "") -> None:
        asked = {name: word for name, word in (("camera", camera), ("task", task)) if word}
        self.path = "/v1/frames" + (f"?{urlencode(asked, errors='surrogateescape')}" if asked else "")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        kind = http.client.HTTPSConnection if urlsplit(url).scheme == "https" else http.client.HTTPConnection
        self.connection = kind(urlsplit(url).netloc, timeout=10)

    def classify(self, picture: bytes) -> dict[str, Any]:
        """The board's answer. Raises ValueError for what the board refuses; waits for a board that is away or full."""
        pause = 0.2
        while True:
            try:
                self.connection.request("POST", self.path, picture, self.headers)
                response = self.connection.getresponse()
                answer = json.loads(response.read())
                if response.status == 200:
                    return dict(answer)
                if response.status not in (408, 429, 503):
                    raise ValueError(answer["error"])
                problem, pause = answer["error"], float(response.getheader("Retry-After", "1"))
            except (OSError, http.client.HTTPException) as error:
                problem = str(error) or type(error).__name__
            self.connection.close()  # the next request opens it again
            print(f"{problem}; again in {pause:g} s", file=sys.stderr)
            time.sleep(pause)
            pause = min(2 * pause, 10)


class Newest:
    """Room for one picture: a newer one takes its place."""

    def __init__(self) -> None:
        self.dropped = 0
        self._picture: bytes | None = None
        self._ended = False
        self._news = threading.Condition()

    def fill(self, pictures: Iterator[bytes]) -> None:
        for picture in pictures:
            with self._news:
                self.dropped += self._picture is not None
                self._picture = picture
                self._news.notify()
        with self._news:
            self._ended = True
            self._news.notify()

    def take(self) -> bytes | None:
        """Waits for a picture; None at the end of the stream."""
        with self._news:
            self._news.wait_for(lambda: self._picture is not None or self._ended)
            picture, self._picture = self._picture, None
            return picture


def mpjpeg(stream: BinaryIO) -> Iterator[bytes]:
    """The pictures of a MIME stream, as `ffmpeg -f mpjpeg` and many cameras' /mjpeg write it."""
    length = 0
    for line in stream:
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "content-length":
            length = int(value)
        elif not line.strip() and length:  # the empty line before the picture
            picture = stream.read(length)
            if len(picture) == length:
                yield picture
            length = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", help="files, or - for a stream")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the board (default: %(default)s)")
    parser.add_argument("--camera", default="", help="the name of the camera")
    parser.add_argument("--task", default="", help="the only one to ask, of a board with several")
    parser.add_argument("--token-file", type=Path, help="a file with the token of the board")
    parser.add_argument("--every", type=float, default=0.0, metavar="S", help="seconds between frames of a stream")
    arguments = parser.parse_args()
    token = arguments.token_file.read_text().strip() if arguments.token_file else ""
    board = Board(arguments.url, arguments.camera, token, arguments.task)
    if arguments.pictures != ["-"]:
        for path in arguments.pictures:
            show(board, Path(path).read_bytes())
        return 0
    newest = Newest()
    threading.Thread(target=newest.fill, args=(mpjpeg(sys.stdin.buffer),), daemon=True).start()
    while (picture := newest.take()) is not None:
        began = time.monotonic()
        show(board, picture)
        time.sleep(max(0.0, arguments.every - (time.monotonic() - began)))
    print(f"the stream has ended; {newest.dropped} frames were let go", file=sys.stderr)
    return 0


def show(board: Board, picture: bytes) -> None:
    try:
        answer = board.classify(picture)
    except ValueError as error:
        print(f"refused: {error}", file=sys.stderr)
        return
    for result in answer.get("results", [answer]):  # of a board with tasks: one for each view that looks at this camera
        best = result["predictions"][0] if result["predictions"] else {"label": "unknown", "probability": 0.0}
        asked = f"{result['task']}/{result['view']} " if "task" in result else ""
        print(f"{asked}{result['frame_id']} {best['probability']:.2f} {best['label']}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
