"""The command `lastlayer-trainer`."""

import argparse
import logging
import sys
from collections.abc import Sequence

from agent.errors import LastlayerError
from agent.terminal import program, say
from trainer import reporting
from trainer.commands import bench, bottlenecks, collect, compare, evaluate, export, finetune, pretrain, publish, sweep

EPILOG = """\
exit codes: 0 done, 2 bad arguments, 3 bad pictures, 4 bad backbone, 5 cannot be written, 6 cannot learn
example: lastlayer-trainer pretrain corpus/ --minutes 40 --out net.keras
         lastlayer-trainer finetune MobileNetV2 pictures/ --out net.keras
         lastlayer-trainer export net.keras --calibrate corpus/ --out models/mine
"""


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = sys.argv[1:] if words is None else words
    arguments = parser().parse_args(words, argparse.Namespace(words=words))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        code: int = arguments.execute(arguments)
    except LastlayerError as error:
        say(f"lastlayer-trainer {arguments.command}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say(f"lastlayer-trainer {arguments.command}: interrupted")
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    reporting.add_options(everywhere)
    top = program(
        "lastlayer-trainer",
        description="Makes backbones for Lastlayer: trains them and exports them as quantized bundles.",
        epilog=EPILOG,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (pretrain, finetune, export, bottlenecks, sweep, evaluate, bench, compare, collect, publish):
        module.register(commands, everywhere)
    return top
