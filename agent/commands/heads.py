"""`lastlayer heads`: the heads that were made, and which of them is in service."""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from agent.board.files import read_bounded, write_atomically
from agent.commands import SUMMARIES
from agent.commands.arguments import state_folder
from agent.commands.plots import curves_png, curves_text
from agent.errors import LastlayerError, ParcelError, RefusedHeadError, StateError
from agent.learning.heads.gate import MARGIN
from agent.learning.heads.store import HeadStore
from agent.reporting.timing import Timings
from agent.state.arrivals import take_head
from agent.state.parcels import MAX_PARCEL_BYTES, SentHead, memory_for, pack_head, unpack_head
from agent.state.state import heads_of
from agent.terminal import columns, command, say, show, speaks_utf_8

EXAMPLE = """\
example:  lastlayer --state S heads
          lastlayer --state S heads show 2 --plot curves.png
          lastlayer --state S heads rollback
          lastlayer --state S heads activate 2
          lastlayer --state S heads pack --out cups.parcel; lastlayer --state T heads take cups.parcel

A head that the gate refused goes into service with `activate --force` alone. A running daemon follows in a second.
"""

MAX_LABELS = 50  # in a table for a person


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "heads",
        options,
        execute,
        summary=SUMMARIES["heads"],
        description="Lists the heads, newest last, shows all that is known of one, or changes which one is in service.",
        epilog=EXAMPLE,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    activate = actions.add_parser("activate", parents=[options], help="put a head into service")
    activate.add_argument("version")
    activate.add_argument("--force", action="store_true", help="even one that the gate refused")
    actions.add_parser("rollback", parents=[options], help="return to the head that was in service before")
    details = actions.add_parser("show", parents=[options], help="all that is known of a head, and its curves")
    details.add_argument("version", nargs="?", help="(default: the one in service)")
    details.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves into this file too")
    packing = actions.add_parser("pack", parents=[options], help="pack a head for another board with the same backbone")
    packing.add_argument("version", nargs="?", help="(default: the one in service)")
    packing.add_argument("--out", type=Path, required=True, metavar="FILE.parcel")
    taking = actions.add_parser("take", parents=[options], help="take a packed head in, by the gate")
    taking.add_argument("parcel", type=Path)
    taking.add_argument("--margin", type=float, default=MARGIN, help=f"of the gate (default: {MARGIN})")


def execute(arguments: argparse.Namespace) -> int:
    folder = state_folder(arguments)
    store = HeadStore(folder / "heads")
    if arguments.action == "activate":
        heads_of(folder).activate(arguments.version, force=arguments.force)
        show(arguments, {"active": arguments.version}, f"head {arguments.version} is in service")
    elif arguments.action == "rollback":
        version = heads_of(folder).rollback()
        said = "the head cannot serve, and none was before it: none is in service now"
        show(arguments, {"active": version}, f"head {version} is in service again" if version is not None else said)
    elif arguments.action == "show":
        _show(arguments, store)
    elif arguments.action == "pack":
        _pack(arguments, store)
    elif arguments.action == "take":
        return _take(arguments)
    else:
        return _list(arguments, folder)
    return 0


def _list(arguments: argparse.Namespace, folder: Path) -> int:
    active, reports, error = HeadStore(folder / "heads").listing()
    if active is not None and error is None:
        try:
            heads_of(folder).load_for_service(active)
        except LastlayerError as trouble:
            error = str(trouble)
    known = {"active": active, "heads": reports, **({"error": error} if error else {})}
    show(arguments, known, _text(active, reports))
    if error:
        say(f"lastlayer heads: {error}")
    return StateError.exit_code if error else 0


def _asked_for(arguments: argparse.Namespace, store: HeadStore) -> str:
    version: str | None = arguments.version or store.active()
    if version is None:
        raise StateError("no head is in service: `lastlayer retrain` makes one")
    return version


def _pack(arguments: argparse.Namespace, store: HeadStore) -> None:
    version = _asked_for(arguments, store)
    _write(arguments.out, pack_head(SentHead(store.load(version), store.report(version))))
    show(arguments, {"version": version, "parcel": str(arguments.out)}, f"head {version} is in {arguments.out}")


def _write(path: Path, payload: bytes) -> None:
    try:
        write_atomically(path, payload)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror or error}") from error


def _take(arguments: argparse.Namespace) -> int:
    try:
        parcel = read_bounded(arguments.parcel, MAX_PARCEL_BYTES)
    except OSError as error:
        raise ParcelError(f"{arguments.parcel} cannot be read: {error.strerror}") from error
    timings = Timings(node="cli", runtime="numpy")
    with memory_for(parcel):
        version, verdict = take_head(state_folder(arguments), unpack_head(parcel), arguments.margin, timings)
    said = "is in service" if verdict.accepted else "is REFUSED, the one in service stays"
    payload = {"version": version, "accepted": verdict.accepted, "reason": verdict.reason}
    show(arguments, payload, f"head {version} {said}: {verdict.reason}")
    return 0 if verdict.accepted else RefusedHeadError.exit_code


def _show(arguments: argparse.Namespace, store: HeadStore) -> None:
    version = _asked_for(arguments, store)
    report = store.report(version)
    if arguments.plot:
        _write(arguments.plot, curves_png(report))
        say(f"the curves are in {arguments.plot}")
    text = details(report, store.active() == version, shutil.get_terminal_size().columns, speaks_utf_8())
    show(arguments, report, text)


def details(report: dict[str, Any], in_service: bool, width: int, blocks: bool) -> str:
    """All that a person wants to know of a head, with its curves in `width` columns."""
    gate = report.get("gate")
    validation = report.get("validation") or {}
    rows = [
        [f"head {report['version']}", "in service" if in_service else "not in service"],
        ["made", _time(report.get("created_ms"))],
        ["solver", f"{report.get('solver')}: {report.get('reason')}"],
        ["settings", ", ".join(f"{name} {value}" for name, value in (report.get("settings") or {}).items())],
        ["examples", f"{report.get('examples')} of {len(report.get('labels') or ())} labels"],
        ["gate", "not judged" if not gate else f"{'passed' if gate['accepted'] else 'REFUSED'}: {gate['reason']}"],
    ]
    if validation:
        scores = [f"{name} {validation[key]:.3f}" for key, name in _SCORES]
        rows.append(["validation", f"{', '.join(scores)} on {validation['images']} examples"])
    text = "\n".join(f"{name:<11} {value}" for name, value in rows)
    text += f"\n\n{_labels(report, validation)}"
    if report.get("candidates"):
        text += f"\n\n{_candidates(report['candidates'])}"
    return f"{text}\n\n{curves_text(report, width, blocks)}"


_SCORES = (("top1", "top-1"), ("top5", "top-5"), ("macro_recall", "macro recall"), ("ece", "calibration error"))


def _labels(report: dict[str, Any], validation: dict[str, Any]) -> str:
    rows = [["label", "examples", "validation", "recall", "precision"]]
    per_class = validation.get("per_class") or {}
    labels = report.get("labels") or []
    for label in labels[:MAX_LABELS]:
        figures = per_class.get(label, {})
        counts = [str((report.get("label_counts") or {}).get(label, "-")), str(figures.get("count", "-"))]
        rows.append([label, *counts, _score(figures.get("recall")), _score(figures.get("precision"))])
    more = f"\nand {len(labels) - MAX_LABELS} more: --json tells all" if len(labels) > MAX_LABELS else ""
    return columns(rows) + more


def _candidates(candidates: list[dict[str, Any]]) -> str:
    rows = [["compared", "top-1", "loss"]]
    for candidate in candidates:
        rows.append([_recipe(candidate["recipe"]), _score(candidate["top1"]), _score(candidate["loss"])])
    return columns(rows)


def _recipe(recipe: Any) -> str:
    if not isinstance(recipe, dict):
        return str(recipe)
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in recipe.items() if value).removeprefix(
        "solver "
    )


def _text(active: str | None, reports: list[dict[str, Any]]) -> str:
    if not reports:
        return "no heads yet: `lastlayer retrain` makes one"
    rows = [["", "version", "made", "labels", "examples", "solver", "validation top-1", "gate"]]
    for report in reports:
        rows.append(
            [
                "*" if report["version"] == active else "",
                report["version"],
                _time(report["created_ms"]),
                "-" if report["labels"] is None else str(len(report["labels"])),
                "-" if report["examples"] is None else str(report["examples"]),
                report["solver"] or "the report is damaged",
                _score(report["top1"]),
                {True: "passed", False: "refused", None: "-"}[report["accepted"]],
            ]
        )
    return columns(rows) + "\n* in service"


def _time(ms: int | None) -> str:
    try:
        return "-" if ms is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))
    except (OverflowError, ValueError, OSError):  # on 32 bits after 2038
        return f"{ms} ms"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
