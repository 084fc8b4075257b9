"""Columns of the comparison: each network on each platform, and the three machines of the study.

Times are in ms, all of them means; None where a platform did not measure something.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.board.files import read_bounded
from agent.errors import ConfigError
from agent.measuring import study
from agent.measuring.bench import FORMAT
from agent.measuring.report import measurement, projection
from agent.records import MAX_LABEL_BYTES

MAX_BYTES = 16 << 20  # of a document
MAX_NETWORKS = 100
MAX_MS = 1e15  # thirty thousand years, and beyond any count
MAX_STAMP_MS = 253_402_300_799_999  # the end of the year 9999

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
    for document, path in zip(documents, paths, strict=True):
        with _complaining(path):
            _check_heading(document)
    titles = _titles(documents)
    seeing, learning = [_of_study(column) for column in study.COLUMNS], [_learning_of_study(c) for c in study.COLUMNS]
    for document, title, path in zip(documents, titles, paths, strict=True):
        document["title"] = title
        with _complaining(path):
            seeing += [_seeing(title, network) for network in document["networks"]]
            learning.append(_learning(title, document))
    return Comparison(seeing, learning, documents)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_bounded(path, MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("kind") != "bench":
        raise ConfigError(f"{path} is no document of `lastlayer bench` or `lastlayer-trainer bench`")
    if document.get("format") != FORMAT:
        raise ConfigError(
            f"{path} has format {document.get('format')!r:.40}, this version reads {FORMAT}: measure again"
        )
    return document | {"file": path.name}


@contextmanager
def _complaining(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError, StopIteration, ValueError) as error:
        raise ConfigError(f"{path} lacks something that a bench measures ({error!r:.200}): measure again") from error


def _check_heading(document: Mapping[str, Any]) -> None:
    """What the page shows of a document as it is."""
    machine = document["platform"]
    for text in (machine["cpu"], machine["os"], machine["machine"], document["cache"]["file_system"]):
        _text(text)
    for text in (machine["runtime"], machine["runtime_version"]):
        _text(str(text))
    for number in (machine["cores"], machine["memory_bytes"], machine["load"]):
        _number(number)
    _number(document["created_ms"], most=MAX_STAMP_MS)
    if not isinstance(document["quick"], bool) or len(document["networks"]) > MAX_NETWORKS:
        raise ValueError(f"quick is true or false, and networks are {MAX_NETWORKS} at most")


def _text(text: Any) -> str:
    if not isinstance(text, str) or not text.isprintable() or len(text) > MAX_LABEL_BYTES:
        raise ValueError(f"{text!r:.60} where a line of text should be")
    return text


def _number(number: Any, least: float = 0, most: float = MAX_MS) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not least <= number <= most:
        raise ValueError(f"{number!r:.60} where a number from {least:g} to {most:g} should be")
    return number


def _spread(found: Mapping[str, Any], extrapolated: bool = False) -> Spread:
    std_ms = found["std_ms"]
    return Spread(_number(found["mean_ms"]), None if std_ms is None else _number(std_ms), extrapolated)


def _each_ms(found: Mapping[str, Any]) -> float:
    return _number(found["mean_ms"]) / _number(found["images"], least=1)


def _titles(documents: Sequence[dict[str, Any]]) -> list[str]:
    """The files' names, which people choose; with the processor where two are the same."""
    stems = [Path(document["file"]).stem for document in documents]
    return [
        stem if stems.count(stem) == 1 else f"{stem} ({document['platform']['cpu']}, {number})"
        for number, (stem, document) in enumerate(zip(stems, documents, strict=True), 1)
    ]


def _seeing(title: str, network: dict[str, Any]) -> Seeing:
    def found(phase: str) -> Spread:
        return _spread(measurement(network, phase))

    batched = [m for m in network["measurements"] if m["phase"] == "bottleneck" and "batch" in m["conditions"]]
    return Seeing(
        title,
        _text(network["name"]),
        _text(network["device"]),
        found("file_access"),
        found("picture_to_bottleneck"),
        {k: _projected(projection(network, "picture_to_bottleneck", k)) for k in study.CLASSES},
        found("session_run"),
        found("result_processing"),
        found("picture_to_result"),
        batched_ms=Spread(_each_ms(batched[0])) if batched else None,
    )


def _learning(title: str, document: dict[str, Any]) -> Learning:
    epochs = {k: projection(document, "epoch", k) for k in study.CLASSES}
    read = measurement(document, "file_access", batch=study.BATCH)
    return Learning(
        title,
        {k: _projected(epoch) for k, epoch in epochs.items()},
        {k: {_text(phase): _number(ms) for phase, ms in epoch["parts_ms"].items()} for k, epoch in epochs.items()},
        _each_ms(read),
    )


def _projected(found: Mapping[str, Any]) -> Spread:
    return _spread(found, bool(found["extrapolated"]))


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
