"""Frozen dataclasses from YAML, strictly.

A class says of each key, once, what it takes: the annotation gives the type and a Rule
with bounds and one line of documentation, the field gives the default. A key may hold a
section, a list of them, or several by names. The text is read from its YAML nodes, so that
every complaint names file, line and key, and nothing is guessed: what YAML 1.1 turns into
something else than was written (no → false, 12:30 → 750) is refused, and 1e-3, which it
takes for text, is a number.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from agent.errors import ConfigError

MAX_CHARS = 65_536  # PyYAML reads some 10 kB a second on a small board
MAX_DEPTH = 8  # PyYAML builds its nodes recursively

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
_FLOAT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_SchemaT = TypeVar("_SchemaT")


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for a key beyond its type."""

    doc: str
    low: float = float("nan")  # inclusive, as is high; only for numbers, which have both
    high: float = float("nan")
    null: str | None = None  # what null means; None: null is refused
    most: int | None = None  # of sections in a list or by names
    takes: str = ""  # what it takes, where the type does not say enough
    read: Callable[[str], str] | None = None  # text → as it is meant; raises ValueError for what is wrong with it


@dataclass(frozen=True, slots=True)
class Key:
    """One key as the documentation shows it."""

    path: str  # "http.port"; "tasks.NAME.views[].region" in what there may be several of
    takes: str  # "a whole number from 0 to 65535"
    default: str  # as written in YAML; null where it depends on the machine
    doc: str


class RefusalError(ConfigError):
    """A value that a key cannot take; where it was read from a file, parse adds file and line."""

    def __init__(self, key: str, wrong: str) -> None:
        super().__init__(f"{key}: {wrong}")
        self.key = key


def keys(schema: type, path: str = "", told: dict[type, str] | None = None) -> Iterator[Key]:
    """Every key of a schema and of the sections in it, in the order of their definition.

    `told` has where the keys of a section were told already; they are not told again.
    """
    told = {} if told is None else told
    for name, (kind, rule, default) in _settings(schema).items():
        section, each = _section_of(kind)
        place = told.setdefault(section, path + name) if section is not None else ""
        is_new = place == path + name
        if rule is not None:
            doc = rule.doc if rule.null is None else f"{rule.doc} null: {rule.null}."
            takes = (
                _takes(kind, rule) if section is None else _holds(kind, rule, "below" if is_new else f"of `{place}`")
            )
            yield Key(path + name, takes, "{}" if get_origin(kind) is dict else _yaml(default), doc)
        if section is not None and is_new:
            yield from keys(section, f"{path}{name}{each}.", told)


def parse(schema: type[_SchemaT], text: str, source: str) -> _SchemaT:
    """A schema filled from a YAML text; source names the text in complaints.

    Keys left out keep their defaults, and so does a section without any. Raises
    ConfigError naming the line, the key, and what would be right.
    """
    if len(text) > MAX_CHARS:
        raise ConfigError(f"{source}: may have {MAX_CHARS} characters, this has {len(text)}")
    return _section(schema, _root(text, source), "", source)


def plain_text(text: str) -> str | None:
    """What is wrong with a text as a name or a path: the rule for all texts."""
    if not text.strip():
        return "must not be empty"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        return "must not hold control characters"
    return None


def _settings(schema: type) -> dict[str, tuple[Any, Rule | None, Any]]:
    """name → (type without None, its rule, its default); a section that is always there has no rule."""
    settings: dict[str, tuple[Any, Rule | None, Any]] = {}
    hints = get_type_hints(schema, include_extras=True)
    for setting in fields(schema):
        hint, rule = hints[setting.name], None
        if get_origin(hint) is Annotated:
            hint, rule = get_args(hint)
        if NoneType in get_args(hint):
            (hint,) = (part for part in get_args(hint) if part is not NoneType)
        settings[setting.name] = (hint, rule, None if setting.default is MISSING else setting.default)
    return settings


def _root(text: str, source: str) -> yaml.Node | None:
    """The root of the one document in a text; None if the text is empty."""
    line = 1
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = _line(event.start_mark)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            unwanted = _unwanted(event, depth)
            if unwanted:
                raise ConfigError(f"{source}:{line}: {unwanted}")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except ConfigError:
        raise
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        wrong = f"the character U+{ord(text[error.position]):04X} is not allowed"
        raise ConfigError(f"{source}:{line}: not YAML: {wrong}") from error
    except yaml.MarkedYAMLError as error:
        wrong = error.problem or error.context or "syntax error"
        hint = "; indent with spaces, not tabs" if "\\t" in wrong else ""
        line = _line(error.problem_mark or error.context_mark)
        raise ConfigError(f"{source}:{line}: not YAML: {wrong}{hint}") from error
    except (ValueError, OverflowError) as error:  # PyYAML hands "\UFFFFFFFF" to chr()
        raise ConfigError(f"{source}:{line}: not YAML: {error}") from error


def _unwanted(event: yaml.Event, depth: int) -> str | None:
    """What is wrong with a piece of YAML that is correct but leads astray."""
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        return "anchors (&) and aliases (*) are not used here: write the value out"
    if getattr(event, "tag", None) is not None:
        return "tags (!) are not used here: write the value alone"
    if depth > MAX_DEPTH:
        return "nested too deeply"
    return None


def _section(schema: type[_SchemaT], node: yaml.Node | None, path: str, source: str) -> _SchemaT:
    """A schema from its node; path is "" at the top and "http." below http."""
    if node is None or _is_null(node):
        return schema()
    if not isinstance(node, yaml.MappingNode):
        wrong = f"{path.rstrip('.') or 'the file'} must hold keys with values, such as {_example(schema)}"
        raise ConfigError(_at(source, node, wrong))
    settings = _settings(schema)
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "this"
        if name not in settings:
            raise ConfigError(_at(source, key, _unknown(schema, path, name)))
        if name in lines:
            raise ConfigError(_at(source, key, f"{path}{name} is given twice, first in line {lines[name]}"))
        lines[name] = _line(key.start_mark)
        kind, rule, _ = settings[name]
        if rule is None:
            values[name] = _section(kind, value, f"{path}{name}.", source)
        elif not (_is_null(value) and rule.null):  # null stands for the default
            values[name] = _content(value, path + name, kind, rule, source)
    try:
        return schema(**values)
    except RefusalError as refusal:
        line = lines.get(refusal.key.rpartition(".")[2], _line(node.start_mark))
        where = "" if "." in refusal.key else path
        raise ConfigError(f"{source}:{line}: {where}{refusal}") from None


def _content(node: yaml.Node, path: str, kind: Any, rule: Rule, source: str) -> Any:
    """What a key holds: a value, or one or several sections."""
    section, _ = _section_of(kind)
    try:
        if section is None:
            return _value(node, path, kind, rule)
        if section is kind:
            return _section(section, node, f"{path}.", source)
        _check_several(node, path, kind, rule)
    except RefusalError as refusal:
        raise ConfigError(_at(source, node, str(refusal))) from None
    if get_origin(kind) is dict:
        return _named(section, rule, node, path, source)
    return tuple(_section(section, each, f"{path}[{at}].", source) for at, each in enumerate(node.value, start=1))


def _check_several(node: yaml.Node, path: str, kind: Any, rule: Rule) -> None:
    """Raises RefusalError for what is not the list, or the names, of sections that `kind` has."""
    listed = get_origin(kind) is tuple
    if not isinstance(node, yaml.SequenceNode if listed else yaml.MappingNode):
        what = "must hold a list" if listed else "must hold names"
        raise RefusalError(path, f"{what}, each with keys and values, such as {_sample(kind, None)}")
    if rule.most is not None and len(node.value) > rule.most:
        raise RefusalError(path, f"may hold {rule.most}, for each takes memory; this holds {len(node.value)}")


def _named(schema: type[_SchemaT], rule: Rule, node: yaml.Node, path: str, source: str) -> dict[str, _SchemaT]:
    """Sections of one schema, by the names that the file gives them."""
    sections: dict[str, _SchemaT] = {}
    for key, value in node.value:
        try:
            name = _value(key, path, str, rule)
        except RefusalError as refusal:
            raise ConfigError(_at(source, key, str(refusal))) from None
        if name in sections:
            raise ConfigError(_at(source, key, f"{path}.{name:.60} is given twice"))
        sections[name] = _section(schema, value, f"{path}.{name:.60}.", source)
    return sections


def _section_of(kind: Any) -> tuple[type | None, str]:
    """The section that a key holds, or several of which it holds, and what then stands for each in a path."""
    several = {dict: ".NAME", tuple: "[]"}
    origin = get_origin(kind)
    section, each = (get_args(kind)[origin is dict], several[origin]) if origin in several else (kind, "")
    return (section, each) if isinstance(section, type) and is_dataclass(section) else (None, "")


def _example(schema: type) -> str:
    """A key of a section as one may write it, if there is one with a value."""
    settings = _settings(schema)
    likely = [name for name, (_, _, default) in settings.items() if default is not None]
    name = [*likely, *settings][0]
    kind, _, default = settings[name]
    return f"{name}: {_sample(kind, default)}"


def _sample(kind: Any, default: object) -> str:
    section, _ = _section_of(kind)
    if section is None:
        return _yaml(default)
    inner = f"{{{_example(section)}}}"
    return {tuple: f"[{inner}]", dict: f"{{name: {inner}}}"}.get(get_origin(kind), inner)


def _value(node: yaml.Node, path: str, kind: Any, rule: Rule) -> Any:
    """The value of a key from its node; raises RefusalError."""
    takes = _takes(kind, rule)
    if get_origin(kind) is tuple and isinstance(node, yaml.SequenceNode):
        if len(node.value) != len(get_args(kind)):
            raise RefusalError(path, f"must be {takes}; this has {len(node.value)}")
        return tuple(
            _scalar(each, path, one, rule, takes) for each, one in zip(node.value, get_args(kind), strict=True)
        )
    return _scalar(node, path, kind, rule, takes)


def _scalar(node: yaml.Node, path: str, kind: Any, rule: Rule, takes: str) -> Any:
    """A value that is no list, of a key that `takes` such; raises RefusalError."""
    if not isinstance(node, yaml.ScalarNode):
        raise RefusalError(path, f"must be {takes}, not a list or keys")
    text: str = node.value
    read_as = node.tag.rpartition(":")[2]  # the type that YAML would give it
    shown = f"{text!r:.60} in quotes" if node.style else repr(text)[1:-1][:60] or "empty"
    unlike = RefusalError(path, f"must be {takes}, not {shown}")
    if get_origin(kind) is tuple:
        raise unlike
    if kind in (int, float):
        written = (_INT if kind is int else _FLOAT).fullmatch(text)
        if node.style or not written or not rule.low <= float(text.replace("_", "")) <= rule.high:
            raise unlike
        return kind(text) + 0  # not -0.0, which is the same and written otherwise
    if kind is bool:
        if read_as != "bool":
            raise unlike
        return yaml.SafeLoader.bool_values[text.lower()]
    if read_as == "null":
        raise unlike
    if get_origin(kind) is Literal and all(isinstance(one, int) for one in get_args(kind)):
        if node.style or text not in map(str, get_args(kind)):
            raise unlike
        return int(text)
    if read_as != "str":
        raise RefusalError(path, f"must be {takes}, but YAML reads {text:.60} as {read_as}; put it in quotes")
    if get_origin(kind) is Literal and text not in get_args(kind):
        raise unlike
    wrong = plain_text(text)
    if wrong:
        raise RefusalError(path, wrong)
    try:
        text = rule.read(text) if rule.read else text
    except ValueError as error:
        raise RefusalError(path, str(error)) from None
    return kind(text) if kind is Path else text


def _takes(kind: Any, rule: Rule) -> str:
    if rule.takes:
        return rule.takes
    if get_origin(kind) is Literal:
        *most, last = map(str, get_args(kind))
        return f"{', '.join(most)} or {last}"
    if get_origin(kind) is tuple:
        return f"a list of {len(get_args(kind))} numbers from {rule.low:.15g} to {rule.high:.15g}"
    if kind in (int, float):
        return f"{'a whole number' if kind is int else 'a number'} from {rule.low:.15g} to {rule.high:.15g}"
    return {bool: "true or false", str: "text", Path: "a path"}[kind]


def _holds(kind: Any, rule: Rule, which: str) -> str:
    """As _takes, of a key that holds one or several sections."""
    bound = f", at most {rule.most}" if rule.most is not None else ""
    several = {dict: f"names{bound}, each with ", tuple: f"a list{bound}, each with "}
    return f"{several.get(get_origin(kind), '')}the keys {which}"


def _yaml(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unknown(schema: type, path: str, name: str) -> str:
    """What to say of a key that the schema does not have."""
    siblings = list(_settings(schema))
    wrong = f"{path}{name:.60} is not a key"
    near = [key.path for key in keys(schema) if key.path.rpartition(".")[2] == name]
    near = near or difflib.get_close_matches(name, siblings, n=1)
    if near:
        return f"{wrong}; did you mean {' or '.join(path + other for other in near)}?"
    return f"{wrong}; the keys here are {', '.join(siblings)}"


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and bool(node.tag == "tag:yaml.org,2002:null")


def _at(source: str, node: yaml.Node, wrong: str) -> str:
    return f"{source}:{_line(node.start_mark)}: {wrong}"


def _line(mark: Any) -> int:
    return int(mark.line) + 1
