"""Lists: a .csv or .tsv with a column for the file, one for the class and, if you like, one for the split.

Files are relative to the list. It is read as spreadsheets write it: whatever parts its columns, whatever it is encoded
in, however the name of a file is spelt. What can be understood in two ways is refused, by its line.
"""

import codecs
import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from agent.board.files import read_bounded
from agent.errors import DatasetError
from agent.learning.pictures.labelled import LabelledPicture, label_of, split_named
from agent.records import MAX_PICTURE_BYTES, Split

MAX_LIST_BYTES = 256 << 20  # some million lines

_DELIMITERS = (",", ";", "\t")
_SAID = re.compile(r'"?sep=([^\w\s"]|\t)"?\s*', re.IGNORECASE)  # a first line, which Excel reads and writes
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_NUL = "\udc00"  # stands for a zero byte while csv has the line, which in Python 3.10 refuses one

# What has no meaning in Windows-1252, or is a letter in UTF-8 and an unlikely pair of signs there.
_NOT_IN_1252 = re.compile(
    rb"[\x81\x8D\x8F\x90\x9D]|[\xC2-\xDF][\x80-\xBF]|[\xE0-\xEF][\x80-\xBF]{2}|[\xF0-\xF4][\x80-\xBF]{3}"
)

_Column = Literal["file", "class", "split"]
_COLUMNS: dict[str, _Column] = {  # by what people call them, in small letters and without what parts words
    **dict.fromkeys(("file", "filename", "filepath", "filepaths", "path", "picture"), "file"),
    **dict.fromkeys(("image", "imagefile", "imagename", "imagepath"), "file"),
    **dict.fromkeys(("class", "classname", "label", "labels", "labelname", "category", "target"), "class"),
    **dict.fromkeys(("split", "set", "subset", "partition", "dataset"), "split"),
}


class _Row(NamedTuple):
    line: int  # in which it begins, from 1
    fields: list[str]  # without blanks around them


class _Heading(NamedTuple):
    line: int
    names: list[str]
    places: dict[_Column, list[int]]  # of the columns that are called so


def is_list(source: Path) -> bool:
    """Whether it is called a list."""
    return source.suffix.lower() in (".csv", ".tsv")


def pictures_in(source: Path) -> Iterator[LabelledPicture]:
    """What a list names, at least one picture. Raises DatasetError that says the line."""
    try:
        content = read_bounded(source, MAX_LIST_BYTES)
        heading, rows = _begun(source, content, _encoding(source, content))
        row = None
        for row in rows:
            yield _listed(source, row, heading)
        if row is None:
            raise _refused(source, heading.line, "no picture is named behind the heading")
    except (OSError, UnicodeError) as error:
        raise DatasetError(f"{source} cannot be read as a list: {error}") from error


def _refused(source: Path, line: int, why: str) -> DatasetError:
    return DatasetError(f"{source}, line {line}: {why}")


def _encoding(source: Path, content: bytes) -> str:
    """What its first bytes say, or UTF-8 where all of it is, or what western spreadsheets write without a word."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding
    text = _text(content, "utf-8")
    try:
        while text.read(1 << 20):
            pass
    except UnicodeDecodeError:
        if found := _NOT_IN_1252.search(content):
            line = content.count(b"\n", 0, found.start()) + 1
            why = "the list is neither all in UTF-8 nor in Windows-1252: save it as UTF-8"
            raise _refused(source, line, why) from None
        return "cp1252"
    return "utf-8"


def _text(content: bytes, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding, newline="")


def _begun(source: Path, content: bytes, encoding: str) -> tuple[_Heading, Iterator[_Row]]:
    """The heading and the rows behind it: what parts them is what finds a file and a class in the first."""
    said = _SAID.fullmatch(_text(content, encoding).readline(80))
    found, first = [], _Row(1, [])
    for delimiter in (said[1],) if said else _DELIMITERS:
        rows = _rows(source, _text(content, encoding), delimiter)
        if said:
            next(rows)
        first = next(rows, _Row(1, []))
        heading = _heading(first)
        if {"file", "class"} <= heading.places.keys():
            found.append((heading, rows))
    if len(found) != 1:
        expected = "a heading with the columns file,class[,split], parted by a comma, a semicolon or a tab"
        raise _refused(source, first.line, f"expected {expected}, found {first.fields!s:.200}")
    heading, rows = found[0]
    for column, places in heading.places.items():
        if len(places) > 1:
            names = " and ".join(repr(heading.names[place]) for place in places)
            raise _refused(source, heading.line, f"the columns {names} may all be the {column}: keep one of them")
    return heading, rows


def _heading(row: _Row) -> _Heading:
    names = row.fields[:]
    while names and not names[-1]:
        names.pop()
    places: dict[_Column, list[int]] = {}
    for place, name in enumerate(names):
        if column := _COLUMNS.get(re.sub(r"[\W_]", "", name).lower()):
            places.setdefault(column, []).append(place)
    return _Heading(row.line, names, places)


def _rows(source: Path, text: io.TextIOWrapper, delimiter: str) -> Iterator[_Row]:
    """Those that are not empty."""
    # The last line is ours: a quote that nobody closed takes it in.
    lines = chain((line.replace("\0", _NUL) for line in text), ["\n"])
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    line = begin = 1
    fields: list[str] = []
    try:
        for fields in reader:
            begin, line = line, reader.line_num + 1
            stripped = [field.replace(_NUL, "\0").strip() for field in fields]
            if any(stripped):
                yield _Row(begin, stripped)
    except csv.Error as error:
        raise _refused(source, line, f"{error}: it may begin with a quote that is never closed") from error
    if fields:
        raise _refused(source, begin, "a quote is opened there and never closed")


def _listed(source: Path, row: _Row, heading: _Heading) -> LabelledPicture:
    where = f"{source}, line {row.line}"
    if any(row.fields[len(heading.names) :]):
        raise DatasetError(
            f"{where}: it has {len(row.fields)} fields and the heading {len(heading.names)}: "
            "put quotes around what holds the sign that parts columns"
        )
    found = {
        column: row.fields[place] if place < len(row.fields) else "" for column, (place,) in heading.places.items()
    }
    name = found["file"]
    if not name:
        raise DatasetError(f"{where}: the column file is empty")
    return LabelledPicture(
        str(source.parent / name),
        label_of(found["class"], where),
        _split(found.get("split", ""), where),
        partial(_read, source.parent, name),
    )


def _split(word: str, where: str) -> Split | None:
    if not word:
        return None
    split = split_named(word)
    if split is None:
        raise DatasetError(f"{where}: the split is {word!r:.40}; expected train, val or test")
    return split


def _read(folder: Path, name: str) -> bytes:
    """Raises OSError."""
    return read_bounded(_found(folder, name), MAX_PICTURE_BYTES)


def _found(folder: Path, name: str) -> Path:
    """The file of that name; where there is none, one whose path is written with backslashes, or whose letters with
    accents are written in one character or in two: spreadsheets, archives and macOS do not agree on that."""
    if os.path.lexists(folder / name):
        return folder / name
    path = folder
    for part in PurePosixPath(name.replace("\\", "/")).parts:
        spellings = [path / part, *(path / unicodedata.normalize(form, part) for form in ("NFC", "NFD"))]
        path = next(filter(os.path.lexists, spellings), spellings[0])
    return path
