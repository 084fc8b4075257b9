"""The report: one HTML file that needs nothing beside it."""

import base64
import html
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.measuring import study
from agent.measuring.report import duration
from trainer.comparing.documents import Comparison, Learning, Seeing, Spread

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 0.9rem; margin: 0.8rem 0; display: block; overflow-x: auto; }
th, td { text-align: right; padding: 0.25rem 0.7rem; border-bottom: 1px solid #eee; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #999; }
tr.study td { color: #777; }
table.wide td { white-space: normal; text-align: left; }
img { max-width: 100%; height: auto; } p.note { color: #555; font-size: 0.9rem; }
"""


def page(comparison: Comparison, figures: Mapping[str, bytes]) -> str:
    """The whole report."""
    body = "\n".join(
        _section(title, table, [figures[name] for name in names], note)
        for title, table, names, note in _sections(comparison)
    )
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Lastlayer: platforms compared</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n'
        f"<h1>Platforms beside the 2016 study</h1>\n<p>{_escaped(_names(comparison))}, beside the three machines of "
        "Dąbrowski, Gromada and Michalik, <em>A practical study of neural network-based image classification model "
        f"trained with transfer learning method</em>. Made {made}.</p>\n{body}\n</html>\n"
    )


def _sections(comparison: Comparison) -> list[tuple[str, str, tuple[str, ...], str]]:
    """Title, table, names of the figures, and a note, of each."""
    return [
        ("The platforms", _platforms(comparison.documents), (), ""),
        (
            "One bottleneck",
            _bottlenecks(comparison.seeing),
            ("fig12_bottleneck",),
            "The study's figure 12: from a picture's file to its bottleneck, mean of 50 pictures. It ran Inception v3 "
            "in floating point at 299 x 299 pixels; compare it with a row of the same network. Networks that see fewer "
            "pixels do less work.",
        ),
        (
            "The bottlenecks of a corpus",
            _corpora(comparison.seeing),
            ("fig13_corpora",),
            f"Figure 13: {study.IMAGES_A_CLASS} pictures a class, one after the other, from the mean of one picture.",
        ),
        (
            "An epoch of the last layer",
            _epochs(comparison.learning),
            ("fig14_epochs", "fig14_epoch_parts"),
            f"Figure 14 and table II: mean and standard deviation over epochs run as a whole; ~ marks what is "
            f"extrapolated from a part. Batches of {study.BATCH}, a validation every {study.VALIDATE_EVERY} batches, "
            f"bottlenecks of {study.SIZE} values. The study read an example in about {study.FILE_ACCESS_MS} ms.",
        ),
        (
            "One picture tested",
            _tested(comparison.seeing),
            ("table3_test",),
            "Table III: the run of the network with its last layer of 1000 classes, and what is done with the result.",
        ),
    ]


def _names(comparison: Comparison) -> str:
    return ", ".join(document["title"] for document in comparison.documents)


def _section(title: str, table: str, pngs: Iterable[bytes], note: str) -> str:
    images = "\n".join(
        f'<img alt="{_escaped(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">' for png in pngs
    )
    words = f'<p class="note">{_escaped(note)}</p>' if note else ""
    return f"<h2>{_escaped(title)}</h2>\n{words}\n{table}\n{images}"


def _platforms(documents: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for document in documents:
        machine = document["platform"]
        busy = machine["load"] > machine["cores"] / 2
        rows.append(
            [
                document["title"],
                machine["cpu"],
                f"{machine['cores']}",
                f"{machine['memory_bytes'] / 2**30:.1f} GiB",
                f"{machine['os']}, {machine['machine']}",
                f"{machine['runtime']} {machine['runtime_version']}",
                document["cache"]["file_system"],
                time.strftime("%Y-%m-%d", time.gmtime(document["created_ms"] / 1000))
                + (", quick" if document["quick"] else "")
                + (f", busy (load {machine['load']:.1f})" if busy else ""),
            ]
        )
    return _table(
        ["platform", "processor", "cores", "memory", "system", "TFLite", "cache on", "measured"], rows, [], "wide"
    )


def _bottlenecks(columns: Sequence[Seeing]) -> str:
    below = f"below {study.READING_BELOW_MS} ms"
    rows = [
        [
            column.name,
            below if column.of_study else _said(column.file_ms),
            _said(column.bottleneck_ms),
            _said(column.batched_ms),
        ]
        for column in columns
    ]
    return _table(["", "reading the file", "file to bottleneck", "network, in batches"], rows, _greyed(columns))


def _corpora(columns: Sequence[Seeing]) -> str:
    rows = [[column.name, *(_said(column.corpus_ms[k]) for k in study.CLASSES)] for column in columns]
    return _table(["", *(f"{k} classes" for k in study.CLASSES)], rows, _greyed(columns))


def _epochs(columns: Sequence[Learning]) -> str:
    first = study.CLASSES[0]
    parts = ("file_access", "training", "validation")
    rows = []
    for column in columns:
        of_first = column.parts_ms.get(first, {})
        rows.append(
            [
                column.platform,
                *(_said(column.epoch_ms[k]) for k in study.CLASSES),
                *(duration(of_first[part]) if part in of_first else "" for part in parts),
            ]
        )
    heading = ["", *(f"{k} classes" for k in study.CLASSES), *(f"{part.replace('_', ' ')}, {first}" for part in parts)]
    return _table(heading, rows, _greyed(columns))


def _tested(columns: Sequence[Seeing]) -> str:
    rows = [
        [
            column.name,
            _said(column.session_run_ms),
            _said(column.result_processing_ms),
            column.test_words or _said(column.test_ms),
        ]
        for column in columns
    ]
    return _table(["", "session run", "result processing", "file to answer"], rows, _greyed(columns))


def _greyed(columns: Sequence[Seeing | Learning]) -> list[int]:
    return [number for number, column in enumerate(columns) if column.of_study]


def _said(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return ("~ " if spread.extrapolated else "") + duration(spread.mean_ms, spread.std_ms)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]], greyed: Sequence[int], kind: str = "") -> str:
    head = "".join(f"<th>{_escaped(cell)}</th>" for cell in heading)
    lines = []
    for number, row in enumerate(rows):
        cells = "".join(f"<td>{_escaped(cell)}</td>" for cell in row)
        lines.append(f'<tr class="study">{cells}</tr>' if number in greyed else f"<tr>{cells}</tr>")
    body = "".join(lines)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _escaped(text: str) -> str:
    return html.escape(text)
