"""How commands are registered and how they speak: results on stdout, progress on stderr.

tqdm is imported where it is needed: the service shows no bar, and would start later and carry 2 MB for it.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import agent

T = TypeVar("T")


def program(name: str, *, description: str, epilog: str) -> argparse.ArgumentParser:
    """The parser of a whole program, which knows its version. `epilog` is shown as it is written."""
    parser = argparse.ArgumentParser(
        prog=name, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"{name} {agent.__version__}")
    return parser


def command(
    commands: Any,
    name: str,
    options: argparse.ArgumentParser,
    execute: Callable[[argparse.Namespace], int] | None,
    *,
    summary: str,
    description: str,
    epilog: str,
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """Register a command among `commands`; its parser, for what it takes beside the `options` that all commands take.

    `execute` gives the exit code; it is None where each of the command's actions has its own. `summary` stands in the
    list of commands, `epilog` is shown as it is written.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        parents=[options],
        usage=usage,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if execute is not None:
        parser.set_defaults(execute=execute)
    return parser


def show(arguments: argparse.Namespace, payload: Any, text: str) -> None:
    """A result on stdout: JSON where --json was given, text for a person otherwise."""
    write(as_json(payload, indent=1) if arguments.json else text)


def as_json(payload: Any, indent: int | None = None) -> str:
    """For stdout: in ASCII where that is not in UTF-8, since `write` knows no escapes of JSON. What is no finite number
    is null: JSON has no other word for it."""
    return json.dumps(_of_numbers(payload), ensure_ascii=not speaks_utf_8(), allow_nan=False, indent=indent)


def _of_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _of_numbers(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_of_numbers(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(text: str) -> None:
    """A line on stdout, whose encoding may lack some of it: that is escaped, as on stderr."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def speaks_utf_8() -> bool:
    """Whether stdout takes every character."""
    return (sys.stdout.encoding or "ascii").lower().replace("-", "") == "utf8"


def say(text: str) -> None:
    """A word on stderr, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def progress(items: Sequence[T], what: str) -> Iterable[T]:
    """The items, with a bar on stderr if that is a terminal."""
    from tqdm import tqdm

    bar: Iterable[T] = tqdm(items, desc=what, unit=" pictures", file=sys.stderr, disable=not sys.stderr.isatty())
    return bar


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in aligned columns; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
