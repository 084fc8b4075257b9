"""`lastlayer-trainer evaluate`: top-1 and top-5 of a head on a whole test set."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from agent.board.files import read_bounded
from agent.cache.splits import LearntSplits
from agent.errors import ConfigError, DatasetError, StateError
from agent.learning.pictures.archive import is_archive
from agent.learning.pictures.dataset import Dataset, open_dataset
from agent.learning.pictures.leftout import LeftOut, as_dicts, complaint, lines
from agent.learning.solving.head import Head
from agent.records import SPLITS
from agent.reporting.timing import Timings
from agent.state import generations, tasks
from agent.state.parcels import MAX_PARCEL_BYTES
from agent.state.state import existing_state
from agent.terminal import command, say
from agent.vision.bundle import DEFAULT, Bundle
from agent.vision.importing import import_model
from trainer.commands.arguments import add_workers, check_keras, extra, file, head_in, positive, runtime
from trainer.reporting import reporting, show_with_phases

if TYPE_CHECKING:
    from trainer.bulk.evaluating import Outcome

BATCH = 64  # pictures at once with --keras
NAMED = 20  # labels

EPILOG = """\
The head is the one in service in --state, or --version of its heads, or a file head.npz; the backbone is that of the
state, or --backbone with --head. Pictures of labels that the head does not know are counted apart.

example: lastlayer-trainer evaluate test.csv --state OUT --workers 2
         lastlayer-trainer evaluate gates/ --state STATE --task gate
         lastlayer-trainer evaluate test/ --head heads/3/head.npz --backbone standard
exit codes: 0 done, 2 bad arguments, 3 bad pictures, 4 bad backbone, 5 no such state or head, 7 no workers
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "evaluate",
        options,
        execute,
        usage="lastlayer-trainer evaluate TEST (--state STATE | --head HEAD.npz) [options]",
        summary="top-1 and top-5 of a head on a whole test set",
        description="Measures a head on labelled pictures, on any number of processes: the study's table I.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="TEST", help="class folders, a .zip, a .csv list (file,class[,split]), tar shards")
    add("--state", type=Path, help="a state folder with a head and its backbone")
    add("--task", metavar="NAME", help="of the state's tasks; the pictures are what its views see")
    add("--version", help="of the state's heads (the one in service)")
    add("--head", type=file, metavar="HEAD.npz", help="a head by itself, instead")
    add("--backbone", metavar="NAME", help="for --head: a bundle in models/, a folder, or a .tflite file")
    add(
        "--keras", type=file, metavar="NET.keras", help="the network, where `bottlenecks --keras` computed the examples"
    )
    add("--size", type=positive, metavar="N", help="side of its pictures, if it takes any and was not trained here")
    add("--split", choices=SPLITS, help="only the pictures of this split (all)")
    add_workers(parser)


def execute(arguments: argparse.Namespace) -> int:
    if (arguments.state is None) == (arguments.head is None):
        raise ConfigError("give either --state or --head")
    if arguments.task is not None and arguments.state is None:
        raise ConfigError("--task is of a --state: a head by itself is of none")
    check_keras(arguments)
    state = None if arguments.state is None else tasks.meant(arguments.state, arguments.task)
    with (
        reporting(arguments, runtime(arguments.keras)) as timings,
        _judged(arguments, state) as (name, bundle, head),
        open_dataset(arguments.source) as pictures,
    ):
        outcome = _measured(arguments, state, pictures, bundle, head, timings)
    failed = [LeftOut(one.name, outcome.failed[one.name], one.label) for one in pictures if one.name in outcome.failed]
    left_out, missing = pictures.left_out + failed, pictures.missing(failed)
    for line in lines(left_out):
        say(line)
    if missing:
        say(f"warning: {complaint(missing)}")
    if outcome.evaluation is None:
        raise DatasetError(
            f"{arguments.source} holds no readable pictures of labels that the head knows{_of_split(arguments)}; "
            f"it knows {', '.join(head.labels[:NAMED])}"
        )
    payload = {
        "head": name,
        "backbone": arguments.keras.stem if bundle is None else bundle.name,
        **outcome.evaluation.as_dict(),
        "unknown_labels": outcome.unknown_labels,
        "unknown_images": sum(outcome.unknown_labels.values()),
        "failed": len(failed),
        "left_out": as_dicts(left_out),
        "missing": missing,
    }
    show_with_phases(arguments, payload, f"{outcome.evaluation.heading(name)}\n{_apart(outcome)}", timings)
    return 0


def _measured(
    arguments: argparse.Namespace,
    state: Path | None,
    pictures: Dataset,
    bundle: Bundle | None,
    head: Head,
    timings: Timings,
) -> "Outcome":
    """By workers, or where there is no bundle by --keras."""
    with extra(hushed=bundle is None):
        from trainer.bulk.evaluating import evaluate, evaluate_by_keras
        from trainer.bulk.keras_backbone import KerasBackbone
    chosen = list(pictures)
    if arguments.split:
        learnt = LearntSplits((generations.current(state) if state else Path("nowhere")) / "cache")
        chosen = [picture for picture in pictures if learnt.split(picture) == arguments.split]
    if not chosen:
        raise DatasetError(f"{arguments.source} holds no pictures" + _of_split(arguments))
    with tqdm(total=len(chosen), desc="evaluate", unit=" pictures", disable=None) as bar:
        if bundle is None:
            network = KerasBackbone(arguments.keras, timings, arguments.size)
            return evaluate_by_keras(chosen, network, head, timings, bar.update, batch=BATCH, threads=arguments.workers)
        return evaluate(
            chosen,
            bundle,
            head,
            timings,
            bar.update,
            workers=arguments.workers,
            scheduler=arguments.scheduler,
            in_archive=is_archive(arguments.source),
        )


@contextmanager
def _judged(arguments: argparse.Namespace, state: Path | None) -> Iterator[tuple[str, Bundle | None, Head]]:
    """What the head is called, its backbone if that is none of --keras, and itself."""
    if state is not None:
        version, store = head_in(state, arguments.version)
        folder = generations.current(state)
        if not arguments.keras and not (folder / "backbone").is_dir():
            raise StateError(
                f"{state} has no backbone of its own: where `bottlenecks --keras` made it, name the network "
                f"by --keras; where `collect` did, take --head {folder}/heads/{version}/head.npz with --backbone"
            )
        bundle = None if arguments.keras else existing_state(folder).bundle
        yield version, bundle, store.load(version)
        return
    with tempfile.TemporaryDirectory(prefix="lastlayer-") as scratch:
        try:
            head = Head.from_bytes(read_bounded(arguments.head, MAX_PARCEL_BYTES))
        except OSError as error:
            raise StateError(f"{arguments.head} cannot be read: {error}") from error
        source = arguments.backbone or DEFAULT
        yield str(arguments.head), None if arguments.keras else import_model(source, Path(scratch) / "backbone"), head


def _of_split(arguments: argparse.Namespace) -> str:
    return f" of the split {arguments.split}" if arguments.split else ""


def _apart(outcome: "Outcome") -> str:
    lines = []
    if outcome.unknown_labels:
        pictures, labels = sum(outcome.unknown_labels.values()), len(outcome.unknown_labels)
        some = ", ".join(f"{label} ({count})" for label, count in list(outcome.unknown_labels.items())[:NAMED])
        lines.append(
            f"counted apart: {pictures} pictures of {labels} label{'s' * (labels > 1)} that the head does not know: "
            f"{some}"
        )
    if outcome.failed:
        lines.append(f"{len(outcome.failed)} pictures could not be read")
    return "".join(f"{line}\n" for line in lines)
