"""`lastlayer learn`: labelled pictures become examples."""

import argparse
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from numpy.typing import NDArray

from agent.cache import Cache
from agent.commands import SUMMARIES
from agent.commands.arguments import add_source, add_view, cut_of, state_root
from agent.errors import DatasetError, ImageError
from agent.learning.pictures.bursts import Bursts, split_of_group
from agent.learning.pictures.dataset import open_dataset
from agent.learning.pictures.labelled import LabelledPicture, check_labels
from agent.learning.pictures.leftout import LINES, LeftOut, as_dicts, complaint, lines, refusal
from agent.records import Example, example_id, picture_id
from agent.region import Cut
from agent.reporting.timing import Timings, table
from agent.state import generations, tasks
from agent.state.state import State, open_state
from agent.terminal import command, progress, say, show
from agent.vision.backbone import FAMILY
from agent.vision.classifier import Classifier

GROUP = 64  # examples that are made durable together

EXAMPLE = """\
example:  lastlayer --state S learn pictures/          # pictures/CLASS/*.jpg, or pictures/train/CLASS and val/CLASS
          lastlayer --state S learn project.zip        # the same in an archive, or a Teachable Machine project
          lastlayer --state S learn split.csv          # columns: file,class[,split]
          lastlayer --state S --task gate learn frames/ --view yard --config lastlayer.yaml    # out of whole frames

What is left out is counted by class and reason. exit codes: 0 done · 3 nothing could be read, or no picture is left of
a class, though the others were learnt (--allow-missing: then 0) · 2, 4, 5 as of all commands
"""


@dataclass
class Learnt:
    added: int = 0
    known: int = 0  # learnt before, with the same label
    relabelled: int = 0
    contradicting: int = 0  # that stand in the source twice, with two labels: the first one counts
    moved: int = 0  # learnt before, and now in val or test, as the source says
    failed: int = 0
    left_out: list[LeftOut] = field(default_factory=list)  # those that failed or contradict

    def leave_out(self, picture: LabelledPicture, words: str, reason: str) -> None:
        """The first LINES are said as they come."""
        if len(self.left_out) < LINES:
            say(f"{picture.name}: {words}")
        self.left_out.append(LeftOut(picture.name, reason, picture.label))


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
    add_view(parser)
    parser.add_argument("--allow-missing", action="store_true", help="a class of which no picture is left is no error")
    parser.add_argument("--new-labels", action="store_true", help="labels that are like others are meant")
    parser.add_argument("--new-task", action="store_true", help="a task whose name is like another's is meant")


def execute(arguments: argparse.Namespace) -> int:
    cut = cut_of(arguments)
    with open_dataset(arguments.source) as pictures:
        state = _opened(arguments)
        timings = Timings(node="cli", runtime=FAMILY)
        classifier = Classifier(state.backbone(), timings)
        with state.cache(classifier.backbone) as cache:
            if not arguments.new_labels:
                check_labels(pictures, cache.label_counts())
            learnt = learn(progress(pictures, "learn"), classifier, cache, timings, cut)
            counts, held_back = cache.label_counts(), cache.held_back()
    left_out = pictures.left_out + learnt.left_out
    missing = pictures.missing(learnt.left_out)
    payload = {
        **asdict(learnt),
        "held_back": held_back,
        "left_out": as_dicts(left_out),
        "missing": missing,
        "examples": sum(counts.values()),
        "labels": counts,
        "phases": [report.as_dict() for report in timings.since_start()],
    }
    text = (
        f"{learnt.added} pictures learnt, {learnt.known} known already, {learnt.relabelled} relabelled, "
        f"{learnt.failed} not readable\n"
        + _of_seen_before(learnt, held_back)
        + f"{payload['examples']} examples of {len(counts)} labels in {state.folder}\n"
        + "".join(f"{line}\n" for line in lines(left_out))
        + f"\n{table(timings.since_start())}"
    )
    show(arguments, payload, text)
    if learnt.failed and not (learnt.added or learnt.known or learnt.relabelled):
        raise DatasetError(f"not one picture of {arguments.source} could be read")
    if missing and not arguments.allow_missing:
        raise refusal(missing)
    if missing:
        say(f"warning: {complaint(missing)}")
    return 0


def _opened(arguments: argparse.Namespace) -> State:
    """The state of the task that is meant, which may begin with this."""
    state, task = state_root(arguments), arguments.task
    root = tasks.meant_to_learn(state, task, new=arguments.new_task)
    begins = task is not None and task not in tasks.names(state)
    opened = open_state(generations.current(root), arguments.backbone, arguments.input_range, arguments.size)
    if begins:
        say(f"new task {task} in {root}")
    return opened


def _of_seen_before(learnt: Learnt, held_back: int) -> str:
    """Lines about what was seen before, where there is something to say."""
    said = {
        "stand there twice with two labels: the first one counts": learnt.contradicting,
        "were learnt before and are in val or test now": learnt.moved,
        "examples look like pictures of val or test: they are held back from training": held_back,
    }
    return "".join(f"{count} {what}\n" for what, count in said.items() if count)


def learn(
    pictures: Iterable[LabelledPicture], classifier: Classifier, cache: Cache, timings: Timings, cut: Cut
) -> Learnt:
    """Add what is cut out of them to the cache where it is new, GROUP by GROUP. A bad picture is reported and counted,
    and the rest is learnt.

    Of a picture that comes with two labels the first one counts, so that it does not change at every learning.
    """
    learnt = Learnt()
    first: dict[str, LabelledPicture] = {}  # by frame id: where it came first
    group: dict[str, Example] = {}  # by frame id: what is not in the cache yet
    bursts = cache.bursts()
    for picture in pictures:
        try:
            with timings.phase("file_access"):
                payload = picture.read()
            frame_id = example_id(picture_id(payload), cut)
            before = first.setdefault(frame_id, picture)
            if before.label != picture.label:
                wrong = f"not learnt as {picture.label!r}: it is {before.label!r} in {before.name}"
                learnt.leave_out(picture, wrong, "the same picture came before, with another label")
                learnt.contradicting += 1
                continue
            known = group[frame_id].label if frame_id in group else cache.label_of(frame_id)
            moves = before is picture and cache.goes_aside(frame_id, picture.split)
            if known is None or moves:
                bottleneck, fingerprint = classifier.embed(payload, cut)
                cache.layout.encoded(bottleneck)  # before anything else knows of it
                group[frame_id] = _example(frame_id, picture, bottleneck, fingerprint, bursts)
        except (OSError, ImageError) as error:
            learnt.leave_out(picture, f"not learnt: {error}", str(error))
            learnt.failed += 1
            continue
        if known is None:
            learnt.added += 1
        elif known == picture.label:
            learnt.known += 1
        else:
            if learnt.relabelled < LINES:
                say(f"{picture.name}: {picture.label!r} from now on, {known!r} before")
            if not moves:
                cache.relabel(frame_id, picture.label)
            learnt.relabelled += 1
        learnt.moved += moves
        if len(group) >= GROUP:
            _append(cache, group, timings)
    _append(cache, group, timings)
    return learnt


def _example(
    frame_id: str, picture: LabelledPicture, bottleneck: NDArray[Any], fingerprint: int, bursts: Bursts
) -> Example:
    """What nobody named a split for falls on the side of the pictures that look the same."""
    stamp = int(time.time() * 1000)
    group = bursts.join("", picture.label, stamp, fingerprint, picture.split)
    split, said = picture.split or split_of_group(group), picture.split is not None
    return Example(frame_id, picture.label, bottleneck, stamp, split=split, split_said=said, group=group)


def _append(cache: Cache, group: dict[str, Example], timings: Timings) -> None:
    if group:
        with timings.phase("cache_append", images=len(group)):
            cache.append(list(group.values()))
        group.clear()
