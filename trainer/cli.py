"""The command `lastlayer-trainer`.

What it needs is imported when it can be interrupted: Ctrl-C comes at any instant.
"""

import argparse
import importlib
import logging
import signal
import sys
from collections.abc import Sequence

from agent.board.interruption import Interruption
from agent.errors import LastlayerError

EPILOG = """\
exit codes: 0 done, 2 bad arguments, 3 bad pictures, 4 bad backbone, 5 cannot be written, 6 cannot learn
example: lastlayer-trainer pretrain corpus/ --minutes 40 --out net.keras
         lastlayer-trainer finetune MobileNetV2 pictures/ --out net.keras
         lastlayer-trainer export net.keras --calibrate corpus/ --out models/mine
"""


COMMANDS = (
    "pretrain", "finetune", "export", "bottlenecks", "sweep", "evaluate", "bench", "compare", "collect", "publish",
)  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 130 after Ctrl-C, 143 after SIGTERM."""
    typed = sys.argv[1:] if words is None else words
    who = f"lastlayer-trainer {next((word for word in typed if word in COMMANDS), '')}".rstrip()
    with Interruption(ends_process=words is None) as interruption:
        try:
            return _execute(typed)
        except BaseException as error:
            if interruption.number is not None or isinstance(error, KeyboardInterrupt):
                kept = f"; {error}" if isinstance(error, KeyboardInterrupt) and error.args else ""
                sys.stderr.write(f"{who}: interrupted{kept}\n")
                return 128 + (interruption.number or signal.SIGINT)
            if isinstance(error, LastlayerError):
                sys.stderr.write(f"{who}: {error}\n")
                return error.exit_code
            raise


def _execute(words: Sequence[str]) -> int:
    arguments = parser().parse_args(words, argparse.Namespace(words=words))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    code: int = arguments.execute(arguments)
    return code


def parser() -> argparse.ArgumentParser:
    from agent.terminal import program
    from trainer import reporting

    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    reporting.add_options(everywhere)
    top = program(
        "lastlayer-trainer",
        description="Makes backbones for Lastlayer: trains them and exports them as quantized bundles.",
        epilog=EPILOG,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"trainer.commands.{name}").register(commands, everywhere)
    return top
