"""How good a head is on a whole test set: the study's table I."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from agent.errors import MismatchError
from agent.learning.pictures.labelled import LabelledPicture
from agent.learning.solving.head import Head
from agent.learning.solving.metrics import Evaluation, Tally
from agent.reporting.timing import Stopwatch, Timings
from agent.vision.backbone import Backbone
from agent.vision.bundle import Bundle
from trainer.bulk.bottlenecks import block_for, named, sent
from trainer.bulk.embedding import Embedded, PackedBackbone, unreadable
from trainer.bulk.keras_backbone import KerasBackbone
from trainer.bulk.workers import Workers
from trainer.cluster import connected


@dataclass
class Outcome:
    """Pictures of labels that the head does not know are counted apart: it cannot be right about them."""

    evaluation: Evaluation | None = None  # None where there was no readable picture of a known label
    unknown_labels: dict[str, int] = field(default_factory=dict)  # label → pictures
    failed: dict[str, str] = field(default_factory=dict)  # picture → why it could not be read


class Table:
    """Counts what a head says of bottlenecks."""

    def __init__(self, head: Head, pictures: Sequence[LabelledPicture], timings: Timings) -> None:
        self._head = head
        self._known = set(head.labels)
        self._pictures = iter(pictures)
        self._timings = timings
        self._tally = Tally(head.labels)
        self._counted = 0
        self._outcome = Outcome()

    def take(self, answer: Embedded) -> None:
        """About the next pictures."""
        for phases in answer.phases:
            self._timings.merge(phases)
        rows, labels = [], []
        for place in range(len(answer.frame_ids)):
            picture = next(self._pictures)
            if place in answer.errors:
                self._outcome.failed[picture.name] = answer.errors[place]
            elif picture.label not in self._known:
                counts = self._outcome.unknown_labels
                counts[picture.label] = counts.get(picture.label, 0) + 1
            else:
                rows.append(place)
                labels.append(picture.label)
        if rows:
            with self._timings.phase("evaluate", images=len(rows)):
                self._tally.add(self._head.probabilities(answer.bottlenecks[np.array(rows)]), labels)
            self._counted += len(rows)

    def outcome(self) -> Outcome:
        self._outcome.evaluation = self._tally.evaluation() if self._counted else None
        return self._outcome


def evaluate(
    pictures: Sequence[LabelledPicture],
    bundle: Bundle,
    head: Head,
    timings: Timings,
    on_pictures: Callable[[int], object],
    *,
    workers: int,
    scheduler: str | None,
    in_archive: bool,
) -> Outcome:
    """The head's figures on `pictures`, whose bottlenecks workers compute.

    Raises MismatchError for a head of another backbone, ServiceError.
    """
    backbone = Backbone(bundle)
    _check_same(head, backbone.backbone_id)
    packed = PackedBackbone(bundle, backbone.backbone_id)
    table = Table(head, pictures, timings)
    with connected(workers, scheduler) as client:
        pool = Workers(client, packed, Stopwatch(), partial(unreadable, backbone.size, backbone.dtype))
        block = block_for(len(pictures), sum(client.nthreads().values()))
        blocks = (sent if scheduler is not None or in_archive else named)(pictures, block)
        return _counted(pool.answers(blocks), table, on_pictures)


def evaluate_by_keras(
    pictures: Sequence[LabelledPicture],
    backbone: KerasBackbone,
    head: Head,
    timings: Timings,
    on_pictures: Callable[[int], object],
    *,
    batch: int,
    threads: int,
) -> Outcome:
    """The same of a head that was made of what a Keras model computed. Raises MismatchError."""
    _check_same(head, backbone.backbone_id)
    return _counted(backbone.answers(named(pictures, batch), threads), Table(head, pictures, timings), on_pictures)


def _check_same(head: Head, backbone_id: str) -> None:
    if head.backbone_id != backbone_id:
        raise MismatchError(
            f"the head was made with another backbone or TFLite runtime (id {head.backbone_id[:8]}, this is "
            f"{backbone_id[:8]}): give the backbone that it was made with"
        )


def _counted(answers: Iterable[Embedded], table: Table, on_pictures: Callable[[int], object]) -> Outcome:
    for answer in answers:
        table.take(answer)
        on_pictures(len(answer.frame_ids))
    return table.outcome()
