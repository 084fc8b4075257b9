"""`lastlayer cache`: what is in the cache, whether it is intact, and how to change it by hand."""

import argparse
from pathlib import Path
from typing import Any

from agent.cache import Cache
from agent.cache.checking import check
from agent.cache.flash.wear import years
from agent.commands import SUMMARIES
from agent.commands.arguments import add_view, cut_of, state_folder
from agent.errors import StateError, UnknownFrameError
from agent.learning.pictures.spelling import check_spelling
from agent.records import SPLITS, checked_label, checked_name, example_id
from agent.terminal import columns, command, show

EXAMPLE = """\
example:  lastlayer --state S cache stats --endurance-tbw 20
          lastlayer --state S cache check              # exit code 5 if something is rotten
          lastlayer --state S cache rename glas glass  # merges, if there is a label glass already
          lastlayer --state S cache delete --label blurred

`stats` and `check` may be asked while a daemon runs; what changes the cache needs it stopped.
"""


def register(commands: Any, options: argparse.ArgumentParser) -> None:
    parser = command(
        commands,
        "cache",
        options,
        None,
        summary=SUMMARIES["cache"],
        description="Shows what is in the cache, reads all of it for faults, and changes it by hand.",
        epilog=EXAMPLE,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    stats = actions.add_parser("stats", parents=[options], help="examples, bytes, and how long a card lasts")
    stats.add_argument("--endurance-tbw", type=float, metavar="TB", help="what the card can be written, by its maker")
    stats.set_defaults(execute=show_stats)
    checking = actions.add_parser("check", parents=[options], help="read everything and name what is rotten")
    checking.set_defaults(execute=show_check)
    delete = actions.add_parser("delete", parents=[options], help="remove examples")
    what = delete.add_mutually_exclusive_group(required=True)
    what.add_argument("--label", help="all of this label")
    what.add_argument("--frame", metavar="ID", help="the one of this frame, or of this example")
    add_view(delete)
    delete.set_defaults(execute=execute_delete)
    rename = actions.add_parser("rename", parents=[options], help="call a label something else, or merge two")
    rename.add_argument("label")
    rename.add_argument("new")
    rename.add_argument("--new-labels", action="store_true", help="NEW is meant, however like another label it is")
    rename.set_defaults(execute=execute_rename)
    compacting = actions.add_parser("compact", parents=[options], help="do now what else is done in the background")
    compacting.set_defaults(execute=execute_compact)


def _folder(arguments: argparse.Namespace) -> Path:
    return state_folder(arguments) / "cache"


def show_stats(arguments: argparse.Namespace) -> int:
    with Cache.read(_folder(arguments)) as cache:
        counts, status, held_back = cache.split_counts(), cache.status(), cache.held_back()
    per_day = status["written_per_day_bytes"]
    endurance = arguments.endurance_tbw
    payload = {
        "examples": sum(sum(of_label.values()) for of_label in counts.values()),
        "labels": counts,
        "held_back": held_back,
        **{key: value for key, value in status.items() if key not in ("max_bytes", "written_since_start_bytes")},
        "years": years(endurance, per_day),
    }
    show(arguments, payload, _text(payload, endurance))
    return 0


def _text(payload: dict[str, Any], endurance: float | None) -> str:
    labels = payload["labels"]
    rows = [["label", *SPLITS]] + [[name, *(str(counts[split]) for split in SPLITS)] for name, counts in labels.items()]
    lines = [
        columns(rows),
        "",
        f"{payload['examples']} examples of {len(labels)} labels in {payload['segments']} segments, "
        f"{payload['bytes'] / 1e6:.1f} MB; {payload['evicted']} evicted so far",
        f"written to flash: {payload['written_bytes'] / 1e6:.1f} MB in all, "
        f"{payload['written_today_bytes'] / 1e6:.1f} MB today, {payload['written_per_day_bytes'] / 1e6:.1f} MB a day",
    ]
    if payload["held_back"]:
        lines.append(f"{payload['held_back']} look like examples of val or test: they are held back from training")
    if payload["years"] is not None:
        lines.append(f"a card of {endurance:g} TBW lasts {payload['years']:,.0f} years at that, if nothing else writes")
    elif endurance is None:
        lines.append("--endurance-tbw TB tells how long the card will last")
    if payload["torn"] or payload["rotten"]:
        lines.append("something is torn or rotten: `lastlayer cache check` names it")
    return "\n".join(lines)


def show_check(arguments: argparse.Namespace) -> int:
    folder = _folder(arguments)
    if not any(folder.glob("*.seg")):
        raise StateError(f"{folder} holds no examples yet")
    faults = check(folder)
    text = "\n".join(map(str, faults)) or f"{folder} is intact"
    show(arguments, {"faults": [fault.as_dict() for fault in faults]}, text)
    if faults:
        raise StateError(
            f"{len(faults)} faults in {folder}; what is rotten is skipped, and goes when it is compacted; what is not "
            "finite is passed over, and `lastlayer cache delete --frame ID` removes it"
        )
    return 0


def execute_delete(arguments: argparse.Namespace) -> int:
    cut = cut_of(arguments)
    with Cache.existing(_folder(arguments)) as cache:
        if arguments.label is not None:
            count = cache.delete_label(checked_name(arguments.label, "label"))
        else:
            frame = arguments.frame.lower()
            count = cache.delete([example_id(frame, cut)]) if _is_frame_id(frame) else 0
            if not count:
                raise UnknownFrameError(f"no example has the frame id {arguments.frame}")
    show(arguments, {"deleted": count}, f"{count} examples deleted")
    return 0


def execute_rename(arguments: argparse.Namespace) -> int:
    old, new = checked_name(arguments.label, "label"), checked_label(arguments.new)
    with Cache.existing(_folder(arguments)) as cache:
        if not arguments.new_labels:
            check_spelling(new, cache.label_counts().keys() - {old}, "say --new-labels")
        count = cache.rename_label(old, new)
    show(arguments, {"renamed": count}, f"{count} examples are {new} now")
    return 0


def execute_compact(arguments: argparse.Namespace) -> int:
    with Cache.existing(_folder(arguments)) as cache:
        while cache.compact():
            pass
        status = cache.status()
    show(arguments, {"compactions": status["compactions"]}, f"{status['compactions']} compactions")
    return 0


def _is_frame_id(text: str) -> bool:
    return len(text) == 16 and all(c in "0123456789abcdef" for c in text)
