"""`lastlayer heads`: the heads that were made, and which of them is in service."""

import argparse
import time
from typing import Any

from agent.commands.terminal import columns, show, state_folder
from agent.learning.headstore import HeadStore, summary

EXAMPLE = """\
example:  lastlayer --state S heads
          lastlayer --state S heads activate 2
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "heads",
        parents=[options],
        help="list heads, put one into service",
        description="Lists the heads, newest last, or puts one into service; a running daemon follows in a second.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION")
    activate = actions.add_parser("activate", parents=[options], help="put a head into service")
    activate.add_argument("version")
    command.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    store = HeadStore(state_folder(arguments) / "heads")
    if arguments.action == "activate":
        store.activate(arguments.version)
        show(arguments, {"active": arguments.version}, f"head {arguments.version} is in service")
        return 0
    active = store.active()
    reports = [summary(store.report(version)) for version in store.versions()]
    show(arguments, {"active": active, "heads": reports}, _text(active, reports))
    return 0


def _text(active: str | None, reports: list[dict[str, Any]]) -> str:
    if not reports:
        return "no heads yet: `lastlayer retrain` makes one"
    rows = [["", "version", "made", "labels", "examples", "solver", "validation top-1"]]
    for report in reports:
        rows.append(
            [
                "*" if report["version"] == active else "",
                report["version"],
                time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report["created_ms"] / 1000)),
                str(len(report["labels"])),
                str(report["examples"]),
                report["solver"],
                "-" if report["top1"] is None else f"{report['top1']:.3f}",
            ]
        )
    return columns(rows) + "\n* in service"
