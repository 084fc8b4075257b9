"""Labels that may be a slip of the hand for others."""

import time

import pytest

from agent.errors import LabelError, SimilarLabelError
from agent.learning.pictures.spelling import Labels, alike_pairs, check_spelling, check_spellings
from agent.records import checked_label, checked_name

ALIKE = [
    ("glas", "glass"), ("glaas", "glass"), ("gless", "glass"), ("galss", "glass"), ("glasss", "glass"),
    ("Glass", "glass"), ("GLASS", "glass"), ("ｇｌａｓｓ", "glass"), ("glass_", "glass"), ("glass.", "glass"),
    ("card board", "cardboard"), ("card-board", "cardboard"), ("card_board", "card board"), ("CardBoard", "card board"),
    ("gla\u200dss", "glass"), ("gl\u0430ss", "glass"), ("caf\u00e9", "cafe"), ("metall", "metal"), ("cats", "cat"),
    ("plastic bottles", "plastic bottle"), ("стекл", "стекло"), ("Ä", "ä"), ("typeA", "type a"),
]  # fmt: skip
APART = [
    ("cat", "car"), ("a", "b"), ("1", "2"), ("0", "9"), ("box1", "box2"), ("box 1", "box 12"), ("class a", "class b"),
    ("classA", "classB"), ("digit1", "digit7"), ("1.5", "15"), ("-5", "5"), ("a+", "a-"), ("c++", "c#"), ("on", "off"),
    ("paper", "apers"), ("paper", "plastic"), ("玻璃瓶子", "塑璃瓶子"), ("😀", "😁"), ("v1.2", "v1.3"),
    ("left", "right"), ("paper bag", "paper cup"), ("red box a", "red box b"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_may_be_a_slip_is_asked_about(one: str, other: str) -> None:
    assert Labels([other]).alike(one) == other
    assert Labels([one]).alike(other) == one


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_people_number_or_call_otherwise_is_not(one: str, other: str) -> None:
    assert Labels([other]).alike(one) is None
    assert Labels([one]).alike(other) is None


def test_a_label_that_is_known_is_never_asked_about() -> None:
    known = ["glas", "glass"]
    assert [Labels(known).alike(label) for label in known] == [None, None]
    assert alike_pairs(known, known) == []


def test_the_question_names_both_and_says_how_to_insist() -> None:
    with pytest.raises(SimilarLabelError, match=r"'glas' yet: did you mean 'glass'\? For a new label say new"):
        check_spelling("glas", ["paper", "glass"], "say new")
    with pytest.raises(SimilarLabelError, match=r"'glas' \(did you mean 'glass'\?\), 'Paper' \(did you mean 'paper'"):
        check_spellings(["glass", "glas", "paper", "Paper"], [], "say new")


def test_ten_thousand_labels_are_looked_through_in_seconds() -> None:
    labels = [f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{'xyz'[n % 3] * 7} number {n}" for n in range(10_000)]
    began = time.process_time()
    alike_pairs(labels, [])
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "typed",
    [
        "gla\u200bss",
        "\ufeffglass",
        "glass\u2060",
        "gla\u00adss",
        "\u200eglass\u200f",
        "\u202aglass\u202c",
        " glass\u00a0",
    ],
)
def test_what_is_not_seen_is_not_in_a_label(typed: str) -> None:
    assert checked_label(typed) == "glass"


def test_words_of_a_label_are_one_plain_space_apart() -> None:
    assert checked_label("glass \u00a0 bottle") == checked_label("glass\u3000bottle\u00a0") == "glass bottle"


def test_what_scripts_and_emoji_need_stays() -> None:
    for label in ("می\u200cخواهم", "\U0001f469\u200d\U0001f52c"):
        assert checked_label(label) == label


def test_a_label_of_nothing_that_is_seen_is_refused_and_the_names_of_cameras_stay_as_they_are() -> None:
    for nothing in ("\u200b", " \ufeff ", "\u00ad\u00ad"):
        with pytest.raises(LabelError, match="must not be empty"):
            checked_label(nothing)
    assert checked_name("front  door", "camera name") == "front  door"
