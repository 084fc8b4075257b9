"""A document of the bench as text, beside the study's figures, and as a file."""

import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.board.files import write_atomically
from agent.errors import ConfigError
from agent.measuring import study
from agent.measuring.study import Spread

_MIN_MS, _HOUR_MS = 60_000.0, 3_600_000.0
_DAYS_FROM_H = 144  # below, hours say more
_UNITS = (  # name, in ms, used below so many ms
    ("µs", 1e-3, 1.0),
    ("ms", 1.0, 1e3),
    ("s", 1e3, 2 * _MIN_MS),
    ("min", _MIN_MS, 2 * _HOUR_MS),
    ("h", _HOUR_MS, math.inf),
)
_WIDTH = 118

Row = list[str]


def duration(ms: float, std_ms: float | None = None) -> str:
    """Three digits in a unit that suits, such as "840 µs", "8.31 ± 0.20 ms" or "56.0 h"; from six days on "6 d 9 h"."""
    if ms >= _DAYS_FROM_H * _HOUR_MS:
        return hours(ms / _HOUR_MS)
    unit, unit_ms = next((unit, unit_ms) for unit, unit_ms, below_ms in _UNITS if ms < below_ms)
    value = ms / unit_ms
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    spread = f" ± {std_ms / unit_ms:.{digits}f}" if std_ms is not None else ""
    return f"{value:.{digits}f}{spread} {unit}"


def hours(h: float) -> str:
    """Such as "15.3 h"; from six days on "6 d 9 h"."""
    if h < _DAYS_FROM_H:
        return f"{h:g} h"
    days, rest = divmod(round(h), 24)
    return f"{days} d {rest} h"


def minutes(spread: Spread) -> str:
    """Such as "8.57 ± 0.57 min"."""
    return f"{spread.mean_min:g} ± {spread.std_min:g} min"


def text(document: Mapping[str, Any]) -> str:
    """The whole document for a person: what was measured on, the table, and what must be known to read it."""
    return "\n\n".join(("\n".join(_heading(document)), _table(_rows(document)), "\n".join(_notes(document))))


def _heading(document: Mapping[str, Any]) -> list[str]:
    machine, pictures = document["platform"], document["pictures"]
    threads = machine["blas_threads"] or machine["cores"]
    return [
        f"machine   {machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.1f} GiB, "
        f"{machine['machine']}, {machine['os']}, load {machine['load']:.1f}",
        f"software  Python {machine['python']}, numpy {machine['numpy']} ({machine['blas']}, threads: {threads}), "
        f"{machine['runtime']} {machine['runtime_version']}",
        *map(_named, document["networks"]),
        f"pictures  {pictures['count']} from {pictures['folder']}, {pictures['mean_bytes'] / 1000:.0f} kB on average",
        f"cache     {document['cache']['file_system']}, {document['cache']['examples']:,} random examples",
    ]


def _named(network: Mapping[str, Any]) -> str:
    return (
        f"network   {network['name']}: {network['width']} x {network['height']} px, {network['size']} values of "
        f"{network['dtype']}, {network['device']}, {network['runtime']}, threads: {network['threads'] or 'its own'}"
    )


def measurement(part: Mapping[str, Any], phase: str, **conditions: Any) -> Mapping[str, Any]:
    """Of a document, or of one of its networks. Raises StopIteration where it was not measured."""
    found: Iterator[Mapping[str, Any]] = (
        m for m in part["measurements"] if m["phase"] == phase and conditions.items() <= m["conditions"].items()
    )
    return next(found)


def projection(part: Mapping[str, Any], phase: str, classes: int) -> Mapping[str, Any]:
    """Likewise."""
    found: Iterator[Mapping[str, Any]] = (
        p for p in part["projections"] if (p["phase"], p["classes"]) == (phase, classes)
    )
    return next(found)


def _measured(label: str, found: Mapping[str, Any], columns: Iterable[str] = ("", "", "")) -> Row:
    spread = duration(found["mean_ms"], found["std_ms"] if found["n"] > 1 else None)
    each = duration(found["mean_ms"] / found["images"]) if found["images"] > 1 else ""
    return [f"  {label}", spread, each, str(found["n"]), *columns]


def _projected(found: Mapping[str, Any], columns: Iterable[str]) -> Row:
    mark = "~ " if found["extrapolated"] else ""
    each = duration(found["mean_ms"] / found["images"])
    n = str(found["n"] or "")
    return [f"  {found['classes']} classes", mark + duration(found["mean_ms"], found["std_ms"]), each, n, *columns]


def _rows(document: Mapping[str, Any]) -> list[Row]:
    networks = document["networks"]
    rows: list[Row] = []
    for network in networks:
        rows += _rows_of_network(network, f" by {network['name']}, {network['device']}" if len(networks) > 1 else "")
    return rows + _rows_of_learning(document)


def _rows_of_network(network: Mapping[str, Any], by: str) -> list[Row]:
    columns = study.COLUMNS
    below = [f"below {study.READING_BELOW_MS} ms"] * len(columns)
    batched = [m for m in network["measurements"] if m["phase"] == "bottleneck" and "batch" in m["conditions"]]
    return [
        [f"one picture{by}"],
        _measured("read its file", measurement(network, "file_access"), below),
        _measured("decode", measurement(network, "decode")),
        _measured("backbone", measurement(network, "bottleneck")),
        *(_measured(f"backbone, {m['images']} at once", m) for m in batched),
        _measured(
            "from file to bottleneck",
            measurement(network, "picture_to_bottleneck"),
            [f"{column.bottleneck_s:g} s" for column in columns],
        ),
        [f"bottlenecks of {study.IMAGES_A_CLASS} pictures a class{by}"],
        *(
            _projected(
                projection(network, "picture_to_bottleneck", classes),
                [hours(column.corpus_h[classes]) for column in columns],
            )
            for classes in study.CLASSES
        ),
        [f"one picture tested, 1000 classes{by}"],
        _measured("session run", measurement(network, "session_run")),
        _measured("result processing", measurement(network, "result_processing")),
        _measured("from file to JSON", measurement(network, "picture_to_result"), [column.test for column in columns]),
    ]


def _rows_of_learning(document: Mapping[str, Any]) -> list[Row]:
    return [
        ["examples from the cache"],
        *(_measured(f"batch of {n}", measurement(document, "file_access", batch=n)) for n in study.BATCHES),
        [f"training step, {study.CLASSES[0]} classes"],
        *(_measured(f"batch of {n}", measurement(document, "training", batch=n)) for n in study.BATCHES),
        ["validation, top-1 and top-5"],
        *(_measured(f"{k} classes", measurement(document, "validation", classes=k)) for k in study.CLASSES),
        [f"epoch of {study.IMAGES_A_CLASS} pictures a class"],
        *(
            _projected(projection(document, "epoch", k), [minutes(column.epoch[k]) for column in study.COLUMNS])
            for k in study.CLASSES
        ),
    ]


def _table(rows: list[Row]) -> str:
    heading = ["", "here: mean ± std", "an image", "n", *(column.name for column in study.COLUMNS)]
    full = [row for row in (heading, *rows) if len(row) > 1]  # the others are titles
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    lines = []
    for row in (heading, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    study_at = sum(widths[:4]) + 8
    return "\n".join([" " * study_at + "the study, 2016:", *lines])


def _notes(document: Mapping[str, Any]) -> list[str]:
    networks, machine = document["networks"], document["platform"]
    names = ", ".join(f"{network['name']} ({network['width']} x {network['height']} px)" for network in networks)
    epochs = [p for p in document["projections"] if p["phase"] == "epoch"]
    parts = ", ".join(f"{phase.replace('_', ' ')} {duration(ms)}" for phase, ms in epochs[0]["parts_ms"].items())
    notes = [
        f"Not the same work: on a picture the study ran Inception v3 (float, 299 x 299 px), here it is {names}. "
        f"The last layer is alike: {study.SIZE} values, Adam, batch {study.BATCH}.",
        f"Examples: the study read text files of 18 kB, about {study.FILE_ACCESS_MS} ms an image; here they are uint8 "
        "in a cache that was just written, so the page cache was warm and no wait for flash is in these figures.",
        f"Epoch of {epochs[0]['classes']} classes: {parts}; a validation of {document['cache']['validation']:,} "
        f"examples every {study.VALIDATE_EVERY} batches.",
        "~ extrapolated: the bottlenecks from the mean of one picture, "
        f"the epochs from {epochs[-1]['from_images']:,} examples and the validations above.",
    ]
    if document["quick"]:
        notes.append("Quick: few repetitions, and no epoch was run as a whole.")
    if machine["blas_threads"] is None and machine["cores"] > 1:
        notes.append(
            "numpy took all cores; the daemon retrains on one, as does OPENBLAS_NUM_THREADS=1 lastlayer bench."
        )
    if machine["load"] > machine["cores"] / 2:
        notes.append(f"The machine was busy (load {machine['load']:.1f}): left alone, it is faster than this.")
    return [textwrap.fill(note, _WIDTH, subsequent_indent="  ") for note in notes]


def write(path: Path, document: dict[str, Any]) -> None:
    """A document as a file. Raises ConfigError."""
    try:
        write_atomically(path, json.dumps(document, ensure_ascii=False, indent=1).encode())
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written: {error.strerror}") from error
