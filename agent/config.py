"""The configuration: each key once, with its type, bounds, documentation and default.

Each section is handed on alone to the room that needs it; nobody passes the whole around.
docs/config.md and systemd/lastlayer.yaml say the same in prose, and a test compares them.
"""

import ipaddress
import re
import socket
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from agent.board.files import open_regular
from agent.board.systemd import runtime_directory
from agent.errors import ConfigError
from agent.region import WHOLE, Region, Turn
from agent.schema import MAX_CHARS, RefusalError, Rule, parse, plain_text

TASK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,39}")  # it becomes part of topics, routes and folders
MAX_TASKS = 64
MAX_VIEWS = 64  # of a task
ROUNDING = 1e-6  # of shares that people write with a few digits
_OWN_DEFAULT = "the solver's own default"
MAX_SOCKET_PATH_BYTES = 99  # the kernel takes 107; while it is made, a number stands behind it


def is_loopback(host: str) -> bool:
    """Whether nothing but this machine can reach a socket that listens on host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def default_node() -> str:
    """The host name, with what no topic may hold turned into dashes."""
    name = re.sub(r"[/+#]", "-", socket.gethostname()).strip()
    try:
        return "board" if plain_text(name) else _topic_level(name)
    except ValueError:
        return "board"


def _topic_level(node: str) -> str:
    if re.search(r"[/+#]", node):
        raise ValueError(f"becomes part of topics and must not hold / + or #, as {node!r:.60} does")
    if len(node.encode()) > 128:
        raise ValueError("becomes part of topics and may take 128 bytes")
    return node


def _camera(name: str) -> str:
    if len(name.encode()) > 200:
        raise ValueError("may take 200 bytes")
    return unicodedata.normalize("NFC", name.strip())  # as records.checked_name has that of a frame


def _task(name: str) -> str:
    if not TASK_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r:.60} is no name of a task: it becomes part of topics and folders, and is a word of at most 40 "
            "letters (a to z), digits, _ and -, which does not begin with -"
        )
    return name


def _label(text: str) -> str:
    from agent.records import checked_label  # not before: it takes numpy, without which `doctor` has to go on

    return checked_label(text)


def _topic(prefix: str) -> str:
    if re.search(r"[+#]|^\$|^/|/$", prefix):
        raise ValueError(f"is a topic without + and #, and without / at its ends, unlike {prefix!r:.60}")
    return prefix


def _host_name(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            host.encode("idna")  # as connecting will; its UnicodeError there would be a surprise
            spelt = not re.search(r"[\s/@:\[\]]", host)
        except UnicodeError:
            spelt = False
        if not spelt:
            wrong = f"must be a host name or an address, without scheme and port, not {host!r:.60}"
            raise ValueError(wrong) from None
    return host


def service_socket() -> Path | None:
    """The socket for cameras, where systemd made a folder for it."""
    folder = runtime_directory()
    return folder / "http.sock" if folder is not None else None


def _socket_path(path: str) -> str:
    size = len(path.encode())
    if size > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"may take {MAX_SOCKET_PATH_BYTES} bytes, not {size}")
    return path


@dataclass(frozen=True, slots=True)
class FramesConfig:
    max_bytes: Annotated[int, Rule("The largest picture that is accepted, in bytes.", 1024, 268_435_456)] = 10_485_760
    max_pixels: Annotated[int, Rule("The largest picture that is decoded, in pixels.", 1, 500_000_000)] = 40_000_000
    decoding_bytes: Annotated[
        int,
        Rule(
            "Memory for the pictures that are decoded at once; a large one may take three quarters of it.",
            16_777_216,
            4_294_967_296,
        ),
    ] = 268_435_456
    inbox: Annotated[
        int, Rule("How many frames may be under way; beyond that, senders wait or are told to come again.", 1, 1000)
    ] = 16
    remember: Annotated[int, Rule("How many recent frames can be labelled without sending them again.", 1, 100_000)] = (
        1000
    )


@dataclass(frozen=True, slots=True)
class HttpConfig:
    host: Annotated[str, Rule("The address to listen on.", read=_host_name)] = "127.0.0.1"
    port: Annotated[int, Rule("The port to listen on; 0 takes any free one.", 0, 65_535)] = 8080
    socket: Annotated[
        Path | None,
        Rule(
            "A unix socket to listen on as well; who may open the file is let in.",
            null="/run/lastlayer/http.sock in the service, else none",
            read=_socket_path,
        ),
    ] = field(default_factory=service_socket)
    open: Annotated[
        bool,
        Rule("true lets anyone on the network use this board without a token; off loopback one of both is needed."),
    ] = False
    token_file: Annotated[
        Path | None, Rule("A file with the token that everyone must show who comes over TCP.", null="none is asked for")
    ] = None
    tls_certificate: Annotated[
        Path | None, Rule("A PEM file with the certificate, and those that signed it.", null="HTTP without TLS")
    ] = None
    tls_key: Annotated[
        Path | None, Rule("A PEM file with the key of the certificate.", null="it is in the same file")
    ] = None
    max_per_second: Annotated[
        float, Rule("Requests a second that one address may send over TCP, and twice as many at once.", 0.1, 1_000_000)
    ] = 1000.0
    request_timeout_s: Annotated[float, Rule("Seconds within which a whole request must have arrived.", 0.1, 3600)] = (
        10.0
    )

    def __post_init__(self) -> None:
        if not self.open and self.token_file is None and not is_loopback(self.host):
            raise RefusalError(
                "http.host",
                f"{self.host} can be reached from other machines, and anyone there could use this board; "
                "take 127.0.0.1, or ask for a token with http.token_file, or say that this is what you want with "
                "http.open: true",
            )
        if self.open and self.token_file is not None:
            raise RefusalError(
                "http.open", "true asks for no token, and http.token_file for one: leave one of them out"
            )
        if self.tls_key is not None and self.tls_certificate is None:
            raise RefusalError("http.tls_key", "a key needs its certificate: set http.tls_certificate too")


@dataclass(frozen=True, slots=True)
class MqttConfig:
    host: Annotated[str | None, Rule("The broker to report to.", null="no MQTT", read=_host_name)] = None
    port: Annotated[int, Rule("The port of the broker.", 1, 65_535)] = 1883
    node: Annotated[
        str,
        Rule(
            "The name of this board; its topics begin with lastlayer/<node>/.", null="the host name", read=_topic_level
        ),
    ] = field(default_factory=default_node)
    username: Annotated[str | None, Rule("The user to log in as.", null="no login")] = None
    password_file: Annotated[
        Path | None,
        Rule("A file with that user's password.", null="in the service /etc/lastlayer/mqtt-password, else none"),
    ] = None
    tls: Annotated[
        bool, Rule("Whether the connection is encrypted and the broker has to prove who it is; its port is then 8883.")
    ] = False
    ca_file: Annotated[
        Path | None, Rule("The certificates that the broker's is checked against.", null="those of the system")
    ] = None
    certificate_file: Annotated[
        Path | None, Rule("A certificate by which the broker knows this board.", null="none")
    ] = None
    key_file: Annotated[Path | None, Rule("The key of that certificate.", null="it is in the same file")] = None
    keepalive_s: Annotated[
        int, Rule("Seconds of silence after which board and broker check on each other.", 1, 65_535)
    ] = 30
    discovery: Annotated[bool, Rule("Whether Home Assistant is told which entities there are.")] = True
    discovery_prefix: Annotated[str, Rule("Below which topic Home Assistant listens for that.", read=_topic)] = (
        "homeassistant"
    )

    def __post_init__(self) -> None:
        if self.password_file is not None and self.username is None:
            raise RefusalError("mqtt.password_file", "a password needs a user: set mqtt.username too")
        for name in ("ca_file", "certificate_file", "key_file"):
            if getattr(self, name) is not None and not self.tls:
                raise RefusalError(f"mqtt.{name}", "is for an encrypted connection: set mqtt.tls: true too")
        if self.key_file is not None and self.certificate_file is None:
            raise RefusalError("mqtt.key_file", "a key needs its certificate: set mqtt.certificate_file too")


@dataclass(frozen=True, slots=True)
class FolderConfig:
    path: Annotated[
        Path | None,
        Rule("A folder whose pictures are classified; a subfolder is a camera.", null="none is watched"),
    ] = None
    after: Annotated[
        Literal["move", "delete", "keep"],
        Rule("What becomes of a classified picture: it goes into the subfolder done, or is deleted, or stays."),
    ] = "move"
    camera: Annotated[
        str | None, Rule("The camera of what lies in the folder itself.", null="no name", read=_camera)
    ] = None
    scan_s: Annotated[
        float, Rule("Seconds after which the folder is looked through for what inotify did not tell.", 0.1, 86_400)
    ] = 60.0
    settle_s: Annotated[
        float,
        Rule("Seconds for which a torn or empty picture must not have changed before it is taken for bad.", 0, 86_400),
    ] = 10.0


@dataclass(frozen=True, slots=True)
class CacheConfig:
    sync_records: Annotated[
        int, Rule("Examples that may be acknowledged before they are on flash together; 1: none.", 1, 10_000)
    ] = 1
    sync_ms: Annotated[int, Rule("Milliseconds after which they are on flash at the latest.", 1, 60_000)] = 1000
    max_bytes: Annotated[
        int | None,
        Rule(
            "The most that examples may take; beyond it the oldest of the largest label go.",
            1_048_576,
            1_099_511_627_776,
            "as much as there is room for",
        ),
    ] = None
    compact_bytes_per_day: Annotated[
        int, Rule("The most that compaction may write in a day, in bytes; 0: it does not.", 0, 1_099_511_627_776)
    ] = 268_435_456
    endurance_tbw: Annotated[
        float | None, Rule("Terabytes that the card can be written, by its maker.", 0.001, 1e6, "not known")
    ] = None


@dataclass(frozen=True, slots=True)
class RetrainConfig:
    solver: Annotated[Literal["auto", "adam", "sgd"], Rule("How a head is fitted; auto leaves it to the agent.")] = (
        "auto"
    )
    learning_rate: Annotated[float | None, Rule("The step size.", 1e-8, 100, _OWN_DEFAULT)] = None
    epsilon: Annotated[float | None, Rule("Adam's epsilon.", 1e-12, 1, _OWN_DEFAULT)] = None
    batch: Annotated[int | None, Rule("Examples in a step.", 1, 1_000_000, _OWN_DEFAULT)] = None
    steps: Annotated[int | None, Rule("Steps in all.", 1, 10_000_000, _OWN_DEFAULT)] = None
    validate_every: Annotated[int, Rule("Steps from one validation to the next.", 1, 10_000_000)] = 100
    seed: Annotated[int, Rule("Seed of all that is random: the same seed gives the same head.", 0, 4_294_967_295)] = 0
    auto_after: Annotated[
        int, Rule("Retrain unasked after so many new examples; 0: only when asked.", 0, 1_000_000_000)
    ] = 0
    margin: Annotated[
        float, Rule("Loss of top-1 beyond which, and beyond chance, a new head does not go into service.", 0, 1)
    ] = 0.02
    keep_heads: Annotated[int, Rule("Heads that are kept; older ones are deleted.", 2, 10_000)] = 20
    pause_above_c: Annotated[
        float, Rule("Pause while a sensor of the board is hotter, in degrees Celsius.", -100, 200)
    ] = 80.0
    pause_below_free_bytes: Annotated[
        int, Rule("Pause while less memory than this is free, in bytes.", 0, 1_000_000_000_000)
    ] = 33_554_432
    pause_latency_factor: Annotated[
        float, Rule("Pause when frames take so many times as long as without a retraining; 0: never.", 0, 1000)
    ] = 3.0


@dataclass(frozen=True, slots=True)
class ReportConfig:
    window_s: Annotated[float, Rule("Seconds over which timings are summed up before a report.", 0.1, 86_400)] = 10.0
    spool_bytes: Annotated[
        int,
        Rule(
            "The most that reports may take on flash while the broker is away; beyond it the oldest go. 0: none wait.",
            0,
            1_073_741_824,
        ),
    ] = 16_777_216
    spool_hours: Annotated[float, Rule("Hours after which a report is not worth sending any more.", 0.01, 87_600)] = (
        168.0
    )


@dataclass(frozen=True, slots=True)
class DebounceConfig:
    agree: Annotated[
        int, Rule("How many of the last frames must agree before the state of a camera, or a view, changes.", 1, 1000)
    ] = 3
    of: Annotated[int, Rule("How many of the last frames are looked at for that.", 1, 1000)] = 5
    min_probability: Annotated[
        float, Rule("The probability below which the answer for a frame counts as unknown for that.", 0, 1)
    ] = 0.0

    def __post_init__(self) -> None:
        if self.agree > self.of:
            raise RefusalError("agree", f"{self.agree} frames cannot agree of {self.of}; set both")


@dataclass(frozen=True, slots=True)
class ViewConfig:
    camera: Annotated[
        str | None,
        Rule("The camera whose frames are looked at.", null="every camera, and frames of none", read=_camera),
    ] = None
    name: Annotated[str | None, Rule("What the view is called.", null="as its camera", read=_camera)] = None
    region: Annotated[
        Region,
        Rule(
            "The part of the upright picture that is looked at.",
            0,
            1,
            takes="[left, top, width, height], each a share of the picture from 0 to 1",
        ),
    ] = WHOLE
    rotate: Annotated[Turn, Rule("By how many degrees what was cut out is turned, clockwise.")] = 0
    skip_unchanged: Annotated[
        float,
        Rule(
            "A frame is passed by if no cell of its tiny grey copy differs by more than this from that of the last "
            "classified one; 1 would be from black to white. 0: none is passed by.",
            0,
            0.25,
        ),
    ] = 0.0
    skip_at_most_s: Annotated[
        float, Rule("Seconds after which a frame is classified even if it shows nothing new.", 0.1, 86_400)
    ] = 60.0

    @property
    def known_as(self) -> str:
        """ "" where it is called by the camera of each frame."""
        return self.name or self.camera or ""

    def __post_init__(self) -> None:
        left, top, width, height = self.region
        if width == 0 or height == 0:
            raise RefusalError("region", f"has no area: its width is {width:g}, its height {height:g}")
        if left + width > 1 + ROUNDING:
            raise RefusalError("region", f"leaves the picture: left {left:g} and width {width:g} are together above 1")
        if top + height > 1 + ROUNDING:
            raise RefusalError("region", f"leaves the picture: top {top:g} and height {height:g} are together above 1")


@dataclass(frozen=True, slots=True)
class TaskConfig:
    views: Annotated[
        tuple[ViewConfig, ...],
        Rule("Where it looks; without any, at the whole frames of all cameras.", most=MAX_VIEWS),
    ] = ()
    backbone: Annotated[
        str | None, Rule("Its frozen network: the name of a bundle, or a path.", null="as `backbone` says")
    ] = None
    on: Annotated[
        str | None,
        Rule("Of its two labels the one that Home Assistant shows as on.", null="none", read=_label),
    ] = None
    retrain: Annotated[RetrainConfig | None, Rule("What holds for it instead of `retrain`.", null="the same")] = None
    debounce: Annotated[DebounceConfig | None, Rule("What holds for it instead of `debounce`.", null="the same")] = None

    def __post_init__(self) -> None:
        numbers: dict[str, int] = {}
        for number, view in enumerate(self.views, start=1):
            if not view.known_as and len(self.views) > 1:
                raise RefusalError(
                    "views",
                    f"[{number}] has neither camera nor name: it is called by the camera of each frame, and beside "
                    "other views needs a name",
                )
            first = numbers.setdefault(view.known_as, number)
            if first != number:
                raise RefusalError(
                    "views", f"[{first}] and [{number}] are both called {view.known_as!r:.60}: give each its own name"
                )


@dataclass(frozen=True, slots=True)
class Config:
    """All sections; Config() is what an empty file gives."""

    backbone: Annotated[
        str | None,
        Rule("The frozen network: the name of a bundle, or a path.", null="the one that ships with Lastlayer"),
    ] = None
    state: Annotated[
        Path | None,
        Rule(
            "The folder of the cache and the heads.",
            null="--state, /var/lib/lastlayer in the service, or the usual place of the user",
        ),
    ] = None
    threads: Annotated[int, Rule("Threads of the backbone.", 1, 256)] = 1
    frames: FramesConfig = field(default_factory=FramesConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    folder: FolderConfig = field(default_factory=FolderConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    debounce: DebounceConfig = field(default_factory=DebounceConfig)
    cameras: Annotated[
        dict[str, DebounceConfig], Rule("What holds for single cameras instead of `debounce`.", read=_camera)
    ] = field(default_factory=dict)
    tasks: Annotated[
        dict[str, TaskConfig],
        Rule("Questions that are asked of frames, each with its own labels and heads.", most=MAX_TASKS, read=_task),
    ] = field(default_factory=dict)


def load_config(path: Path | None) -> Config:
    """The configuration in a file; None gives the defaults.

    Relative paths in it count from the working directory. Raises ConfigError, which
    names the file, the line, the key, and what would be right.
    """
    if path is None:
        return Config()
    try:
        with open_regular(path) as file:
            raw = file.read(4 * MAX_CHARS + 1)  # no UTF-8 character takes more than 4 bytes
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return parse_config(raw.decode(), str(path))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: this is not UTF-8 text") from error


def parse_config(text: str, source: str) -> Config:
    """The configuration in a YAML text; source names it in complaints. Raises ConfigError."""
    return parse(Config, text, source)
