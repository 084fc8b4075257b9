"""What `collect` and `publish` share: boards by their addresses."""

import argparse
import json
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from agent.board.files import read_bounded
from agent.board.secret import MAX_CERTIFICATES_BYTES, Secret, warn_of_open
from agent.config import parse_config
from agent.errors import ConfigError
from agent.reporting.mqtt.endpoint import Endpoint
from agent.state.tasks import checked
from trainer.fleet.boards import Board, HttpBoard
from trainer.fleet.mqtt import MqttBoard

BOARDS = """\
A board is named by the address that it listens on, http://HOST:PORT, or by the broker that it reports to and its node,
mqtt://BROKER[:PORT]/NODE; https and mqtts are encrypted.
"""


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("boards", nargs="+", metavar="BOARD", help="http://HOST:PORT or mqtt://BROKER/NODE")
    command.add_argument("--task", metavar="NAME", help="of each board; needed for those that have several")
    command.add_argument("--token-file", type=Path, metavar="FILE", help="the token that the boards want over HTTP")
    command.add_argument("--ca", type=Path, metavar="FILE", help="whom to believe who they are (https, mqtts)")


def boards_of(arguments: argparse.Namespace) -> list[Board]:
    """Raises ConfigError for what is no address of a board or name of a task, and for files that cannot be used.

    To the broker of a board --mqtt-user and --mqtt-password-file are shown.
    """
    if arguments.task is not None:
        checked(arguments.task)
    named = [("--token-file", arguments.token_file), ("--mqtt-password-file", arguments.mqtt_password_file)]
    warn_of_open(Secret(name, file) for name, file in named if file is not None)
    token = None if arguments.token_file is None else Secret("--token-file", arguments.token_file).token()
    if arguments.ca is not None:
        try:
            read_bounded(arguments.ca, MAX_CERTIFICATES_BYTES)
        except OSError as error:
            raise ConfigError(f"--ca {arguments.ca} cannot be read: {error.strerror}") from error
    found: list[Board] = []
    for address in dict.fromkeys(arguments.boards):
        try:
            parts = urlsplit(address)
            of_host = parts.hostname is not None and not parts.query and (parts.port or 1) > 0
        except ValueError:
            of_host = False
        if of_host and parts.scheme in ("http", "https") and not parts.path.strip("/"):
            found.append(HttpBoard(address, token, arguments.ca, arguments.task))
        elif of_host and parts.scheme in ("mqtt", "mqtts") and parts.path.strip("/"):
            found.append(MqttBoard(address, _endpoint(parts, arguments), arguments.task))
        else:
            raise ConfigError(f"a board is http://HOST:PORT or mqtt://BROKER[:PORT]/NODE, not {address!r:.80}")
    return found


def _endpoint(parts: SplitResult, arguments: argparse.Namespace) -> Endpoint:
    tls = parts.scheme == "mqtts"
    settings = {
        "host": parts.hostname,
        "port": parts.port or (8883 if tls else 1883),
        "node": unquote(parts.path.strip("/")),
        "username": arguments.mqtt_user,
        "password_file": None if arguments.mqtt_password_file is None else str(arguments.mqtt_password_file),
        "tls": tls,
        "ca_file": None if arguments.ca is None else str(arguments.ca),
    }
    return Endpoint.of(parse_config(json.dumps({"mqtt": settings}), parts.geturl()).mqtt)
