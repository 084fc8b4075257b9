"""`lastlayer retrain`: a new head from the examples in the cache. The daemon runs this very command."""

import argparse
import json
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agent.commands.terminal import say, show, state_folder
from agent.errors import TrainingError
from agent.learning.cache import Cache
from agent.learning.headstore import HeadStore, summary
from agent.learning.progress import Progress
from agent.learning.training import Settings, Training, train
from agent.reporting.timing import Timings, table

EXAMPLE = """\
example:  lastlayer --state S retrain
          lastlayer --state S retrain --solver adam --learning-rate 0.01 --epsilon 0.1 --batch 100 --steps 10000

The second is the setting of the 2016 study, and what adam takes where nothing is said. With --json,
progress goes to stderr as JSON lines. The new head is in service at once, in a running daemon too.
"""

_OPTIONS = {  # of Settings, with what --help says
    "learning_rate": "step size of adam and sgd",
    "epsilon": "adam's epsilon",
    "beta1": "decay of adam's mean gradient",
    "beta2": "decay of adam's mean squared gradient",
    "weight_decay": "decoupled weight decay",
    "batch": "examples in a step",
    "steps": "steps in all",
    "validate_every": "steps from one validation to the next",
    "seed": "of all that is random",
}


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    command = commands.add_parser(
        "retrain",
        parents=[options],
        help="make a new head from the cache",
        description="Trains the last layer on the cached examples and puts it into service.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--solver", choices=("auto", "adam", "sgd"), default="auto", help="(default: auto)")
    defaults = {field.name: field.default for field in fields(Settings)}
    for name, text in _OPTIONS.items():
        default = defaults[name]
        command.add_argument(
            "--" + name.replace("_", "-"), type=type(default), default=default, help=f"{text} (default: {default})"
        )
    command.add_argument("--standardise", action="store_true", help="standardise the bottlenecks first (adam, sgd)")
    command.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    names = ("solver", "standardise", *_OPTIONS)
    settings = Settings(**{name: getattr(arguments, name) for name in names})
    folder = state_folder(arguments)
    timings = Timings(node="cli", runtime="numpy")
    with _examples(folder) as cache, _Reporter(arguments.json) as reporter:
        training = train(cache.examples(), settings, timings, reporter.report)
    store = HeadStore(folder / "heads")
    version = store.add(training.head, _report(training))
    with timings.phase("activate"):
        store.activate(version)
    reports = timings.since_start()
    if arguments.json:
        say(json.dumps({"event": "phases", "phases": timings.drain()}))
    report = store.report(version)
    payload = {**summary(report), "reason": training.reason, "phases": [phase.as_dict() for phase in reports]}
    show(arguments, payload, f"{_text(version, training)}\n\n{table(reports)}")
    return 0


def _examples(state: Path) -> Cache:
    folder = state / "cache"
    if not any(folder.glob("*.seg")):
        raise TrainingError(f"{folder} holds no examples: `lastlayer --state {state} learn PICTURES` adds some")
    return Cache.read(folder)


def _report(training: Training) -> dict[str, Any]:
    """What the head store keeps beside a head."""
    made = training.as_dict()
    validation = training.validation
    return {
        **made,
        "created_ms": int(time.time() * 1000),
        "backbone_id": training.head.backbone_id,
        "labels": list(training.head.labels),
        "label_counts": training.label_counts,
        "top1": validation.top1 if validation else None,
        "top5": validation.top5 if validation else None,
    }


def _text(version: str, training: Training) -> str:
    validation = training.validation
    judged = (
        f"validation top-1 {validation.top1:.3f}, top-5 {validation.top5:.3f} on {validation.images} examples"
        if validation
        else "no validation examples to judge it by"
    )
    lines = [
        f"head {version} is in service: {len(training.head.labels)} labels, {training.examples} examples, {judged}",
        f"{training.solver}: {training.reason}",
    ]
    if training.untrained_labels:
        lines.append(f"not in it, for want of examples to train on: {', '.join(training.untrained_labels)}")
    return "\n".join(lines)


class _Reporter:
    """Progress on stderr: JSON lines for a program, a bar for a person at a terminal."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._bar: tqdm[Any] | None = None
        self._stage = ""

    def __enter__(self) -> "_Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def report(self, progress: Progress) -> None:
        if self._as_json:
            print(json.dumps({"event": "progress", **_flat(progress)}), file=sys.stderr, flush=True)
            return
        if progress.stage != self._stage:
            self.__exit__()
            self._stage = progress.stage
            self._bar = tqdm(
                desc=progress.stage, total=progress.steps, file=sys.stderr, disable=not sys.stderr.isatty()
            )
        if self._bar is not None:
            self._bar.update(progress.step - self._bar.n)


def _flat(progress: Progress) -> dict[str, Any]:
    point = asdict(progress.point) if progress.point else {}
    return {**point, "stage": progress.stage, "step": progress.step, "steps": progress.steps}
