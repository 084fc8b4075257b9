"""`lastlayer-trainer sweep`: several settings of the solver on one cache, side by side."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from agent.board.files import write_atomically
from agent.errors import StateError
from agent.learning.training.settings import STUDY
from agent.reporting.timing import Timings
from agent.terminal import command
from trainer.commands.arguments import extra, folder, positive
from trainer.reporting import reporting, show_with_phases

if TYPE_CHECKING:
    from trainer.sweeping.sweep import Curve, Extent, Setting

EPILOG = """\
A setting is sgd:RATE, adam:RATE or adam:RATE:EPSILON; without --settings, those that the study tried: SGD and Adam
(epsilon 0.1) at 0.01, 0.05, 0.1. All of them learn from the same batches: the examples are read once. OUT gets
sweep.json and the study's figures 8 to 11 as PNG. With several states each gets a folder in OUT.

example: lastlayer-trainer sweep STATE --out OUT
         lastlayer-trainer sweep STATE --out OUT --settings sgd:0.5 adam:0.01 adam:0.001:1e-8 --steps 2000
exit codes: 0 done, 2 bad arguments, 5 a state that cannot be read, 6 nothing to train on, 7 no workers
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "sweep",
        options,
        execute,
        usage="lastlayer-trainer sweep STATE [STATE …] --out OUT [options]",
        summary="compare settings of the solver on a cache",
        description="Trains heads with several settings on the cache of a state, draws their curves, and picks one.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("states", type=folder, nargs="+", metavar="STATE", help="a state folder, such as bottlenecks makes")
    add("--out", type=Path, required=True, help="folder for sweep.json and the figures")
    add("--settings", nargs="+", metavar="SETTING", help="what to try (the study's six)")
    add("--steps", type=positive, default=STUDY.steps, help=f"({STUDY.steps})")
    add("--batch", type=positive, default=STUDY.batch, help=f"examples in a step ({STUDY.batch})")
    add("--validate-every", type=positive, metavar="STEPS", help=f"({STUDY.validate_every}, or a twentieth of --steps)")
    add("--seed", type=int, default=0, help="of the order of the examples (0)")
    add("--threads", type=positive, help="that share out the settings (one for each core)")
    add("--workers", type=positive, help="processes instead, that share out states and settings")
    add("--scheduler", metavar="tcp://…", help="likewise, the workers of a Dask cluster, which see the same files")


def execute(arguments: argparse.Namespace) -> int:
    with extra():
        from trainer.sweeping import choice, sweep
    words = arguments.settings
    settings = tuple(dict.fromkeys(map(sweep.parsed, words))) if words else sweep.GRID
    every = arguments.validate_every or min(STUDY.validate_every, max(1, arguments.steps // 20))
    extent = sweep.Extent(arguments.batch, arguments.steps, every, arguments.seed)
    with reporting(arguments, "numpy") as timings:
        found = _swept(arguments, settings, extent, timings)
    several = len(found) > 1
    documents = []
    for number, (state, curves) in enumerate(found.items()):
        choice_ = choice.choose(curves)
        out = arguments.out / f"{number}-{state.name}" if several else arguments.out
        documents.append(_document(state, curves, extent, choice_.as_dict()) | {"out": str(out)})
        _write(out, documents[-1], curves, choice_.picked)
    payload = documents[0] if not several else {"sweeps": documents}
    show_with_phases(arguments, payload, "\n\n".join(map(_text, documents)), timings)
    return 0


def _swept(
    arguments: argparse.Namespace, settings: "Sequence[Setting]", extent: "Extent", timings: Timings
) -> "dict[Path, list[Curve]]":
    from trainer.sweeping.sweep import cache_of, spread_out, sweep

    caches = {state: cache_of(state) for state in arguments.states}
    found = {}
    spread = arguments.workers or arguments.scheduler
    total = extent.steps * (1 if spread else len(caches))
    with tqdm(total=total, desc="sweep", unit=" steps", disable=True if spread else None) as bar:
        if spread:
            workers = arguments.workers or os.cpu_count() or 1
            return spread_out(caches, settings, extent, timings, workers, arguments.scheduler)
        for state, cache in caches.items():
            found[state] = sweep(cache, settings, extent, timings, bar.update, arguments.threads)
    return found


def _document(state: Path, curves: "Sequence[Curve]", extent: "Extent", choice: dict[str, Any]) -> dict[str, Any]:
    words = next((curve.setting.as_words() for curve in curves if str(curve.setting) == choice["picked"]), None)
    rest = f"--batch {extent.batch} --steps {choice['picked_steps']}"
    return {
        "format": 1,
        "kind": "sweep",
        "state": str(state),
        **asdict(extent),
        "curves": [curve.as_dict() for curve in curves],
        **choice,
        "command": None if words is None else f"lastlayer --state {state} retrain {words} {rest}",
    }


def _write(out: Path, document: dict[str, Any], curves: "Sequence[Curve]", picked: str | None) -> None:
    """sweep.json and the figures. Raises StateError."""
    from trainer.sweeping.plots import draw

    try:
        out.mkdir(parents=True, exist_ok=True)
        document["figures"] = draw(curves, out, Path(document["state"]).name, picked)
        write_atomically(out / "sweep.json", json.dumps(document, ensure_ascii=False, indent=1).encode())
    except OSError as error:
        raise StateError(f"{out} cannot be written: {error.strerror or error}") from error


def _text(document: dict[str, Any]) -> str:
    lines = [f"{document['state']}, {document['steps']:,} steps of {document['batch']} examples:"]
    lines += [f"  {verdict['name']}: {verdict['words']}" for verdict in document["verdicts"]]
    lines.append(document["reason"])
    if document["command"]:
        lines.append(f"a head with it:  {document['command']}")
    lines.append(f"figures: {', '.join(document['figures'])} in {document['out']}")
    return "\n".join(lines)
