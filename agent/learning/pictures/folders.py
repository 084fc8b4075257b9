"""Which of the folders above a picture is its class, and which its split. Of names alone: nothing is opened here.

Folders that hold one folder each lie around it all; below them are class folders, or splits with class folders in
them. Pictures beside these belong to no class: they are stray.

    CLASS/…/picture           the first folder below what lies around it all
    SPLIT/CLASS/…/picture     where a folder that is called as training pictures are holds folders; beside it, what is
                              called as validation or test pictures are is another split, anything else is foreign
    SPLIT/SPLIT/CLASS/…       a split in a folder of its own name
    SPLIT/CLASS.rest.jpg      where all files of a split lie in it and are called so, as Edge Impulse exports them
    CLASS/SPLIT/…/picture     where all pictures of all classes lie so
    CLASS-!-0.jpg             a project of Teachable Machine

So `train`, `test` and `other` may be classes: they are, if pictures lie in `train`, or if nothing beside it is a split.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from agent.errors import DatasetError
from agent.learning.pictures.labelled import split_named
from agent.records import Split

Parts = tuple[str, ...]  # of a path below the source

_TEACHABLE_MACHINE = "-!-"
_FEW = 10  # pictures
_IN_NAME = re.compile(r"([^.]+)\.[^.].*\.[^.]+")  # class.rest.ending


class Place(NamedTuple):
    """What the folders above something say of it."""

    label: str | None  # None where it lies in no class: `why`
    split: Split | None = None
    why: str = ""


_STRAY = Place(None, why="it lies beside the class folders, in none")


@dataclass(frozen=True, slots=True)
class _Side:
    """A split's folder."""

    split: Split
    within: Parts  # from the split's folder on: those of its own name
    by_folder: bool
    by_name: bool
    is_flat: bool  # some pictures lie in no folder of it

    @property
    def is_labelled(self) -> bool:
        return self.by_folder or self.by_name

    def place(self, parts: Parts, is_folder: bool) -> Place:
        """`parts` from the split's folder on."""
        deep = len(self.within)
        below = parts[deep:]
        if parts[:deep] != self.within or not below:
            return _STRAY
        if self.by_folder:
            return Place(below[0], self.split) if len(below) > 1 or is_folder else _STRAY
        if self.by_name and len(below) == 1 and not is_folder:
            return Place(below[0].split(".", 1)[0], self.split)
        return Place(None, why=f"neither a folder in {parts[0]} nor its name says its class")


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How the pictures of a source lie in its folders."""

    around: Parts = ()  # folders around it all
    sides: dict[str, _Side] = field(default_factory=dict)  # of splits; none where there are class folders alone
    by_name: bool = False  # a project of Teachable Machine
    splits_in_classes: bool = False

    def place(self, parts: Parts, *, is_folder: bool = False) -> Place:
        """What is said of the file of that name, or of the folder."""
        if _TEACHABLE_MACHINE in parts[-1] and not is_folder and (self.by_name or len(parts) == len(self.around) + 1):
            return Place(parts[-1].split(_TEACHABLE_MACHINE)[0])
        below = parts[len(self.around) :]
        if parts[: len(self.around)] != self.around or not below:
            return _STRAY
        if not self.sides:
            split = split_named(below[1]) if self.splits_in_classes and len(below) > 1 else None
            return Place(below[0], split) if len(below) > 1 or is_folder else _STRAY
        if below[0] in self.sides:
            return self.sides[below[0]].place(below, is_folder)
        if len(below) == 1:
            return _STRAY
        return Place(None, why=f"the folder {below[0]} is no split, as those beside it are")


def arrangement(source: str, pictures: Sequence[Parts]) -> Arrangement:
    """How these pictures lie. Raises DatasetError where nobody can tell classes from splits."""
    if pictures and all(_TEACHABLE_MACHINE in parts[-1] for parts in pictures):
        return Arrangement(by_name=True)
    outermost = None  # the first folder that holds pictures itself
    level = 0
    while True:
        inside = [parts for parts in pictures if len(parts) > level + 1]
        tops = {parts[level] for parts in inside}
        # Where more lie beside them, it is one class, some of whose pictures lie deeper.
        if len(inside) >= sum(1 < len(parts) <= level + 1 for parts in pictures):
            sides = _sides(source, inside, level, tops)
            if sides or len(tops) > 1:
                return Arrangement(inside[0][:level], sides, splits_in_classes=_are_splits_in_classes(inside, level))
        if len(tops) != 1:
            return Arrangement(() if not outermost else next(p[:outermost] for p in pictures if len(p) > outermost + 1))
        if outermost is None and any(len(parts) == level + 2 for parts in inside):
            outermost = level
        level += 1


def _are_splits_in_classes(inside: Sequence[Parts], level: int) -> bool:
    splits = {split_named(parts[level + 1]) if len(parts) > level + 2 else None for parts in inside}
    return None not in splits and "train" in splits and len(splits) > 1


def _sides(source: str, inside: Sequence[Parts], level: int, tops: set[str]) -> dict[str, _Side]:
    """The splits among the folders of a level; none where they are classes, or lie around it all."""
    named = _splits_among(tops)
    if not named:
        return {}
    sides = {top: _side(split, [p[level:] for p in inside if p[level] == top]) for top, split in named.items()}
    training = [side for side in sides.values() if side.split == "train"]
    several = len({side.split for side in sides.values()}) > 1
    foreign = tops - named.keys()
    if not training:
        return sides if several and not foreign and all(side.by_folder for side in sides.values()) else {}
    if not any(side.is_labelled for side in training):
        if not foreign:
            raise DatasetError(
                f"{source}: {', '.join(sorted(tops))}: so splits are called, but the pictures lie in no class folders "
                "there and are not called CLASS.rest.jpg; where it is a class itself, name its pictures in a .csv list"
            )
        return {}
    if several or not foreign:
        return sides
    if any(side.is_flat and not side.by_name for side in training):
        return {}
    deep = sorted({parts[level] for parts in inside if parts[level] in foreign and len(parts) > level + 2})
    if deep or any(side.by_name for side in training):
        raise DatasetError(
            f"{source}: {', '.join(sorted(named))}: so a split is called, but not {', '.join(deep or sorted(foreign))} "
            "beside it, though it may be one: call the splits train, val and test, or name the pictures in a .csv list"
        )
    return sides


def _splits_among(tops: set[str]) -> dict[str, Split]:
    """The folders that are called as splits are, also where all share a word that says nothing: seg_train, seg_test."""
    named = {top: split for top in tops if (split := split_named(top))}
    if named or len(tops) < 2:
        return named
    words = {top: re.split(r"[-_. ]+", top.casefold()) for top in tops}
    shared = set.intersection(*map(set, words.values()))
    own = {top: "_".join(word for word in of_top if word not in shared) for top, of_top in words.items()}
    named = {top: split for top, word in own.items() if (split := split_named(word))}
    return named if len(set(named.values())) > 1 else {}


def _are_classes_in_names(names: Sequence[str], at_least: int) -> bool:
    classes = {found[1] if (found := _IN_NAME.fullmatch(name)) else None for name in names}
    repeat = len(names) < _FEW or 2 * len(classes) <= len(names)  # as times do not, which cameras write the same way
    return None not in classes and len(classes) >= at_least and repeat


def _side(split: Split, pictures: Sequence[Parts]) -> _Side:
    """Of a split's pictures, whose parts begin with its folder."""
    deep = 1
    while True:
        folders = {parts[deep] for parts in pictures if len(parts) > deep + 1}
        if len(folders) != 1:
            break
        (only,) = folders
        if only != pictures[0][deep - 1] and split_named(only) != split:
            break
        deep += 1
        pictures = [parts for parts in pictures if len(parts) > deep]
    flat = [PurePosixPath(parts[deep]).name for parts in pictures if len(parts) == deep + 1]
    in_folders = len(pictures) - len(flat)
    by_name = not in_folders and _are_classes_in_names(flat, at_least=2 if split == "train" else 1)
    return _Side(split, pictures[0][:deep], bool(in_folders) and in_folders >= len(flat), by_name, bool(flat))
