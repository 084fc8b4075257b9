"""`lastlayer-trainer compare`: what `bench` measured on several platforms, beside the study."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.board.files import write_atomically
from agent.errors import StateError
from agent.measuring.report import duration
from agent.terminal import columns, command, show
from trainer.commands.arguments import extra, file

REPORT = "report.html"

EPILOG = """\
The documents come from `lastlayer bench --out` on boards and `lastlayer-trainer bench --out` on desktops; a platform is
called as its file. OUT gets report.html, which needs nothing beside it, and every plot as PNG.

example: lastlayer-trainer compare odroid.json pc.json --out report
exit codes: 0 done, 2 bad arguments or documents, 5 OUT cannot be written
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "compare",
        options,
        execute,
        usage="lastlayer-trainer compare BENCH.json [BENCH.json …] --out OUT [options]",
        summary="platforms beside each other and beside the study",
        description="Shows what bench measured on several platforms, beside the study's figures: tables and plots.",
        epilog=EPILOG,
    )
    parser.add_argument("documents", type=file, nargs="+", metavar="BENCH.json", help="what bench wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")


def execute(arguments: argparse.Namespace) -> int:
    with extra():
        from trainer.comparing.documents import load
        from trainer.comparing.page import page
        from trainer.comparing.plots import figures

    comparison = load(arguments.documents)
    drawn = figures(comparison)
    report = arguments.out / REPORT
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for name, png in drawn.items():
            write_atomically(arguments.out / f"{name}.png", png)
        write_atomically(report, page(comparison, drawn).encode())
    except OSError as error:
        raise StateError(f"{arguments.out} cannot be written: {error.strerror or error}") from error
    rows = [
        ["", "file to bottleneck"],
        *([each.name, duration(each.bottleneck_ms.mean_ms)] for each in comparison.seeing),
    ]
    epochs = [["", "epoch of 100 classes"]]
    epochs += [[each.platform, duration(each.epoch_ms[100].mean_ms)] for each in comparison.learning]
    payload = {
        "report": str(report),
        "figures": [f"{name}.png" for name in drawn],
        "seeing": [asdict(each) for each in comparison.seeing],
        "learning": [asdict(each) for each in comparison.learning],
    }
    show(arguments, payload, f"{columns(rows)}\n\n{columns(epochs)}\n\n{report}")
    return 0
