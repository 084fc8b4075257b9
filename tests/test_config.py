import os
import re
import socket
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config import Config, HttpConfig, MqttConfig, default_node, is_loopback, load_config, parse_config
from agent.errors import ConfigError
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
        ("cameras: door\n", "1: cameras must hold names, each with keys and values"),
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
    *section, name = key.path.split(".")
    text = f"{section[0]}:\n  {name}: {value}\n" if section else f"{name}: {value}\n"
    try:
        assert isinstance(config(text), Config)
    except ConfigError as error:
        assert str(error).startswith("lastlayer.yaml:")


def test_the_example_changes_nothing_and_shows_every_default() -> None:
    text = EXAMPLE.read_text("utf-8")
    assert config(text) == Config()
    uncommented = re.sub(r"^( *)#([a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    assert config(uncommented) == Config()
    shown: list[tuple[str, str]] = []
    section = ""
    for line in uncommented.splitlines():
        if match := re.fullmatch(r"( *)([a-z_]+): *(.*)", line):
            indent, name, value = match.groups()
            section = "" if not indent else section
            if value:
                shown.append((section + name, value))
            else:
                section = f"{name}."
    assert shown == [(key.path, key.default) for key in keys(Config)]


def test_the_example_documents_every_key() -> None:
    comments = " ".join(re.findall(r"^ *# (.*)", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE))
    missing = [key.path for key in keys(Config) if f"{key.doc} ({key.takes})" not in comments]
    assert missing == []


def test_the_reference_has_a_row_for_every_key() -> None:
    rows = [line for line in REFERENCE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert rows == [f"| `{key.path}` | {key.takes} | `{key.default}` | {key.doc} |" for key in keys(Config)]
