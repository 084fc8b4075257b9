"""The command `lastlayer`."""

import argparse
import importlib
import logging
import os
import re
import signal
import sys

# Before numpy is imported. The products here are small: a second thread of the BLAS gains nothing, and where the
# other cores are busy it waits for them, 20 times longer than the product takes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from agent import commands
from agent.board import systemd
from agent.board.interruption import ENDING, Interruption
from agent.errors import ConfigError, LastlayerError
from agent.terminal import program

EPILOG = """\
exit codes: 0 done · 2 wrong usage or configuration · 3 bad picture, label, list, frame, head, task, or none of a class
            4 bad backbone · 5 state folder unusable, locked or of another backbone · 6 nothing to learn from
            7 no network · 8 the new head was refused · 1 other

example:    lastlayer --state S learn pictures/      # pictures/CLASS/*.jpg
            lastlayer --state S retrain
            lastlayer --state S classify some.jpg
"""


def main(words: list[str] | None = None) -> int:
    typed = sys.argv[1:] if words is None else words
    who = f"lastlayer {next((word for word in typed if word in commands.SUMMARIES), '')}".rstrip()
    # Who starts these two tells by the signal itself how they ended.
    numbers = (signal.SIGINT,) if {"run", "retrain"}.intersection(typed) else ENDING
    with Interruption(numbers, ends_process=words is None) as interruption:
        try:
            return _execute(typed)
        except BaseException as error:
            if interruption.number is not None or isinstance(error, KeyboardInterrupt):
                _complain(f"{who}: interrupted")
                return 128 + (interruption.number or signal.SIGINT)
            if isinstance(error, LastlayerError):
                _complain(f"{who}: {error}")
                return error.exit_code
            if isinstance(error, BrokenPipeError):  # `lastlayer … | head`
                sys.stderr.close()
                return 141
            raise


def _execute(words: list[str]) -> int:
    arguments = parser(words).parse_args(words)
    if arguments.task is not None and arguments.command in commands.OF_ALL_TASKS:
        raise ConfigError(f"`{arguments.command}` is not of one task: leave --task out")
    _log_on_stderr(
        logging.DEBUG if arguments.verbose else logging.INFO if arguments.command == "run" else logging.WARNING
    )
    code: int = arguments.execute(arguments)
    return code


def _complain(words: str) -> None:
    priority = f"<{systemd.priority(logging.ERROR)}>" if systemd.logs_to_journal() else ""
    print(f"{priority}{words}", file=sys.stderr)


def _log_on_stderr(level: int) -> None:
    stamped = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(systemd.JournalFormatter() if systemd.logs_to_journal() else stamped)
    logging.basicConfig(level=level, handlers=[handler])


def parser(words: list[str]) -> argparse.ArgumentParser:
    """Of all commands those that stand among `words` are registered in full, the rest with what they are for."""
    top = program(
        "lastlayer",
        description="Classifies pictures, remembers what people say of them, and retrains the last layer on the spot.",
        epilog=EPILOG,
    )
    _add_options(top, of_one_task=True)
    top.set_defaults(state=None, task=None, backbone=None, input_range=None, size=None, json=False, verbose=False)
    actions = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in commands.SUMMARIES.items():
        if name in words:
            everywhere = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
            _add_options(everywhere, of_one_task=name not in commands.OF_ALL_TASKS)
            importlib.import_module(commands.module(name)).register(actions, everywhere)
        else:
            actions.add_parser(name, help=summary)
    return top


def size(text: str) -> tuple[int, int]:
    """The height and width that `N` or `WIDTHxHEIGHT` mean."""
    sides = re.fullmatch(r"([1-9][0-9]{0,3})(?:x([1-9][0-9]{0,3}))?", text)
    if sides is None:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is no size: N or WIDTHxHEIGHT, in pixels, 9999 at most")
    width, height = sides[1], sides[2] or sides[1]
    return int(height), int(width)


def _add_options(options: argparse.ArgumentParser, *, of_one_task: bool) -> None:
    """What may stand before the command or behind it."""
    options.add_argument("--state", metavar="DIR", help="the state folder (default: below $XDG_STATE_HOME)")
    meaning = "the task that is meant, where there are several" if of_one_task else argparse.SUPPRESS
    options.add_argument("--task", metavar="NAME", help=meaning)
    options.add_argument(
        "--backbone", metavar="NAME", help="for a new state: a bundle in models/, a folder, or a .tflite file"
    )
    options.add_argument(
        "--input-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="of a .tflite: what black and white become (default 0 1)",
    )
    options.add_argument("--size", type=size, metavar="N", help="of a .tflite that takes any: N, or WIDTHxHEIGHT")
    options.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    options.add_argument("--verbose", action="store_true", help="say more on stderr")
