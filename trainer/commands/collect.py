"""`lastlayer-trainer collect`: the examples of many boards, in one state."""

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agent.errors import ConfigError, MismatchError
from agent.records import checked_label
from agent.state.parcels import Page
from agent.terminal import command, say, show
from trainer.commands import fleet
from trainer.fleet.boards import Board, BoardError
from trainer.fleet.collect import Collected, collect
from trainer.reporting import reporting

EPILOG = """\
example: lastlayer-trainer collect http://porch.lan:8080 http://shed.lan:8080 --out all --token-file token
         lastlayer --state all retrain
         lastlayer-trainer publish head all http://porch.lan:8080 http://shed.lan:8080 --token-file token
         lastlayer-trainer collect http://porch.lan:8080 --task gate --out gates --token-file token
exit codes: 0 done, 2 bad arguments, 5 boards with different backbones, 7 a board could not be read
            or sent what no board would (the others were read), 130 interrupted
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "collect",
        options,
        execute,
        summary="bring the examples of many boards together",
        description="Copies the examples of boards (bottlenecks and labels, no pictures) into one state. Again brings\n"
        "what is new. " + fleet.BOARDS,
        epilog=EPILOG,
    )
    fleet.add_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the state, new or collected before")
    parser.add_argument(
        "--rename", action="append", default=[], metavar="LABEL=LABEL", help="call a label something else; repeatable"
    )


def execute(arguments: argparse.Namespace) -> int:
    renamed = dict(_renaming(text) for text in arguments.rename)
    boards = fleet.boards_of(arguments)
    with reporting(arguments, runtime="numpy") as timings, tqdm(unit=" examples", disable=None) as bar:

        def count(board: Board, page: Page) -> None:
            bar.set_description(board.address)
            bar.update(len(page.examples))

        with timings.phase("collect"):
            found = collect(boards, arguments.out / "cache", renamed, count)
    for address, wrong in found.failed.items():
        about = "" if address in str(wrong) else f"{address}: "
        say(f"not read to the end: {about}{wrong}")
    show(arguments, found.as_dict(), _text(found, arguments.out))
    if any(isinstance(wrong, MismatchError) for wrong in found.failed.values()):
        return MismatchError.exit_code
    return BoardError.exit_code if found.failed else 0


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (equals and old and new):
        raise ConfigError(f"--rename {text!r:.80}: must be OLD=NEW")
    return old, checked_label(new)


def _text(found: Collected, out: Path) -> str:
    lines = [f"{address}: {count} examples" for address, count in found.boards.items()]
    lines += [f"label {old!r} is kept as {new!r}" for old, new in found.merged_labels.items()]
    lines += [
        f"label {new!r} is new, and like {old!r}: `--rename {new}={old}` makes them one"
        for new, old in found.similar_labels.items()
    ]
    if found.conflicts:
        lines.append(f"{len(found.conflicts)} pictures have different labels on different boards; the latest counts")
    changed = f"{found.added} new, {found.relabelled} with another label, {found.known} known already"
    return "\n".join([*lines, f"{out}: {changed}"])
