"""Labels that say the same, or nearly: `glas` beside `glass`. A person is asked before one of them becomes a new label.

Alike are labels that differ in case, in blanks, hyphens or dots between words, in what is not seen, in accents, or in
letters that look the same in another alphabet; and those of which one word of four letters or more differs in one
letter: another, one more, one less, or two that changed places. Numbers and single letters are what people number their
labels with (`box 1` and `box 2`, `class a` and `class b`), and in scripts without capitals a letter is half a word:
there nobody is asked.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from agent.errors import SimilarLabelError

_Form = tuple[str, ...]

LEAST_LETTERS = 4  # of the longer one of two words

# Small letters of other alphabets that look like Latin ones.
_LOOKS_LIKE = str.maketrans("аеорсухіјѕԁһԛԝвкмнтгοαερτυχικνγ", "aeopcyxijsdhqwbkmhtroaeptuxikvy")
_BETWEEN_WORDS = re.compile(r"(?<=[^\W\d_])[\s_.\-'’]+(?=\w)|(?<=\w)[\s_.\-'’]+(?=[^\W\d_])")
_AROUND = " _.,'’"
_WORDS = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_ACCENT = re.compile("[\u0300-\u036f\ufe00-\ufe0f]")  # and what chooses the look of an emoji
_TAKEN = ""  # stands before the word that a letter was taken from
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # camelCase


class Labels:
    """Labels that are known, by what they are alike in."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._by_form: dict[_Form, list[tuple[str, str]]] = {}  # form → label, and the word that it stands for
        for label in known:
            self.add(label)

    def add(self, label: str) -> None:
        if label not in self._known:
            self._known.add(label)
            for form, word in _forms(label):
                self._by_form.setdefault(form, []).append((label, word))

    def alike(self, label: str) -> str | None:
        """A known label that this one may be a slip for; None where there is none, or this one is known itself."""
        if label in self._known:
            return None
        for form, word in _forms(label):
            for other, known in self._by_form.get(form, ()):
                if word == known or _is_slip(word, known):
                    return other
        return None


def check_spelling(label: str, known: Iterable[str], insist: str) -> None:
    """Raises SimilarLabelError for a label that is like a known one, and is none; it says how to `insist`."""
    found = Labels(known).alike(label)
    if found is not None:
        raise SimilarLabelError(f"there is no label {label!r} yet: did you mean {found!r}? For a new label {insist}")


def check_spellings(labels: Iterable[str], known: Iterable[str], insist: str) -> None:
    """The same of many labels at once, which may be like each other too: of two the first counts as known.

    Raises SimilarLabelError that names them all.
    """
    pairs = alike_pairs(labels, known)
    if pairs:
        named = ", ".join(f"{label!r} (did you mean {other!r}?)" for label, other in pairs)
        raise SimilarLabelError(f"new labels are like others: {named}. Give both one name, or {insist}")


def alike_pairs(labels: Iterable[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """(a new label, one that it is like) of `labels` that are not `known`, among these and each other."""
    spelt, found = Labels(known), []
    for label in labels:
        other = spelt.alike(label)
        if other is not None:
            found.append((label, other))
        spelt.add(label)
    return found


def _forms(label: str) -> Iterator[tuple[_Form, str]]:
    """Alike labels have one of these in common: what differs in one letter is the same without one. With each, the
    word that a letter was taken from; "" where it is the whole label without what parts its words."""
    yield (_BETWEEN_WORDS.sub("", _plain(label)).strip(_AROUND),), ""
    words = _WORDS.findall(_plain(_HUMP.sub(" ", label)))
    for place, word in enumerate(words):
        if word.isalpha():
            for short in {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}:
                yield (*words[:place], _TAKEN, short, *words[place + 1 :]), word


def _is_slip(word: str, other: str) -> bool:
    """Whether two words differ in one letter of an alphabet that has capitals, or in the order of two."""
    short, long = sorted((word, other), key=len)
    same = next((at for at, (one, two) in enumerate(zip(short, long, strict=False)) if one != two), len(short))
    differing = long[same], short[same : same + 1]
    rest, other_rest = long[same + 1 :], short[same + 1 :]
    if len(long) > len(short):
        is_one = rest == short[same:]
    else:
        swapped = short[same + 1 : same + 2] + short[same : same + 1] + short[same + 2 :]
        is_one = rest == other_rest or long[same:] == swapped
    has_capitals = all(letter.lower() != letter.upper() for letter in differing if letter)
    return is_one and has_capitals and len(long) >= LEAST_LETTERS


def _plain(label: str) -> str:
    """In small letters without accents and without what is not seen, Latin where it looks so."""
    letters = unicodedata.normalize("NFKD", label).casefold().translate(_LOOKS_LIKE)
    return "".join(letter for letter in letters if unicodedata.category(letter) != "Cf" and not _ACCENT.match(letter))
