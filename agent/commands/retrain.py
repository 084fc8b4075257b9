"""`lastlayer retrain`: a new head from the examples in the cache. The daemon runs this very command."""

import argparse
import json
import logging
import sys
import time
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.board.allocator import give_back_freed, give_back_large_blocks
from agent.cache import Cache, CachedExamples
from agent.commands import SUMMARIES
from agent.commands.arguments import state_folder
from agent.errors import ConfigError, RefusedHeadError, StateError, TrainingError
from agent.learning.heads import gate
from agent.learning.heads.admission import admit
from agent.learning.heads.report import summary
from agent.learning.heads.store import KEEP, HeadStore
from agent.learning.running.control import Control
from agent.learning.solving.head import Form
from agent.learning.training.checkpoint import Checkpoint
from agent.learning.training.examples import Examples
from agent.learning.training.progress import Pace, Phases, Progress
from agent.learning.training.settings import Settings
from agent.learning.training.sums import Statistics
from agent.learning.training.train import Training, train
from agent.reporting.host import written_bytes
from agent.reporting.timing import Timings, table
from agent.terminal import command, say, show

if TYPE_CHECKING:
    from tqdm import tqdm

EXAMPLE = """\
example:  lastlayer --state S retrain
          lastlayer --state S retrain --solver adam --learning-rate 0.01 --epsilon 0.1 --batch 100 --steps 10000

The second is the setting of the 2016 study, and adam's default. With --json, progress goes to stderr as
JSON lines. A head that passes the gate is in service at once, in a running daemon too; one that is worse
than that in service is kept as refused, and the command ends with 8. Ctrl-C ends it; that one stays.
"""

STATISTICS, CHECKPOINT = "statistics", "training"  # files in the state folder, beside the cache

log = logging.getLogger(__name__)

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
    parser = command(
        commands,
        "retrain",
        options,
        execute,
        summary=SUMMARIES["retrain"],
        description="Trains the last layer on the cached examples and puts it into service.",
        epilog=EXAMPLE,
    )
    parser.add_argument("--solver", choices=("auto", "adam", "sgd"), default="auto", help="(default: auto)")
    defaults = {field.name: field.default for field in fields(Settings)}
    for name, text in _OPTIONS.items():
        default = defaults[name]
        parser.add_argument(
            "--" + name.replace("_", "-"), type=type(default), default=default, help=f"{text} (default: {default})"
        )
    parser.add_argument(
        "--margin",
        type=float,
        default=gate.MARGIN,
        help=f"loss of top-1 beyond which, and beyond chance, the head is refused (default: {gate.MARGIN})",
    )
    parser.add_argument("--keep-heads", type=int, default=KEEP, help=f"older ones are deleted (default: {KEEP})")
    # For the daemon: stdin says when to pause, and its end ends the retraining.
    parser.add_argument("--controlled", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--standardise", action="store_true", help="standardise the bottlenecks first (adam, sgd)")


def execute(arguments: argparse.Namespace) -> int:
    try:
        return _retrain(arguments)
    except KeyboardInterrupt:
        say("lastlayer retrain: stopped; the head in service is the one it was")
        return 130


def _retrain(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    give_back_large_blocks()
    folder = state_folder(arguments)
    timings = Timings(node="cli", runtime="numpy")
    control = Control(sys.stdin.fileno()) if arguments.controlled else None
    pace = Pace(lambda: control.paused_s if control else 0.0)
    examples = _examples(folder)
    store = HeadStore(folder / "heads", arguments.keep_heads, Form(examples.backbone_id, examples.size))
    with closing(Reporter(arguments.json, pace)) as reporter:
        statistics = _kept_statistics(folder, examples)
        should_stop = control.should_stop if control else None
        checkpoint = Checkpoint(folder / CHECKPOINT)
        training = train(examples, settings, timings, reporter.report, should_stop, statistics, checkpoint)
        made, phases = _report(training, examples.not_finite), Phases(timings)
        version, verdict = admit(
            training.head, made, store, examples, margin=arguments.margin, seed=settings.seed, phases=phases
        )
        checkpoint.clear()
    _store(statistics, folder)
    _tell(arguments, store.report(version), training, verdict, timings)
    return 0 if verdict.accepted else RefusedHeadError.exit_code


def _settings(arguments: argparse.Namespace) -> Settings:
    if not 0 <= arguments.margin <= 1:
        raise ConfigError(f"margin: must be from 0 to 1, not {arguments.margin}")
    if arguments.keep_heads < 2:
        raise ConfigError(f"keep_heads: must be at least 2, not {arguments.keep_heads}: a rollback needs one more")
    names = ("solver", "standardise", *_OPTIONS)
    return Settings(**{name: getattr(arguments, name) for name in names})


def _examples(state: Path) -> CachedExamples:
    """They stay readable without the cache, which would keep more of each in memory than a training asks for."""
    folder = state / "cache"
    if not any(folder.glob("*.seg")):
        raise TrainingError(f"{folder} holds no examples: `lastlayer --state {state} learn PICTURES` adds some")
    with Cache.read(folder) as cache:
        examples = cache.examples()
    del cache
    give_back_freed()
    return examples


def _kept_statistics(folder: Path, examples: Examples) -> Statistics:
    """Those of earlier retrainings, or none yet."""
    try:
        statistics = Statistics.load(folder / STATISTICS)
    except StateError as error:
        log.warning("%s", error)
        statistics = None
    if statistics is None or not statistics.fits(examples):
        return Statistics(examples.backbone_id, examples.size)
    return statistics


def _store(statistics: Statistics, folder: Path) -> None:
    """The head does not need them: where they cannot be kept it is said, and no more."""
    if statistics.is_worth_storing:
        try:
            statistics.save(folder / STATISTICS)
        except StateError as error:
            log.warning("%s", error)


def _report(training: Training, passed_over: list[str]) -> dict[str, Any]:
    """What the head store keeps beside a head."""
    validation = training.validation
    return {
        **training.as_dict(),
        "created_ms": int(time.time() * 1000),
        "backbone_id": training.head.backbone_id,
        "labels": list(training.head.labels),
        "label_counts": training.label_counts,
        "not_finite": passed_over,
        "top1": validation.top1 if validation else None,
        "top5": validation.top5 if validation else None,
    }


def _tell(
    arguments: argparse.Namespace, report: dict[str, Any], training: Training, verdict: gate.Verdict, timings: Timings
) -> None:
    phases = timings.since_start()
    if arguments.json:
        say(json.dumps({"event": "phases", "phases": timings.drain()}))
    payload = {
        **summary(report),
        "held_back": training.held_back,
        "reason": training.reason,
        "not_finite": report["not_finite"],
        "gate": report["gate"],
        "written_bytes": written_bytes(),
        "phases": [phase.as_dict() for phase in phases],
    }
    show(arguments, payload, f"{_text(report['version'], training, verdict)}\n\n{table(phases)}")


def _text(version: str, training: Training, verdict: gate.Verdict) -> str:
    validation = training.validation
    judged = (
        f"validation top-1 {validation.top1:.3f}, top-5 {validation.top5:.3f} on {validation.images} examples"
        if validation
        else "no validation examples to judge it by"
    )
    state = "is in service" if verdict.accepted else "is REFUSED, the one in service stays"
    lines = [
        f"head {version} {state}: {len(training.head.labels)} labels, {training.examples} examples, {judged}",
        f"{training.solver}: {training.reason}",
        f"gate: {verdict.reason}",
    ]
    for label, figures in verdict.new_labels.items():
        judged = "no validation examples" if figures.recall is None else f"recall {figures.recall:.3f}"
        lines.append(f"new label {label}: {judged}")
    if not verdict.accepted:
        lines.append(f"to use it all the same: lastlayer heads activate {version} --force")
    if training.held_back:
        lines.append(f"{training.held_back} look like examples of val or test: they are held back from training")
    if training.untrained_labels:
        lines.append(f"not in it, for want of examples to train on: {', '.join(training.untrained_labels)}")
    return "\n".join(lines)


class Reporter:
    """Progress on stderr: JSON lines for a program, a bar for each stage for a person at a terminal."""

    def __init__(self, as_json: bool, pace: Pace) -> None:
        self._as_json = as_json
        self._pace = pace
        self._stage = ""
        self._bar: tqdm[Any] | None = None

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def report(self, progress: Progress) -> None:
        if self._as_json:
            where = {"stage": progress.stage, "step": progress.step, "steps": progress.steps}
            point = asdict(progress.point) if progress.point else {}
            line = {"event": "progress", **point, **where, "eta_s": round(self._pace.eta_s(progress), 1)}
            print(json.dumps(line), file=sys.stderr, flush=True)
            return
        if self._bar is None or progress.stage != self._stage:
            from tqdm import tqdm  # not for a program: the retraining of a service goes without it

            self.close()
            self._stage = progress.stage
            self._bar = tqdm(
                desc=progress.stage, total=progress.steps, file=sys.stderr, disable=not sys.stderr.isatty()
            )
        self._bar.update(progress.step - self._bar.n)
