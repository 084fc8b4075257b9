"""What is said of an export: figures as JSON, and one HTML file that needs nothing beside it."""

import base64
import html as markup
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from agent.reporting.timing import TimingReport, table
from agent.vision.backbone import FAMILY
from trainer.exporting.sampling import Sample
from trainer.exporting.transfer import Transfer
from trainer.exporting.verification import GOOD_COSINE, Parity, Verified

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .75rem; border-bottom: 1px solid #ddd; }
th { text-align: left; } th + th, td.number { text-align: right; } td.number { font-variant-numeric: tabular-nums; }
.good { background: #e7f5ea; padding: .75rem 1rem; } .off { background: #fdecea; padding: .25rem 1rem; }
img { max-width: 100%; } pre { background: #f5f5f5; padding: 1rem; overflow-x: auto; font-size: 13px; }
"""
_COLOURS = {"ai_edge_litert": "#0a6ebd", "tflite_runtime": "#d4700a"}


@dataclass(frozen=True)
class Exported:
    """What was made, and what is to be said of it."""

    manifest: dict[str, Any]
    verified: Verified
    transfers: list[Transfer]
    warnings: list[str]
    model_bytes: int
    sample: Sample

    def as_dict(self, out: Path) -> dict[str, Any]:
        return {
            "bundle": str(out),
            "model_bytes": self.model_bytes,
            "bottleneck": self.manifest["bottleneck"]["size"],
            "cut": self.manifest["cut"],
            "family": FAMILY,
            **self.manifest["figures"],  # of the runtime that is installed here
            "runtimes": {parity.family: parity.as_dict() for parity in self.verified.parities},
            "unchecked": self.verified.unchecked,
            "warnings": self.warnings,
            "unreadable": self.sample.unreadable,
        }


def html(exported: Exported, name: str, phases: Iterable[TimingReport]) -> str:
    verified, manifest = exported.verified, exported.manifest
    parts = [
        f"<h1>{_text(name)}</h1>",
        _verdict(exported.warnings),
        _table(("", "", ""), _facts(manifest, exported.model_bytes)),
        "<h2>The bundle beside the float network</h2>",
        f"<p>{len(verified.exact)} pictures that it was not calibrated on, and canaries: synthetic ones, the same "
        "everywhere.</p>",
        _table(
            ("runtime", "pictures", "cosine, mean", "least", "of canaries, least", "one invoke, ms"),
            _runtimes(verified),
        ),
        *(f"<p>Not checked in {_text(family)}: {_text(why)}</p>" for family, why in verified.unchecked.items()),
        _image(_parity_plot(verified), "cosines, and the bundle's values against the float network's"),
        *_transfers(exported),
        "<h2>Operators</h2>",
        _table(("operator", "version"), sorted(manifest["op_versions"].items())),
        f"<h2>Phases</h2><pre>{_text(table(phases))}</pre>",
    ]
    head = f'<meta charset="utf-8"><title>{_text(name)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _verdict(warnings: Sequence[str]) -> str:
    if not warnings:
        return '<p class="good">Nothing is off.</p>'
    return f'<div class="off">{"".join(f"<p>{_text(warning)}</p>" for warning in warnings)}</div>'


def _facts(manifest: dict[str, Any], model_bytes: int) -> list[tuple[str, str]]:
    shape, bottleneck = manifest["input"], manifest["bottleneck"]
    return [
        ("made from", ", ".join(f"{key} {value}" for key, value in manifest["made_from"].items())),
        ("cut at", manifest["cut"]),
        ("input", f"{shape['width']} x {shape['height']} RGB, values {shape['range'][0]} to {shape['range'][1]}"),
        ("bottleneck", f"{bottleneck['size']} values, {bottleneck['dtype']}"),
        ("quantization", manifest["quantization"]),
        ("size", f"{model_bytes / 1e6:.2f} MB"),
    ]


def _runtimes(verified: Verified) -> list[tuple[str, ...]]:
    return [
        (
            parity.family,
            str(len(parity.cosines)),
            f"{parity.cosines.mean():.4f}",
            f"{parity.cosines.min():.4f}",
            f"{parity.canary_cosine:.4f}",
            f"{parity.invoke_ms:.2f}",
        )
        for parity in verified.parities
    ]


def _transfers(exported: Exported) -> list[str]:
    if not exported.transfers:
        return []
    rows = [
        (one.name, one.images, f"{one.float_top1:.3f}", f"{one.bundle_top1:.3f}", f"{one.change:+.3f}")
        for one in exported.transfers
    ]
    return [
        "<h2>Top-1 of heads</h2><p>One head is trained on the float bottlenecks, another on the bundle's; both are "
        "judged on val pictures.</p>",
        _table(("set", "val pictures", "float", "bundle", "change"), rows),
    ]


def _parity_plot(verified: Verified) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    lowest = min(float(parity.cosines.min()) for parity in verified.parities)
    bins = np.linspace(min(lowest, GOOD_COSINE) - 0.002, 1.0, 41).tolist()
    for parity in verified.parities:
        colour = _COLOURS.get(parity.family)
        left.hist(parity.cosines, bins=bins, alpha=0.6, color=colour, label=parity.family)
    left.axvline(GOOD_COSINE, color="#888", linestyle="--", linewidth=1, label=f"{GOOD_COSINE}: good for int8")
    left.set(xlabel="cosine with the float network", ylabel="pictures")
    left.legend(loc="upper left")
    _scatter(right, verified, verified.parities[0])
    return figure


def _scatter(axes: Any, verified: Verified, parity: Parity) -> None:
    """A sample of all values, the bundle's against the float network's."""
    rough = parity.answer.bottlenecks[: len(parity.cosines)]
    chosen = np.random.default_rng(0).choice(rough.size, min(rough.size, 4000), replace=False)
    exact, rough = verified.exact[: len(parity.cosines)].ravel()[chosen], rough.ravel()[chosen]
    axes.scatter(exact, rough, s=3, alpha=0.3, color=_COLOURS.get(parity.family), rasterized=True)
    low, high = float(exact.min()), float(exact.max())
    axes.plot([low, high], [low, high], color="#888", linewidth=1, linestyle="--")
    axes.set(xlabel="float network", ylabel=parity.family, title="single values of the bottleneck")


def _image(figure: Figure, alt: str) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return f'<img alt="{_text(alt)}" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _table(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    body = "".join(f"<tr>{''.join(_cell(n, value) for n, value in enumerate(row))}</tr>" for row in rows)
    top = "".join(f"<th>{_text(cell)}</th>" for cell in heading)
    return f"<table>{f'<tr>{top}</tr>' if any(heading) else ''}{body}</table>"


def _cell(column: int, value: Any) -> str:
    number = column and str(value).lstrip("+-").replace(".", "", 1).isdigit()
    return f"<td{' class=number' if number else ''}>{_text(value)}</td>"


def _text(value: Any) -> str:
    return markup.escape(str(value))
