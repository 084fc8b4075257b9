"""`lastlayer-trainer bottlenecks`: the bottlenecks of a whole corpus, in the cache of a state."""

import argparse
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from agent.cache import Cache
from agent.errors import ConfigError, DatasetError
from agent.learning.pictures.archive import is_archive
from agent.learning.pictures.dataset import open_dataset
from agent.learning.pictures.labelled import LabelledPicture, check_labels
from agent.learning.pictures.leftout import LeftOut, as_dicts, complaint, lines, refusal
from agent.reporting.timing import Timings
from agent.terminal import command, say, show
from trainer.bulk import scaling
from trainer.bulk.bottlenecks import in_order
from trainer.commands.arguments import add_workers, check_keras, extra, file, positive, runtime
from trainer.reporting import reporting, show_with_phases

if TYPE_CHECKING:
    from trainer.bulk.computing import Computation
    from trainer.bulk.ledger import Ledger

SCALING_PICTURES = 2000
_LOST = "it could not be read, or is there with another label"

EPILOG = """\
It can be ended at any instant (Ctrl-C, kill, a power cut); the same command goes on where it was. What cannot be read
is counted and named in OUT/skipped.csv. OUT is a state: `lastlayer --state OUT retrain` makes a head. What --keras
computes is a family of its own: no board can add to it, or use a head that is made of it.

example: lastlayer-trainer bottlenecks corpus/ --out OUT --workers 2      # corpus/CLASS/*.jpg
         lastlayer-trainer bottlenecks shards/ --out OUT --scheduler tcp://10.0.0.5:8786
         lastlayer-trainer bottlenecks corpus/ --out OUT --scaling        # what more workers would gain
exit codes: 0 done, 2 bad arguments, 3 bad pictures, or none left of a class (--allow-missing: then 0), 4 bad backbone,
            5 OUT cannot be written (disk full), 7 no workers
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "bottlenecks",
        options,
        execute,
        usage="lastlayer-trainer bottlenecks CORPUS --out OUT [options]",
        summary="compute the bottlenecks of a whole corpus",
        description="Computes the bottlenecks of a whole corpus into a cache like that of a board.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add(
        "source",
        type=Path,
        metavar="CORPUS",
        help="class folders, a .zip, a .csv list (file,class[,split]), tar shards",
    )
    add("--out", type=Path, required=True, help="state folder to make, or to go on with")
    add("--backbone", metavar="NAME", help="a bundle in models/, a folder, or a .tflite file (the one that ships)")
    add_workers(parser)
    add("--keras", type=file, metavar="NET.keras", help="compute with Keras, batched, on a GPU if there is one")
    add("--batch", type=positive, default=64, help="pictures at once with --keras (64)")
    add("--allow-missing", action="store_true", help="a class of which no picture is left is no error")
    add("--new-labels", action="store_true", help="labels that are like others are meant")
    add("--size", type=positive, metavar="N", help="side of its pictures, if it takes any and was not trained here")
    add("--scaling", action="store_true", help=f"measure 1, 2, 4… workers on {SCALING_PICTURES} pictures, keep nothing")


def execute(arguments: argparse.Namespace) -> int:
    check_keras(arguments)
    if arguments.keras and arguments.scaling:
        raise ConfigError("--keras stands alone: it takes no --scaling")
    with open_dataset(arguments.source) as found:
        if not found:
            raise DatasetError(f"{arguments.source} holds no pictures")
        if not arguments.new_labels:
            check_labels(found, _known_labels(arguments.out))
        pictures = in_order(found)
        with reporting(arguments, runtime(arguments.keras)) as timings:
            if arguments.scaling:
                return _show_scaling(arguments, pictures, timings)
            payload = _computed(arguments, pictures, timings)
    lost = [LeftOut(one.name, _LOST, one.label) for one in found if one.label not in payload["labels"]]
    missing = found.missing(lost)
    payload |= {"left_out": as_dicts(found.left_out), "missing": missing}
    show_with_phases(arguments, payload, "\n".join([_text(payload), *lines(found.left_out)]), timings)
    if not payload["examples"]:
        raise DatasetError(f"not one picture of {arguments.source} could be read; {payload['skipped']} says why")
    if missing and not arguments.allow_missing:
        raise refusal(missing)
    if missing:
        say(f"warning: {complaint(missing)}")
    return 0


def _known_labels(out: Path) -> Collection[str]:
    """Those of a state that may not be there yet."""
    if not any((out / "cache").glob("*.seg")):
        return ()
    with Cache.read(out / "cache") as cache:
        return cache.label_counts()


def _computed(arguments: argparse.Namespace, pictures: Sequence[LabelledPicture], timings: Timings) -> dict[str, Any]:
    """Compute what is missing; what came of it, fit for JSON."""
    computation, ledger = _compute(arguments, arguments.out, arguments.workers, pictures, timings)
    with Cache.read(arguments.out / "cache") as cache:
        counts, held_back = cache.label_counts(), cache.held_back()
        backbone_id = cache.layout.backbone_id
    account = ledger.account
    return {
        "state": str(arguments.out),
        "family": runtime(arguments.keras),
        "backbone_id": backbone_id,
        "pictures": account.pictures,
        "added": account.added,
        "known": account.known,
        "contradicting": account.contradicting,
        "unreadable": account.unreadable,
        "skipped": str(ledger.skipped),
        "held_back": held_back,
        "examples": sum(counts.values()),
        "labels": counts,
        "scaling": scaling.as_dict([computation.run]) if computation.run and not arguments.keras else None,
    }


def _compute(
    arguments: argparse.Namespace, out: Path, workers: int, pictures: Sequence[LabelledPicture], timings: Timings
) -> "tuple[Computation, Ledger]":
    with extra(hushed=arguments.keras is not None):
        from trainer.bulk.computing import Computation
    with tqdm(total=len(pictures), desc="bottlenecks", unit=" pictures", disable=None) as bar:
        computation = Computation(out, pictures, timings, bar.update)
        if arguments.keras:
            return computation, computation.by_keras(arguments.keras, arguments.size, arguments.batch, workers)
        in_archive = is_archive(arguments.source)
        return computation, computation.on_workers(arguments.backbone, workers, arguments.scheduler, in_archive)


def _show_scaling(arguments: argparse.Namespace, pictures: Sequence[LabelledPicture], timings: Timings) -> int:
    """The first pictures with one worker, two, four…; nothing is kept."""
    counts = [1 << power for power in range(arguments.workers.bit_length())]
    if counts[-1] != arguments.workers:
        counts.append(arguments.workers)
    runs = []
    for count in counts:
        say(f"bottlenecks: {min(len(pictures), SCALING_PICTURES)} pictures, workers: {count}")
        with tempfile.TemporaryDirectory(prefix="lastlayer-", dir=_nearest(arguments.out)) as folder:
            part = pictures[:SCALING_PICTURES]
            computation, _ = _compute(arguments, Path(folder) / "state", count, part, timings)
        if computation.run is None:
            raise DatasetError(f"{arguments.source}: {len(part)} pictures are too few to measure {count} workers with")
        runs.append(computation.run)
    figures = scaling.as_dict(runs)
    show(arguments, figures, scaling.text(figures))
    return 0


def _nearest(folder: Path) -> Path:
    """A folder that is there, on the same disk."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def _text(payload: dict[str, Any]) -> str:
    lines = [
        f"{payload['examples']} examples of {len(payload['labels'])} labels in {payload['state']} "
        f"({payload['family']}, backbone {payload['backbone_id'][:8]})",
        f"of {payload['pictures']} pictures: {payload['added']} added, {payload['known']} there already, "
        f"{payload['contradicting']} there with another label, {payload['unreadable']} not readable",
    ]
    if payload["held_back"]:
        lines.append(f"{payload['held_back']} look like examples of val or test: they are held back from training")
    if payload["contradicting"] or payload["unreadable"]:
        lines.append(f"what was left out, and why: {payload['skipped']}")
    if payload["scaling"]:
        lines += ["", scaling.text(payload["scaling"])]
    return "\n".join(lines)
