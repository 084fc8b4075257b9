"""The tests of all that needs no TFLite, on a 32-bit machine with Debian 12's old libraries.

    python -m tests.boards.i386
    python -m tests.boards.i386 tests/learning -k gate -x        # or what pytest is to be told

Runs natively on x86-64. Without apt or a network it says so, and ends with 0.
"""

import os
import subprocess
import sys

from tests.boards.debian import UnavailableError
from tests.boards.machine import I386, ROOT, machine

TESTS = (
    "tests/board",
    "tests/cache",
    "tests/ingress",
    "tests/learning",
    "tests/reporting",
    "tests/vision/test_image.py",
    "tests/vision/test_unchanged.py",
    "tests/test_config.py",
    "tests/test_schema.py",
    "tests/slow/test_large_cache.py",
)

NEED_TFLITE = (
    "tests/board/test_systemd.py",
    "tests/ingress/folder/test_uploads.py",
    "tests/ingress/http/test_routes.py",
    "tests/ingress/mqtt/test_source.py",
    "tests/ingress/http/test_openapi.py",
    "tests/learning/running/test_retraining.py",
)  # the daemon


def main() -> int:
    try:
        board = machine(I386)
    except UnavailableError as reason:
        sys.stderr.write(f"SKIPPED the tests on i386: {reason}\n")
        return 0
    chosen = sys.argv[1:] or ["-n", "auto", *TESTS, *(f"--ignore={path}" for path in NEED_TFLITE)]
    old = "ignore:contents is deprecated"  # Debian's scikit-learn of its own standard library
    command = [str(board.python), "-m", "pytest", "-p", "no:cacheprovider", "-W", old, *chosen]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
