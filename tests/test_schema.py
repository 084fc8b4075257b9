from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.schema import MAX_CHARS, RefusalError, Rule, keys, parse

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _quiet(name: str) -> str:
    if name.isupper():
        raise ValueError("must not shout")
    return name.strip()


@dataclass(frozen=True)
class Oven:
    size: Annotated[Literal["small", "large"], Rule("How many loaves.")] = "small"
    heat: Annotated[float, Rule("In degrees.", 20, 300)] = 180.0
    loaves: Annotated[int | None, Rule("At once.", 1, 100_000, null="as many as fit")] = None
    fan: Annotated[bool, Rule("Whether air moves.")] = False

    def __post_init__(self) -> None:
        if self.fan and self.heat > 250:
            raise RefusalError("oven.heat", "must be 250 or less with a fan")


@dataclass(frozen=True)
class Shelf:
    bread: Annotated[str | None, Rule("What lies there.", null="anything")] = None
    place: Annotated[tuple[float, float], Rule("Left and height, as shares of the window.", 0, 1)] = (0.0, 0.5)
    turned: Annotated[Literal[0, 90], Rule("Degrees.")] = 0
    lamp: Annotated[tuple[int, int], Rule("Its place.", 0, 9, takes="[row, column]")] = (0, 0)


@dataclass(frozen=True)
class Shop:
    hours: Annotated[int, Rule("A day.", 1, 24)] = 8
    shelves: Annotated[tuple[Shelf, ...], Rule("In its window.")] = ()
    oven: Annotated[Oven | None, Rule("Its own.", null="that of the bakery")] = None


@dataclass(frozen=True)
class Bakery:
    name: Annotated[str, Rule("On the door.", read=_quiet)] = "Crumb"
    recipes: Annotated[Path | None, Rule("A folder.", null="none")] = None
    sign: Annotated[str, Rule("In the window.", null="the usual one")] = field(default_factory=lambda: "open")
    oven: Oven = field(default_factory=Oven)
    spare: Annotated[Oven | None, Rule("For feasts.", null="none")] = None
    shelves: Annotated[tuple[Shelf, ...], Rule("In the window.", most=3)] = ()
    shops: Annotated[dict[str, Shop], Rule("In other streets.", most=2, read=_quiet)] = field(default_factory=dict)


def bakery(text: str) -> Bakery:
    return parse(Bakery, text, "bakery.yaml")


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        bakery(text)
    return str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "{}", "null", "oven:\n", "oven: {}", "oven:\n  # heat: 1\n"]
)
def test_what_is_left_out_keeps_its_default(text: str) -> None:
    assert bakery(text) == Bakery()


def test_everything_can_be_set() -> None:
    text = 'name: Krümel\nrecipes: ./x\nsign: "no"\noven: {size: large, heat: 99.5, loaves: 1_000, fan: yes}\n'
    assert bakery(text) == Bakery("Krümel", Path("x"), "no", Oven("large", 99.5, 1000, True))


def test_null_stands_for_the_default_where_it_is_documented() -> None:
    assert bakery("recipes: ~\nsign: null\noven:\n  loaves:\n") == Bakery()
    assert refusal("name:") == "bakery.yaml:1: name: must be text, not empty"
    assert refusal("oven: {heat: null}") == "bakery.yaml:1: oven.heat: must be a number from 20 to 300, not null"


@pytest.mark.parametrize(
    ("text", "heat"), [("1e2", 100.0), ("1E+2", 100.0), ("100", 100.0), ("2.5e1", 25.0), ("30.", 30.0)]
)
def test_a_number_may_be_written_as_people_do(text: str, heat: float) -> None:
    read = bakery(f"oven: {{heat: {text}}}").oven.heat
    assert read == heat
    assert type(read) is float


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("heat: 19.9", "oven.heat: must be a number from 20 to 300, not 19.9"),
        ("heat: 1e999", "oven.heat: must be a number from 20 to 300, not 1e999"),
        ("heat: .nan", "oven.heat: must be a number from 20 to 300, not .nan"),
        ("heat: .inf", "oven.heat: must be a number from 20 to 300, not .inf"),
        ("heat: yes", "oven.heat: must be a number from 20 to 300, not yes"),
        ('heat: "100"', "oven.heat: must be a number from 20 to 300, not '100' in quotes"),
        ("heat: 1:40", "oven.heat: must be a number from 20 to 300, not 1:40"),
        ("heat: [100]", "oven.heat: must be a number from 20 to 300, not a list or keys"),
        ("heat: {a: 1}", "oven.heat: must be a number from 20 to 300, not a list or keys"),
        ("loaves: 2.0", "oven.loaves: must be a whole number from 1 to 100000, not 2.0"),
        ("loaves: 010", "oven.loaves: must be a whole number from 1 to 100000, not 010"),
        ("loaves: 0x10", "oven.loaves: must be a whole number from 1 to 100000, not 0x10"),
        ("loaves: true", "oven.loaves: must be a whole number from 1 to 100000, not true"),
        ("loaves: ٣", "oven.loaves: must be a whole number from 1 to 100000, not ٣"),
        ("loaves: 0", "oven.loaves: must be a whole number from 1 to 100000, not 0"),
        ("fan: 1", "oven.fan: must be true or false, not 1"),
        ('fan: "true"', "oven.fan: must be true or false, not 'true' in quotes"),
        ("size: big", "oven.size: must be small or large, not big"),
        ("size: off", "oven.size: must be small or large, but YAML reads off as bool; put it in quotes"),
        ("fan: on, heat: 251", "oven.heat: must be 250 or less with a fan"),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_be_right(value: str, wrong: str) -> None:
    assert refusal(f"name: x\noven:\n  {{{value}}}") == f"bakery.yaml:3: {wrong}"


@pytest.mark.parametrize(
    ("value", "read_as"),
    [("no", "bool"), ("12:30", "int"), ("42", "int"), ("1.5", "float"), ("2024-01-01", "timestamp"), ("=", "value")],
)
def test_text_that_yaml_turned_into_something_else_is_refused(value: str, read_as: str) -> None:
    assert refusal(f"\nname: {value}") == (
        f"bakery.yaml:2: name: must be text, but YAML reads {value} as {read_as}; put it in quotes"
    )
    assert bakery(f'name: "{value}"').name == value


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("name: ''", "1: name: must not be empty"),
        ('name: "a\\u0007b"', "1: name: must not hold control characters"),
        ('name: "a\\ud800b"', "1: name: must not hold control characters"),
        ("name: LOUD", "1: name: must not shout"),
        ("shops:\n  LOUD: {}", "2: shops: must not shout"),
        ("nmae: x", "1: nmae is not a key; did you mean name?"),
        ("\noven:\n  head: 100", "3: oven.head is not a key; did you mean oven.heat?"),
        ("heat: 100", "1: heat is not a key; did you mean oven.heat?"),
        ("bread: rye", "1: bread is not a key; did you mean shelves[].bread?"),
        (
            "shops:\n  corner:\n    bread: rye",
            "3: shops.corner.bread is not a key; did you mean shops.corner.shelves[].bread?",
        ),
        ("qqq: 1", "1: qqq is not a key; the keys here are name, recipes, sign, oven, spare, shelves, shops"),
        ("42: 1", "1: 42 is not a key; the keys here are name, recipes, sign, oven, spare, shelves, shops"),
        ("[a]: 1", "1: this is not a key; the keys here are name, recipes, sign, oven, spare, shelves, shops"),
        ("<<: {name: x}", "1: << is not a key; the keys here are name, recipes, sign, oven, spare, shelves, shops"),
        ("name: x\noven: {}\nname: y", "3: name is given twice, first in line 1"),
        ("oven: hot", "1: oven must hold keys with values, such as size: small"),
        ("oven: [heat]", "1: oven must hold keys with values, such as size: small"),
        ("- name", "1: the file must hold keys with values, such as name: Crumb"),
        ("name: &a x\nsign: *a", "1: anchors (&) and aliases (*) are not used here: write the value out"),
        ("a: *b", "1: anchors (&) and aliases (*) are not used here: write the value out"),
        ("oven: &a {}", "1: anchors (&) and aliases (*) are not used here: write the value out"),
        ("name: !!str x", "1: tags (!) are not used here: write the value alone"),
        ("name: !!python/name:os.system x", "1: tags (!) are not used here: write the value alone"),
        (
            "oven:\n\theat: 100",
            "2: not YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs",
        ),
        ("name: x\n---\nname: y", "2: not YAML: but found another document"),
        ("name: \x07", "1: not YAML: the character U+0007 is not allowed"),
        ("name: x\nsign: '\0'", "2: not YAML: the character U+0000 is not allowed"),
        ("a: " + "[" * 60_000, "1: nested too deeply"),
        ("\n" + "- " * 30_000, "2: nested too deeply"),
    ],
)
def test_a_complaint_names_the_line_and_the_key(text: str, wrong: str) -> None:
    assert refusal(text) == f"bakery.yaml:{wrong}"


@pytest.mark.parametrize("text", ["name: [", "name: 'x", "a: b: c", "{", "@", 'name: "\\UFFFFFFFF"'])
def test_what_is_not_yaml_is_refused_with_its_line(text: str) -> None:
    assert refusal("# a comment\n" + text).startswith("bakery.yaml:2: not YAML: ")


def test_a_text_without_end_is_refused() -> None:
    assert refusal("#" * (MAX_CHARS + 1)).startswith(f"bakery.yaml: may have {MAX_CHARS} characters")


def test_a_complaint_about_two_keys_points_at_the_one_it_names() -> None:
    assert refusal("oven:\n  fan: on\n  heat: 280\n") == "bakery.yaml:3: oven.heat: must be 250 or less with a fan"
    with pytest.raises(ConfigError, match=r"^oven\.heat: "):
        replace(Oven(), fan=True, heat=280.0)


def test_the_keys_of_a_schema_can_be_listed() -> None:
    assert [(key.path, key.takes, key.default, key.doc) for key in keys(Bakery)] == [
        ("name", "text", "Crumb", "On the door."),
        ("recipes", "a path", "null", "A folder. null: none."),
        ("sign", "text", "null", "In the window. null: the usual one."),
        ("oven.size", "small or large", "small", "How many loaves."),
        ("oven.heat", "a number from 20 to 300", "180", "In degrees."),
        ("oven.loaves", "a whole number from 1 to 100000", "null", "At once. null: as many as fit."),
        ("oven.fan", "true or false", "false", "Whether air moves."),
        ("spare", "the keys of `oven`", "null", "For feasts. null: none."),
        ("shelves", "a list, at most 3, each with the keys below", "[]", "In the window."),
        ("shelves[].bread", "text", "null", "What lies there. null: anything."),
        (
            "shelves[].place",
            "a list of 2 numbers from 0 to 1",
            "[0, 0.5]",
            "Left and height, as shares of the window.",
        ),
        ("shelves[].turned", "0 or 90", "0", "Degrees."),
        ("shelves[].lamp", "[row, column]", "[0, 0]", "Its place."),
        ("shops", "names, at most 2, each with the keys below", "{}", "In other streets."),
        ("shops.NAME.hours", "a whole number from 1 to 24", "8", "A day."),
        ("shops.NAME.shelves", "a list, each with the keys of `shelves`", "[]", "In its window."),
        ("shops.NAME.oven", "the keys of `oven`", "null", "Its own. null: that of the bakery."),
    ]


# Text made of what YAML and this schema are made of, so that more than the first character is reached.
words = ["name", "oven", "heat", "loaves", "fan", "size", ":", "-", "{", "}", "[", "]", ",", "'", "#", "&a", "*a", "!"]
words += [
    "!!int",
    "%",
    "|",
    ">",
    "?",
    "<<",
    "no",
    "1e3",
    "null",
    "\\x",
    "\\UFFFFFFFF",
    "---",
    "...",
    '"',
    ": ",
    "\n",
    "\t",
]
yaml_text = st.lists(st.sampled_from([*words, "- ", "  "]) | st.text(max_size=3), max_size=25).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
names = st.sampled_from(
    ["name", "recipes", "sign", "oven", "size", "heat", "loaves", "fan", "spare", "shelves", "place", "shops", "bread"]
)


@patient
@given(yaml_text)
@example("\ufeffname: x")
@example("!<%")
@example("%YAML 1." + "9" * 5000)
@example("? |\n")
@example("\ud800")
def test_no_text_raises_anything_but_a_config_error(text: str) -> None:
    try:
        read = bakery(text)
    except ConfigError as error:
        assert str(error).startswith("bakery.yaml:")
    else:
        assert isinstance(read, Bakery)


@patient
@given(st.dictionaries(names, json_values | st.dictionaries(names, json_values | st.dictionaries(names, json_values))))
@example({"shelves": [{"place": [0, [1]]}]})
@example({"shops": {"corner": {"shelves": [None, {}]}}})
def test_no_document_raises_anything_but_a_config_error(document: dict[str, Any]) -> None:
    try:
        read = bakery(yaml.safe_dump(document))
    except ConfigError as error:
        assert str(error).startswith("bakery.yaml:")
    else:
        assert isinstance(read, Bakery)


@patient
@given(
    st.floats(20, 300),
    st.none() | st.integers(1, 100_000),
    st.booleans(),
    st.text(st.characters(codec="utf-8"), min_size=1),
)
def test_what_is_dumped_is_read_back(heat: float, loaves: int | None, fan: bool, sign: str) -> None:
    document = {"sign": sign, "oven": {"heat": heat, "loaves": loaves, "fan": fan}}
    try:
        read = bakery(yaml.safe_dump(document))
    except ConfigError as error:
        assert ("sign: must not" in str(error)) or ("with a fan" in str(error))
    else:
        assert read == Bakery(sign=sign, oven=Oven("small", heat, loaves, fan))


def test_sections_come_in_a_list_and_numbers_too() -> None:
    text = "shelves:\n  - bread: rye\n    place: [0.25, 1]\n    turned: 90\n    lamp: [3, 4]\n  - {}\n  -\n"
    assert bakery(text).shelves == (Shelf("rye", (0.25, 1.0), 90, (3, 4)), Shelf(), Shelf())
    assert bakery("shelves: []\n").shelves == ()


def test_sections_come_by_names_and_hold_others() -> None:
    text = "shops:\n  corner: {shelves: [{bread: rye}], oven: {heat: 200}}\n  ' mill ': {hours: 1}\n  square:\n"
    with pytest.raises(ConfigError, match="shops: may hold 2, for each takes memory; this holds 3"):
        bakery(text)
    read = bakery(text.replace("  square:\n", "")).shops
    assert read == {"corner": Shop(8, (Shelf("rye"),), Oven(heat=200.0)), "mill": Shop(1)}


def test_a_section_that_may_lack_is_there_once_it_is_named() -> None:
    assert bakery("spare:\n").spare is None
    assert bakery("spare: {}\n").spare == Oven()
    assert bakery("spare: {heat: 200}\n").spare == Oven(heat=200.0)
    assert refusal("spare: {fan: on, heat: 251}") == "bakery.yaml:1: oven.heat: must be 250 or less with a fan"
    assert refusal("spare: hot") == "bakery.yaml:1: spare must hold keys with values, such as size: small"


@patient
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=3))
@example([(-0.0, 5e-324)])
def test_a_list_of_numbers_is_read_back_as_it_was_dumped(places: list[tuple[float, float]]) -> None:
    read = bakery(yaml.safe_dump({"shelves": [{"place": list(place)} for place in places]}))
    assert [shelf.place for shelf in read.shelves] == places
    assert "-" not in repr([shelf.place for shelf in read.shelves]).replace("e-", "e"), "-0.0 is 0.0"


@patient
@given(st.lists(st.floats() | st.integers() | st.text(max_size=3) | st.none() | st.booleans(), max_size=4))
def test_a_list_that_is_not_of_so_many_numbers_is_refused(values: list[Any]) -> None:
    text = yaml.safe_dump({"shelves": [{"place": values}]})
    right = len(values) == 2 and all(type(each) in (int, float) and 0 <= each <= 1 for each in values)
    if right:
        assert list(bakery(text).shelves[0].place) == values
    else:
        assert "shelves[1].place: must be a list of 2 numbers from 0 to 1" in refusal(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "shelves: {bread: rye}\n",
            "1: shelves: must hold a list, each with keys and values, such as [{place: [0, 0.5]}]",
        ),
        ("shelves:\n", "1: shelves: must hold a list, each with keys and values"),
        (
            "shops: [corner]\n",
            "1: shops: must hold names, each with keys and values, such as {name: {hours: 8}}",
        ),
        ("shops: corner\n", "1: shops: must hold names, each with keys and values"),
        ("shops: {corner: {}, corner: {}}\n", "1: shops.corner is given twice"),
        ("shelves:\n  - {}\n  - {bred: rye}\n", "3: shelves[2].bred is not a key; did you mean shelves[2].bread?"),
        ("shelves: [rye]\n", "1: shelves[1] must hold keys with values, such as place: [0, 0.5]"),
        ("shelves: [{}, {}, {}, {}]\n", "1: shelves: may hold 3, for each takes memory; this holds 4"),
        ("shelves: [{place: [0.5]}]\n", "1: shelves[1].place: must be a list of 2 numbers from 0 to 1; this has 1"),
        ("shelves: [{place: 0.5}]\n", "1: shelves[1].place: must be a list of 2 numbers from 0 to 1, not 0.5"),
        ("shelves: [{place: }]\n", "1: shelves[1].place: must be a list of 2 numbers from 0 to 1, not empty"),
        ("shelves: [{place: {a: 1}}]\n", "1: shelves[1].place: must be a list of 2 numbers from 0 to 1, not a list"),
        ("shelves: [{place: [0.5, 1.5]}]\n", "1: shelves[1].place: must be a list of 2 numbers from 0 to 1, not 1.5"),
        (
            "shelves: [{place: [0.5, [1]]}]\n",
            "1: shelves[1].place: must be a list of 2 numbers from 0 to 1, not a list",
        ),
        ("shelves: [{lamp: [0, 10]}]\n", "1: shelves[1].lamp: must be [row, column], not 10"),
        ("shelves: [{lamp: [0, 1.0]}]\n", "1: shelves[1].lamp: must be [row, column], not 1.0"),
        ("shelves: [{turned: 45}]\n", "1: shelves[1].turned: must be 0 or 90, not 45"),
        ("shelves: [{turned: 90.0}]\n", "1: shelves[1].turned: must be 0 or 90, not 90.0"),
        ("shelves: [{turned: '90'}]\n", "1: shelves[1].turned: must be 0 or 90, not '90' in quotes"),
    ],
)
def test_what_is_wrong_in_a_list_or_below_a_name_is_named(text: str, complaint: str) -> None:
    assert refusal(text).startswith(f"bakery.yaml:{complaint}")
