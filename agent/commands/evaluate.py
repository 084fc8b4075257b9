"""`lastlayer evaluate`: how good the head in service is on labelled pictures."""

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np

from agent.cache.splits import LearntSplits
from agent.commands import SUMMARIES
from agent.commands.arguments import add_source, add_view, cut_of, state_folder
from agent.errors import DatasetError, ImageError, StateError
from agent.learning.pictures.dataset import open_dataset
from agent.learning.pictures.labelled import LabelledPicture
from agent.learning.pictures.leftout import LINES, LeftOut, as_dicts, complaint, lines
from agent.learning.solving.head import Head
from agent.learning.solving.metrics import Evaluation, Tally
from agent.records import SPLITS
from agent.region import Cut
from agent.reporting.timing import Timings, table
from agent.state.state import existing_state
from agent.terminal import columns, command, progress, say, show
from agent.vision.backbone import FAMILY
from agent.vision.classifier import Classifier

EXAMPLE = """\
example:  lastlayer --state S evaluate split.csv --split val --json
          lastlayer --state S --task gate evaluate frames/ --view yard --config lastlayer.yaml

The JSON holds top1, top5, macro_recall, ece, per_class, confusion, images, failed, left_out, missing and phases.
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "evaluate",
        options,
        execute,
        summary=SUMMARIES["evaluate"],
        description="Classifies labelled pictures and counts how often the head in service is right.",
        epilog=EXAMPLE,
    )
    add_source(parser, "as for learn: ")
    add_view(parser)
    parser.add_argument("--split", choices=SPLITS, help="only the pictures of this split (default: all)")


def execute(arguments: argparse.Namespace) -> int:
    cut = cut_of(arguments)
    state = existing_state(state_folder(arguments), arguments.backbone, arguments.input_range, arguments.size)
    version = state.heads.active()
    if version is None:
        raise StateError(f"{state.folder} has no head yet: `lastlayer --state {state.folder} retrain` makes one")
    timings = Timings(node="cli", runtime=FAMILY)
    classifier = Classifier(state.backbone(), timings)
    head = state.heads.load(version)
    classifier.put_into_service(version, head)
    with open_dataset(arguments.source) as pictures:
        chosen = list(pictures)
        if arguments.split:
            learnt = LearntSplits(state.folder / "cache", cut)
            chosen = [picture for picture in pictures if learnt.split(picture) == arguments.split]
        evaluation, failed = evaluate(progress(chosen, "evaluate"), classifier, head, timings, cut)
    left_out, missing = pictures.left_out + failed, pictures.missing(failed)
    if evaluation is None:
        of_split = f" of the split {arguments.split}" if arguments.split else ""
        raise DatasetError(f"{arguments.source} holds no readable pictures{of_split}")
    reports = timings.since_start()
    payload = {
        "head": version,
        **evaluation.as_dict(),
        "failed": len(failed),
        "left_out": as_dicts(left_out),
        "missing": missing,
        "phases": [report.as_dict() for report in reports],
    }
    text = "".join(f"{line}\n" for line in lines(left_out))
    show(arguments, payload, f"{_text(version, evaluation)}\n{text}\n{table(reports)}")
    if missing:
        say(f"warning: {complaint(missing)}")
    return 0


def evaluate(
    pictures: Iterable[LabelledPicture], classifier: Classifier, head: Head, timings: Timings, cut: Cut
) -> tuple[Evaluation | None, list[LeftOut]]:
    """The figures of `head` on what is cut out of them, None where none could be read, and those that could not."""
    tally, images, failed = Tally(head.labels), 0, list[LeftOut]()
    with timings.phase("evaluate"):
        for picture in pictures:
            try:
                with timings.phase("file_access"):
                    payload = picture.read()
                bottleneck, _ = classifier.embed(payload, cut)
            except (OSError, ImageError) as error:
                if len(failed) < LINES:
                    say(f"{picture.name}: not evaluated: {error}")
                failed.append(LeftOut(picture.name, str(error), picture.label))
                continue
            tally.add(head.probabilities(bottleneck)[np.newaxis], [picture.label])
            images += 1
    return (tally.evaluation() if images else None), failed


def _text(version: str, evaluation: Evaluation) -> str:
    rows = [["label", "images", "recall", "precision"]]
    for label, figures in evaluation.per_class.items():
        rows.append(
            [
                label,
                str(figures.count),
                *(f"{x:.3f}" if x is not None else "-" for x in (figures.recall, figures.precision)),
            ]
        )
    return f"{evaluation.heading(version)}\n\n{columns(rows)}"
