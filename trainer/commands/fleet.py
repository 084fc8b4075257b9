"""What `collect` and `publish` share: boards by their addresses."""

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from agent.errors import ConfigError
from trainer.boards import Board, HttpBoard

BOARDS = """\
A board is named by the address that it listens on, http://HOST:PORT.
"""


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("boards", nargs="+", metavar="BOARD", help="such as http://porch.lan:8080")
    command.add_argument("--token-file", type=Path, metavar="FILE", help="the token that the boards want over HTTP")
    command.add_argument("--ca", type=Path, metavar="FILE", help="whom to believe who they are (https)")


def boards_of(arguments: argparse.Namespace) -> list[Board]:
    """Raises ConfigError for what is no address of a board."""
    token = None
    if arguments.token_file is not None:
        try:
            token = arguments.token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--token-file {arguments.token_file} cannot be read: {error}") from error
    found: list[Board] = []
    for address in dict.fromkeys(arguments.boards):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigError(f"a board is named as http://HOST:PORT, not as {address!r:.80}")
        found.append(HttpBoard(address, token, arguments.ca))
    return found
