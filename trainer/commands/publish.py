"""`lastlayer-trainer publish`: a head or a backbone goes out to boards."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.records import DEFAULT_TASK
from agent.state import tasks
from agent.state.parcels import SentHead, pack_backbone, pack_head
from agent.terminal import columns, command, show
from agent.vision.bundle import load_bundle
from trainer.commands import fleet
from trainer.commands.arguments import head_in
from trainer.fleet.boards import Board, BoardError, BoardRefusalError, Delivery, publish
from trainer.reporting import reporting

EPILOG = """\
example: lastlayer-trainer publish head all http://porch.lan:8080 http://shed.lan:8080 --token-file token
         lastlayer-trainer publish backbone models/mine http://porch.lan:8080 --token-file token
         lastlayer-trainer publish head gates http://porch.lan:8080 --task gate --token-file token
Each board takes it in by its own gate, and can return: `lastlayer heads rollback`, `lastlayer models rollback`.
exit codes: 0 every board took it, 2 bad arguments, 4 bad backbone, 5 bad state, 7 a board could not be reached,
            8 a board refused it
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "publish",
        options,
        execute,
        summary="send a head or a backbone to boards",
        description="Sends a head or a backbone to boards. " + fleet.BOARDS,
        epilog=EPILOG,
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="WHAT")
    head = kinds.add_parser("head", parents=[options], help="the head of a state")
    head.add_argument("state", type=Path, help="a state, such as `collect` makes")
    head.add_argument("--version", dest="head", metavar="N", help="of the head (default: the one in service)")
    fleet.add_options(head)
    backbone = kinds.add_parser("backbone", parents=[options], help="a bundle, and a head if there is one for it")
    backbone.add_argument("bundle", help="its folder, or a name in models/")
    backbone.add_argument("--with-head", type=Path, metavar="STATE", help="with the head in service of a state")
    fleet.add_options(backbone)


def execute(arguments: argparse.Namespace) -> int:
    boards = fleet.boards_of(arguments)
    send = _head(arguments) if arguments.kind == "head" else _backbone(arguments)
    with reporting(arguments, runtime="numpy") as timings, timings.phase("publish", images=len(boards)):
        deliveries = publish(boards, send)
    show(arguments, [asdict(delivery) for delivery in deliveries], _text(deliveries))
    if not all(delivery.reached for delivery in deliveries):
        return BoardError.exit_code
    return 0 if all(delivery.accepted for delivery in deliveries) else BoardRefusalError.exit_code


def _head(arguments: argparse.Namespace) -> Callable[[Board], dict[str, Any]]:
    parcel = pack_head(_sent_head(arguments.state, arguments.task, arguments.head))
    return lambda board: board.send_head(parcel)


def _backbone(arguments: argparse.Namespace) -> Callable[[Board], dict[str, Any]]:
    sent = None if arguments.with_head is None else _sent_head(arguments.with_head, arguments.task)
    parcel = pack_backbone(load_bundle(arguments.bundle), sent)
    return lambda board: board.send_backbone(parcel)


def _sent_head(state: Path, task: str | None, version: str | None = None) -> SentHead:
    """Of a state without tasks, such as `collect` makes, its own, whatever the task of the boards is called."""
    is_plain = tasks.names(state) in ([], [DEFAULT_TASK])
    version, store = head_in(tasks.meant(state, None if is_plain else task), version)
    return SentHead(store.load(version), store.report(version))


def _text(deliveries: list[Delivery]) -> str:
    said = {True: "took it", False: "refused it"}
    rows = [["board", "", ""]]
    for delivery in deliveries:
        outcome = said[delivery.accepted] if delivery.reached else "not reached"
        rows.append([delivery.board, outcome, delivery.reason.removeprefix(delivery.board).lstrip(": ")])
    return columns(rows)
