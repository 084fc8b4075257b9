#!/usr/bin/env python3
"""Frames of a Raspberry Pi's camera. Needs python3-picamera2, which Raspberry Pi OS has, and push.py beside it.

python3 picamera2_push.py --camera door --every 0.5
"""

import argparse
import contextlib
import io
import time

from picamera2 import Picamera2  # type: ignore[import-not-found]
from push import Board, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the board (default: %(default)s)")
    parser.add_argument("--camera", default="", help="the name of the camera")
    parser.add_argument("--every", type=float, default=0.5, metavar="S", help="seconds between frames")
    arguments = parser.parse_args()
    board = Board(arguments.url, arguments.camera)
    with Picamera2() as camera:
        camera.configure(camera.create_still_configuration(main={"size": (640, 480)}))
        camera.start()
        while True:
            began = time.monotonic()
            picture = io.BytesIO()
            camera.capture_file(picture, format="jpeg")
            show(board, picture.getvalue())
            time.sleep(max(0.0, arguments.every - (time.monotonic() - began)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
