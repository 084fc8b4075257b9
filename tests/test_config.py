import os
import re
import socket
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.config import (
    ROUNDING,
    Config,
    DebounceConfig,
    HttpConfig,
    MqttConfig,
    RetrainConfig,
    TaskConfig,
    ViewConfig,
    default_node,
    is_loopback,
    load_config,
    parse_config,
)
from agent.errors import ConfigError
from agent.records import Frame, checked_label
from agent.schema import Key, keys

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "systemd" / "lastlayer.yaml"
REFERENCE = ROOT / "docs" / "config.md"


def config(text: str) -> Config:
    return parse_config(text, "lastlayer.yaml")


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config(text)
    return str(caught.value)


def written(path: str, value: str) -> str:
    """A text in which the key at a path, such as tasks.NAME.views[].region, has a value."""
    *above, name = path.split(".")
    text = f"{name}: {value}\n"
    for section in reversed(above):
        first, others = ("- ", "  ") if section.endswith("[]") else ("  ", "  ")
        text = f"{section.removesuffix('[]')}:\n" + first + text.replace("\n", f"\n{others}").rstrip(" ")
    return text


def test_no_file_and_an_empty_file_give_the_defaults(tmp_path: Path) -> None:
    empty = tmp_path / "lastlayer.yaml"
    empty.touch()
    assert load_config(None) == load_config(empty) == Config()


def test_the_defaults_serve_on_loopback_without_mqtt() -> None:
    assert (Config().http.host, Config().http.port, Config().mqtt.host) == ("127.0.0.1", 8080, None)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().http.port = 80  # type: ignore[misc]


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "lastlayer.yaml"
    file.write_text("state: /var/lib/lastlayer\nhttp:\n  port: 0\nmqtt: {host: broker.lan, node: Küche}\n", "utf-8")
    read = load_config(file)
    assert (read.state, read.http.port) == (Path("/var/lib/lastlayer"), 0)
    assert (read.mqtt.host, read.mqtt.node) == ("broker.lan", "Küche")


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, ": cannot be read: No such file or directory"),
        (b"http:\n  port: 8080\n\xff: 1\n", ":3: this is not UTF-8 text"),
        (b"http:\n  prot: 8080\n", ":2: http.prot is not a key; did you mean http.port?"),
        (b"#" * 300_000, ": may have 65536 characters"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(content: bytes | None, wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "lastlayer.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(f"{file}{wrong}")):
        load_config(file)


def test_what_is_no_file_is_no_configuration_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, what in ((tmp_path, "a folder"), (tmp_path / "fifo", "a FIFO"), (Path("/dev/zero"), "a device")):
        with pytest.raises(ConfigError, match=f"cannot be read: it is {what}"):
            load_config(path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "board.lan"])
def test_off_loopback_it_must_be_said_that_everyone_may_come(host: str) -> None:
    assert refusal(f'\nhttp: {{port: 80, host: "{host}"}}').startswith(
        f"lastlayer.yaml:2: http.host: {host} can be reached"
    )
    assert config(f'http: {{host: "{host}", open: true}}').http.host == host
    assert config(f'http: {{host: "{host}", token_file: t}}').http.token_file == Path("t")
    with pytest.raises(ConfigError, match=r"http\.open: true"):
        replace(HttpConfig(), host=host)  # a host given on the command line is no exception


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("http:\n  open: true\n  token_file: t\n", "2: http.open: true asks for no token, and http.token_file for one"),
        ("http:\n  tls_key: k\n", "2: http.tls_key: a key needs its certificate"),
        (f"http:\n  socket: /run/{'x' * 110}\n", "2: http.socket: may take 99 bytes, not 115"),
        ("http:\n  max_per_second: 0\n", "2: http.max_per_second: must be a number from 0.1"),
    ],
)
def test_settings_of_http_that_do_not_go_together_are_refused(text: str, wrong: str) -> None:
    assert refusal(text).startswith(f"lastlayer.yaml:{wrong}")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("lan", False)],
)
def test_what_loopback_is(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("host", ["mqtt://broker", "broker:1883", "[::1]", "a b", "x" * 70, "a..b", "user@broker"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    assert refusal(f'mqtt: {{host: "{host}"}}').startswith(
        "lastlayer.yaml:1: mqtt.host: must be a host name or an address"
    )


@pytest.mark.parametrize("node", ["a/b", "+", "a#", "x" * 129])
def test_a_node_must_be_able_to_stand_in_a_topic(node: str) -> None:
    assert refusal(f'mqtt: {{node: "{node}"}}').startswith("lastlayer.yaml:1: mqtt.node: becomes part of topics")


def test_an_unquoted_node_that_yaml_takes_for_false_is_refused() -> None:
    assert refusal("mqtt:\n  node: no\n") == (
        "lastlayer.yaml:2: mqtt.node: must be text, but YAML reads no as bool; put it in quotes"
    )


@pytest.mark.parametrize(
    ("host_name", "node"),
    [("porch", "porch"), ("a/b+c#d", "a-b-c-d"), ("", "board"), ("a\x00b", "board"), ("x" * 200, "board")],
)
def test_the_node_is_the_host_name_made_fit_for_topics(
    host_name: str, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host_name)
    assert default_node() == MqttConfig().node == config("mqtt: {node: null}").mqtt.node == node


def test_a_password_needs_a_user() -> None:
    assert refusal("mqtt:\n  password_file: p\n").startswith(
        "lastlayer.yaml:2: mqtt.password_file: a password needs a user"
    )
    assert config("mqtt: {password_file: p, username: u}").mqtt.password_file == Path("p")


def test_cameras_may_have_rules_of_their_own() -> None:
    read = config('debounce: {agree: 2, of: 2}\ncameras:\n  door: {agree: 1, of: 3}\n  "12:30":\n    of: 9\n')
    assert (read.debounce.agree, read.cameras["door"].agree, read.cameras["12:30"].of) == (2, 1, 9)
    assert config("cameras: {}\n").cameras == {}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("debounce:\n  agree: 6\n", "2: debounce.agree: 6 frames cannot agree of 5"),
        ("debounce:\n  of: 2\n", "debounce.agree: 3 frames cannot agree of 2"),
        ("cameras:\n  door:\n    agree: 6\n", "3: cameras.door.agree: 6 frames cannot agree of 5"),
        ("cameras:\n  door: {agrees: 6}\n", "2: cameras.door.agrees is not a key; did you mean cameras.door.agree?"),
        ("cameras:\n  no: {agree: 1}\n", "2: cameras: must be .* but YAML reads no as bool; put it in quotes"),
        ("cameras:\n  a: {}\n  a: {}\n", "3: cameras.a is given twice"),
        ("cameras: door\n", "1: cameras: must hold names, each with keys and values, such as {name: {agree: 3}}"),
        ("cameras: {door: 3}\n", "1: cameras.door must hold keys with values, such as"),
        ("cameras: {[a]: {}}\n", "1: cameras: must be"),
        ("cameras: {" + "x" * 201 + ": {}}\n", "1: cameras: may take 200 bytes"),
    ],
)
def test_debouncing_that_cannot_be_is_refused(text: str, wrong: str) -> None:
    assert re.search(wrong, refusal(text))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(keys(Config))), st.text(max_size=8) | st.integers().map(str) | st.floats().map(str))
def test_any_value_of_any_key_is_taken_or_refused(key: Key, value: str) -> None:
    try:
        assert isinstance(config(written(key.path, value)), Config)
    except ConfigError as error:
        assert str(error).startswith("lastlayer.yaml:")


def shown(text: str) -> Iterator[tuple[str, str]]:
    """The keys with a value in a YAML text of one line a key, each with what stands there."""
    above: list[tuple[int, str]] = []
    for indent, name, value in re.findall(r"^( *(?:- )?)(\w+): *(.*)$", text, flags=re.MULTILINE):
        while above and above[-1][0] >= len(indent):
            above.pop()
        if value:
            yield ".".join([*(section for _, section in above), name]), value
        else:
            above.append((len(indent), name))


def test_the_example_changes_nothing_and_shows_every_default() -> None:
    text = EXAMPLE.read_text("utf-8")
    assert config(text) == Config()
    uncommented = re.sub(r"^( *)#([a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    assert config(uncommented) == Config()
    once = [(key.path, key.default) for key in keys(Config) if not key.path.startswith("tasks.")]
    assert list(shown(uncommented)) == once


def test_the_example_shows_a_task_with_every_default() -> None:
    text = EXAMPLE.read_text("utf-8")
    task = re.sub(r"^# ?", "", text[text.index("# tasks:") :], flags=re.MULTILINE)
    assert config(task).tasks == {"NAME": TaskConfig(views=(ViewConfig(),))}
    below = [(key.path.replace("[]", ""), key.default) for key in keys(Config) if key.path.startswith("tasks.")]
    assert [("tasks.NAME.views", "[]"), *shown(task)] == below


def test_the_example_documents_every_key() -> None:
    comments = " ".join(re.findall(r"^[ #]*# (.*)", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE))
    missing = [key.path for key in keys(Config) if f"{key.doc} ({key.takes})" not in comments]
    assert missing == []


def test_the_reference_has_a_row_for_every_key() -> None:
    rows = [line for line in REFERENCE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert rows == [f"| `{key.path}` | {key.takes} | `{key.default}` | {key.doc} |" for key in keys(Config)]


def test_every_example_of_the_reference_is_taken() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", REFERENCE.read_text("utf-8"), flags=re.DOTALL)
    assert [config(text).tasks.keys() for text in examples if "tasks:" in text] == [{"gate", "spaces", "feeder"}]
    for text in examples:
        config(text)


def test_without_tasks_there_are_none() -> None:
    assert Config().tasks == config("tasks: {}\n").tasks == {}


def test_a_task_has_views_and_settings_of_its_own() -> None:
    task = config(
        """\
retrain: {margin: 0.1, seed: 7}
debounce: {agree: 2, of: 2, min_probability: 0.9}
tasks:
  gate:
    views:
      - {camera: yard, region: [0.62, 0.10, 0.20, 0.35], skip_unchanged: 0.03, skip_at_most_s: 10}
      - {name: street/left side, rotate: 270}
    backbone: small
    on: open
    retrain: {auto_after: 20}
    debounce: {agree: 4}
"""
    ).tasks["gate"]
    yard = ViewConfig("yard", None, (0.62, 0.10, 0.20, 0.35), 0, 0.03, 10.0)
    assert task.views == (yard, ViewConfig(name="street/left side", rotate=270))
    assert [view.known_as for view in task.views] == ["yard", "street/left side"]
    assert (task.backbone, task.on) == ("small", "open")
    assert task.retrain == RetrainConfig(auto_after=20), "a section of a task stands instead of the other as a whole"
    assert task.debounce == DebounceConfig(agree=4)


def test_a_task_of_which_nothing_is_said_looks_at_whole_frames() -> None:
    read = config("tasks:\n  gate:\n  default: {}\n")
    assert read.tasks == {"gate": TaskConfig(), "default": TaskConfig()}
    assert config("tasks: {gate: {views: [{}]}}").tasks["gate"].views == (ViewConfig(),)


@pytest.mark.parametrize("text", ["on: open", "'on': open", '"on": "open"', "? on\n    : open"])
def test_a_label_is_on_though_yaml_takes_that_word_for_true(text: str) -> None:
    assert config(f"tasks:\n  gate:\n    {text}\n").tasks["gate"].on == "open"


def test_names_are_those_that_frames_and_labels_have() -> None:
    for name in ("Ku\u0308che", " K\u00fcche "):
        read = config(yaml.safe_dump({"tasks": {"a": {"views": [{"camera": name}]}}, "cameras": {name: {}}}))
        assert read.tasks["a"].views[0].camera == Frame.pushed(b"", name).camera == "K\u00fcche"
        assert list(read.cameras) == ["K\u00fcche"]
    assert config('tasks: {a: {on: " wide  open"}}').tasks["a"].on == checked_label(" wide  open") == "wide open"


SHARES = "each a share of the picture from 0 to 1"


@pytest.mark.parametrize(
    ("view", "wrong"),
    [
        ("region: [620, 100, 200, 350]", f"region: must be [left, top, width, height], {SHARES}, not 620"),
        ("region: [0.1, 0.1, 0.5]", f"region: must be [left, top, width, height], {SHARES}; this has 3"),
        ("region: 0.5", f"region: must be [left, top, width, height], {SHARES}, not 0.5"),
        ("region: [-0.1, 0, 0.5, 0.5]", f"region: must be [left, top, width, height], {SHARES}, not -0.1"),
        ("region: [0, 0, .nan, 1]", f"region: must be [left, top, width, height], {SHARES}, not .nan"),
        ("region: [0, 0, 1, '1']", f"region: must be [left, top, width, height], {SHARES}, not '1' in quotes"),
        ("region: [0, 0, 50%, 1]", f"region: must be [left, top, width, height], {SHARES}, not 50%"),
        ("region: {left: 0}", f"region: must be [left, top, width, height], {SHARES}, not a list or keys"),
        ("region: null", f"region: must be [left, top, width, height], {SHARES}, not null"),
        ("region: [0.1, 0.1, 0, 0.5]", "region: has no area: its width is 0, its height 0.5"),
        ("region: [0.1, 0.1, 0.5, -0.0]", "region: has no area: its width is 0.5, its height 0"),
        (
            "region: [0.5, 0.1, 0.6, 0.5]",
            "region: leaves the picture: left 0.5 and width 0.6 are together above 1",
        ),
        (
            "region: [0.5, 0.9, 0.5, 0.2]",
            "region: leaves the picture: top 0.9 and height 0.2 are together above 1",
        ),
        ("rotate: 45", "rotate: must be 0, 90, 180 or 270, not 45"),
        ("rotate: -90", "rotate: must be 0, 90, 180 or 270, not -90"),
        ("rotate: 090", "rotate: must be 0, 90, 180 or 270, not 090"),
        ("rotate: right", "rotate: must be 0, 90, 180 or 270, not right"),
        ("skip_unchanged: yes", "skip_unchanged: must be a number from 0 to 0.25, not yes"),
        ("skip_unchanged: 8", "skip_unchanged: must be a number from 0 to 0.25, not 8"),
        ("skip_at_most_s: 0", "skip_at_most_s: must be a number from 0.1 to 86400, not 0"),
        ("camera: 2", "camera: must be text, but YAML reads 2 as int; put it in quotes"),
        ("camera: ''", "camera: must not be empty"),
        (f"camera: {'x' * 201}", "camera: may take 200 bytes"),
        ('name: "a\\tb"', "name: must not hold control characters"),
        ("cam: yard", "cam is not a key; did you mean tasks.gate.views[2].camera?"),
    ],
)
def test_a_view_that_cannot_be_is_refused_with_its_place(view: str, wrong: str) -> None:
    said = refusal(f"tasks:\n  gate:\n    views:\n      - {{name: all}}\n      - {{{view}}}\n")
    assert said == f"lastlayer.yaml:5: tasks.gate.views[2].{wrong}"


@pytest.mark.parametrize(
    ("task", "wrong"),
    [
        (
            "views: [{camera: yard}, {camera: yard}]",
            "views: [1] and [2] are both called 'yard': give each its own name",
        ),
        ("views: [{name: a}, {name: b}, {name: a}]", "views: [1] and [3] are both called 'a': give each its own name"),
        ("views: [{camera: a}, {camera: b, name: a}]", "views: [1] and [2] are both called 'a'"),
        ("views: [{camera: yard}, {}]", "views: [2] has neither camera nor name"),
        ("views: {camera: yard}", "views: must hold a list, each with keys and values"),
        ("views: [yard]", "views[1] must hold keys with values, such as region: [0, 0, 1, 1]"),
        (f"views: [{', '.join(['{}'] * 65)}]", "views: may hold 64, for each takes memory; this holds 65"),
        ("region: [0, 0, 1, 1]", "region is not a key; did you mean tasks.gate.views[].region?"),
        ("on: yes", "on: must be text, but YAML reads yes as bool; put it in quotes"),
        ("on: ''", "on: must not be empty"),
        ("on: [open]", "on: must be text, not a list or keys"),
        (f"on: {'x' * 201}", "on: a label may take 200 bytes, this one takes 201"),
        ("debounce: {agree: 6}", "debounce.agree: 6 frames cannot agree of 5"),
        ("retrain: {agree: 6}", "retrain.agree is not a key; the keys here are solver"),
        ("retrain: 3", "retrain must hold keys with values, such as solver: auto"),
    ],
)
def test_a_task_that_cannot_be_is_refused(task: str, wrong: str) -> None:
    assert refusal(f"tasks:\n  gate: {{{task}}}\n").startswith(f"lastlayer.yaml:2: tasks.gate.{wrong}")


@pytest.mark.parametrize("name", ["front gate", "-gate", "gate/left", "tür", "..", "a" * 41, "gate\u0660", "a.b", "a+"])
def test_the_name_of_a_task_is_a_word(name: str) -> None:
    assert refusal(f'tasks:\n  "{name}": {{}}\n').startswith(f"lastlayer.yaml:2: tasks: {name!r} is no name of a task")


@pytest.mark.parametrize("name", ["gate", "Gate-2", "_", "a" * 40, "default"])
def test_a_word_is_the_name_of_a_task(name: str) -> None:
    assert list(config(f"tasks: {{{name}: {{}}}}").tasks) == [name]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("tasks:\n", "1: tasks: must hold names, each with keys and values, such as {name: {views: [{region: "),
        ("tasks: [gate]\n", "1: tasks: must hold names"),
        ("tasks: {on: {}}\n", "1: tasks: must be text, but YAML reads on as bool; put it in quotes"),
        ("tasks: {1: {}}\n", "1: tasks: must be text, but YAML reads 1 as int; put it in quotes"),
        ("tasks:\n  gate: {}\n  gate: {}\n", "3: tasks.gate is given twice"),
        ("tasks: {" + ", ".join(f"t{n}: {{}}" for n in range(65)) + "}", "1: tasks: may hold 64, for each takes"),
        ("views: [{camera: yard}]\n", "1: views is not a key; did you mean tasks.NAME.views?"),
    ],
)
def test_tasks_that_cannot_be_are_refused(text: str, wrong: str) -> None:
    assert refusal(text).startswith(f"lastlayer.yaml:{wrong}")


@settings(deadline=None)
@given(st.lists(st.floats(-0.5, 1.5) | st.sampled_from([0, 1, 0.5, -0.0]), min_size=4, max_size=4))
@example([0.7, 0.1, 0.3, 0.9])
@example([0.333333, 0, 0.666667, 1])
def test_a_region_is_taken_if_and_only_if_it_lies_in_the_picture(region: list[float]) -> None:
    left, top, width, height = region
    inside = (
        min(region) >= 0 and min(width, height) > 0 and left + width <= 1 + ROUNDING and top + height <= 1 + ROUNDING
    )
    text = yaml.safe_dump({"tasks": {"gate": {"views": [{"region": region}]}}})
    if inside:
        assert config(text).tasks["gate"].views[0].region == tuple(region)
    else:
        assert "tasks.gate.views[1].region: " in refusal(text)
