"""`lastlayer learn`: labelled pictures become examples."""

import argparse
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from agent.cache import Cache
from agent.commands import SUMMARIES
from agent.commands.arguments import add_source, state_folder
from agent.errors import DatasetError, ImageError
from agent.learning.pictures.bursts import Bursts, split_of_group
from agent.learning.pictures.dataset import open_dataset
from agent.learning.pictures.labelled import LabelledPicture
from agent.records import Example, picture_id
from agent.reporting.timing import Timings, table
from agent.state.state import open_state
from agent.terminal import command, progress, say, show
from agent.vision.backbone import FAMILY
from agent.vision.classifier import Classifier

GROUP = 64  # examples that are made durable together

EXAMPLE = """\
example:  lastlayer --state S learn pictures/          # pictures/CLASS/*.jpg, or pictures/train/CLASS and val/CLASS
          lastlayer --state S learn project.zip        # the same in an archive, or a Teachable Machine project
          lastlayer --state S learn split.csv          # columns: file,class[,split]
"""


@dataclass
class Learnt:
    added: int = 0
    known: int = 0  # learnt before, with the same label
    relabelled: int = 0
    failed: int = 0


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "learn",
        options,
        execute,
        summary=SUMMARIES["learn"],
        description="Computes the bottlenecks of labelled pictures and keeps them; known pictures are passed over.",
        epilog=EXAMPLE,
    )
    add_source(parser)


def execute(arguments: argparse.Namespace) -> int:
    with open_dataset(arguments.source) as pictures:
        state = open_state(state_folder(arguments), arguments.backbone, arguments.input_range, arguments.size)
        timings = Timings(node="cli", runtime=FAMILY)
        classifier = Classifier(state.backbone(), timings)
        with state.cache(classifier.backbone) as cache:
            learnt = learn(progress(pictures, "learn"), classifier, cache, timings)
            counts = cache.label_counts()
    payload = {
        **asdict(learnt),
        "examples": sum(counts.values()),
        "labels": counts,
        "phases": [report.as_dict() for report in timings.since_start()],
    }
    text = (
        f"{learnt.added} pictures learnt, {learnt.known} known already, {learnt.relabelled} relabelled, "
        f"{learnt.failed} not readable\n{payload['examples']} examples of {len(counts)} labels in {state.folder}\n\n"
        + table(timings.since_start())
    )
    show(arguments, payload, text)
    if learnt.failed and not (learnt.added or learnt.known or learnt.relabelled):
        raise DatasetError(f"not one picture of {arguments.source} could be read")
    return 0


def learn(pictures: Iterable[LabelledPicture], classifier: Classifier, cache: Cache, timings: Timings) -> Learnt:
    """Add what is new to the cache, GROUP by GROUP. A bad picture is reported and counted, and the rest is learnt."""
    learnt = Learnt()
    group: dict[str, Example] = {}  # by frame id: what is not in the cache yet
    bursts = cache.bursts()
    for picture in pictures:
        try:
            with timings.phase("file_access"):
                payload = picture.read()
            frame_id = picture_id(payload)
            known = group[frame_id].label if frame_id in group else cache.label_of(frame_id)
            if known is None:
                bottleneck, fingerprint = classifier.embed(payload)
                cache.layout.encoded(bottleneck)  # before anything else knows of it
                group[frame_id] = _example(frame_id, picture, bottleneck, fingerprint, bursts)
        except (OSError, ImageError) as error:
            say(f"{picture.name}: not learnt: {error}")
            learnt.failed += 1
            continue
        if known is None:
            learnt.added += 1
        elif known == picture.label:
            learnt.known += 1
        else:
            _append(cache, group, timings)  # the example may still be in the group
            cache.relabel(frame_id, picture.label)
            learnt.relabelled += 1
        if len(group) >= GROUP:
            _append(cache, group, timings)
    _append(cache, group, timings)
    return learnt


def _example(
    frame_id: str, picture: LabelledPicture, bottleneck: NDArray[Any], fingerprint: int, bursts: Bursts
) -> Example:
    """What nobody named a split for falls on the side of the pictures that look the same."""
    stamp = int(time.time() * 1000)
    group = bursts.join("", picture.label, stamp, fingerprint)
    split, said = picture.split or split_of_group(group), picture.split is not None
    return Example(frame_id, picture.label, bottleneck, stamp, split=split, split_said=said, group=group)


def _append(cache: Cache, group: dict[str, Example], timings: Timings) -> None:
    if group:
        with timings.phase("cache_append", images=len(group)):
            cache.append(list(group.values()))
        group.clear()
