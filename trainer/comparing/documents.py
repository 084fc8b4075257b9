"""Columns of the comparison: each network on each platform, and the three machines of the study.

Times are in ms, all of them means; None where a platform did not measure something.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.measuring import study
from agent.measuring.bench import FORMAT
from agent.measuring.report import measurement, projection

_MIN_MS, _H_MS = 60_000.0, 3_600_000.0


@dataclass(frozen=True)
class Spread:
    mean_ms: float
    std_ms: float | None = None
    extrapolated: bool = False


@dataclass(frozen=True)
class Seeing:
    """A network on a platform: figures 12 and 13, and table III."""

    platform: str
    network: str
    device: str
    file_ms: Spread | None  # reading a picture's file
    bottleneck_ms: Spread  # from file to bottleneck
    corpus_ms: dict[int, Spread]  # classes → the bottlenecks of all their pictures
    session_run_ms: Spread | None = None
    result_processing_ms: Spread | None = None
    test_ms: Spread | None = None  # from file to JSON
    test_words: str = ""  # where the study gives words alone
    batched_ms: Spread | None = None  # the network alone, a picture of a batch
    of_study: bool = False

    @property
    def name(self) -> str:
        return f"{self.platform}: {self.network}" + (f" on {self.device}" if self.device != "cpu" else "")


@dataclass(frozen=True)
class Learning:
    """The last layer on a platform: figure 14 and table II."""

    platform: str
    epoch_ms: dict[int, Spread]  # classes → an epoch of 1000 pictures a class
    parts_ms: dict[int, dict[str, float]] = field(default_factory=dict)  # classes → phase → of the epoch
    example_ms: float | None = None  # file access for one, in batches of 100
    of_study: bool = False


@dataclass(frozen=True)
class Comparison:
    seeing: list[Seeing]  # the study's come first
    learning: list[Learning]
    documents: list[dict[str, Any]]  # as they were read, with "title"


def load(paths: Sequence[Path]) -> Comparison:
    """Raises ConfigError for a file that `bench` did not write."""
    documents = [_read(path) for path in paths]
    titles = _titles(documents)
    seeing, learning = [_of_study(column) for column in study.COLUMNS], [_learning_of_study(c) for c in study.COLUMNS]
    for document, title, path in zip(documents, titles, paths, strict=True):
        document["title"] = title
        try:
            seeing += [_seeing(title, network) for network in document["networks"]]
            learning.append(_learning(title, document))
        except (KeyError, TypeError, StopIteration) as error:
            raise ConfigError(f"{path} lacks something that a bench measures ({error!r}): measure again") from error
    return Comparison(seeing, learning, documents)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("kind") != "bench":
        raise ConfigError(f"{path} is no document of `lastlayer bench` or `lastlayer-trainer bench`")
    if document.get("format") != FORMAT:
        raise ConfigError(f"{path} has format {document.get('format')!r}, this version reads {FORMAT}: measure again")
    return document | {"file": path.name}


def _titles(documents: Sequence[dict[str, Any]]) -> list[str]:
    """The files' names, which people choose; with the processor where two are the same."""
    stems = [Path(document["file"]).stem for document in documents]
    return [
        stem if stems.count(stem) == 1 else f"{stem} ({document['platform']['cpu']}, {number})"
        for number, (stem, document) in enumerate(zip(stems, documents, strict=True), 1)
    ]


def _seeing(title: str, network: dict[str, Any]) -> Seeing:
    def found(phase: str) -> Spread:
        of_phase = measurement(network, phase)
        return Spread(of_phase["mean_ms"], of_phase["std_ms"])

    batched = [m for m in network["measurements"] if m["phase"] == "bottleneck" and "batch" in m["conditions"]]
    return Seeing(
        title,
        network["name"],
        network["device"],
        found("file_access"),
        found("picture_to_bottleneck"),
        {k: _projected(projection(network, "picture_to_bottleneck", k)) for k in study.CLASSES},
        found("session_run"),
        found("result_processing"),
        found("picture_to_result"),
        batched_ms=Spread(batched[0]["mean_ms"] / batched[0]["images"]) if batched else None,
    )


def _learning(title: str, document: dict[str, Any]) -> Learning:
    epochs = {k: projection(document, "epoch", k) for k in study.CLASSES}
    read = measurement(document, "file_access", batch=study.BATCH)
    return Learning(
        title,
        {k: _projected(epoch) for k, epoch in epochs.items()},
        {k: dict(epoch["parts_ms"]) for k, epoch in epochs.items()},
        read["mean_ms"] / read["images"],
    )


def _projected(found: Mapping[str, Any]) -> Spread:
    return Spread(found["mean_ms"], found["std_ms"], found["extrapolated"])


def _of_study(column: study.Column) -> Seeing:
    return Seeing(
        f"study, {column.name}",
        "Inception v3",
        "gpu" if "GPU" in column.name else "cpu",
        None,
        Spread(column.bottleneck_s * 1000),
        {k: Spread(h * _H_MS, None, True) for k, h in column.corpus_h.items()},
        test_words=column.test,
        of_study=True,
    )


def _learning_of_study(column: study.Column) -> Learning:
    epochs = {k: Spread(spread.mean_min * _MIN_MS, spread.std_min * _MIN_MS) for k, spread in column.epoch.items()}
    return Learning(f"study, {column.name}", epochs, of_study=True)
