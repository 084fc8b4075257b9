"""Lists: a .csv with the columns file, class and, if you like, split; files are relative to the list."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from agent.board.files import read_bounded
from agent.errors import DatasetError
from agent.learning.pictures.labelled import SPLIT_NAMES, LabelledPicture, label_of, reading

MAX_LIST_BYTES = 256 << 20  # of a .csv: some million lines


def pictures_in(source: Path) -> Iterator[LabelledPicture]:
    """What a list names. Raises DatasetError that says the line."""
    try:
        content = io.BytesIO(read_bounded(source, MAX_LIST_BYTES))
        rows = csv.DictReader(io.TextIOWrapper(content, "utf-8-sig", newline=""))
        if rows.fieldnames is None or not {"file", "class"} <= set(rows.fieldnames):
            raise DatasetError(
                f"{source}, line 1: expected the columns file,class[,split], found {rows.fieldnames!s:.200}"
            )
        for row in rows:
            yield _listed(source, rows.line_num, row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{source} cannot be read as a list: {error}") from error


def _listed(source: Path, line: int, row: dict[str, str | None]) -> LabelledPicture:
    where = f"{source}, line {line}"
    name = row["file"]
    if not name:
        raise DatasetError(f"{where}: the column file is empty")
    split = (row.get("split") or "").strip().lower()
    if split and split not in SPLIT_NAMES:
        raise DatasetError(f"{where}: the split is {split!r:.40}; expected train, val or test")
    path = source.parent / name
    return LabelledPicture(
        str(path), label_of(row["class"], where), SPLIT_NAMES[split] if split else None, reading(path)
    )
