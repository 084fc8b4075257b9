"""Files with tokens, passwords and keys: what is in them, and whether they are kept."""

import logging
import re
import shlex
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from agent.board.files import read_bounded
from agent.errors import ConfigError

log = logging.getLogger(__name__)

MAX_SECRET_BYTES = 65_535  # what MQTT can carry
MAX_CERTIFICATES_BYTES = 4 << 20  # all that a system believes take a quarter of one
MIN_TOKEN_CHARS, MAX_TOKEN_CHARS = 16, 1024

_BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "a byte order mark, as editors for Windows write it: save it as UTF-8 without one",
    b"\xff\xfe": "the byte order mark of UTF-16: save it as UTF-8 without one",
    b"\xfe\xff": "the byte order mark of UTF-16: save it as UTF-8 without one",
}
_CONTROLS = {"\0": "a NUL, as UTF-16 has them", "\t": "a tab", "\n": "a line feed", "\r": "a carriage return"}


class Secret(NamedTuple):
    key: str  # of the configuration, or the option, that names it
    path: Path

    @property
    def complaint(self) -> str:
        """What is wrong where every user of this machine may come at it; "" where only its owner and its group may.

        The group may be there for that: a service gets what it reads so.
        """
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return ""  # who reads it says what is wrong with it
        if not stat.S_ISREG(mode) or not mode & (stat.S_IROTH | stat.S_IWOTH):
            return ""
        return f"{self.key}: every user may {'read' if mode & stat.S_IROTH else 'change'} {self.path}"

    @property
    def remedy(self) -> str:
        """What to type."""
        return f"chmod o= {shlex.quote(str(self.path))}"

    def password(self) -> tuple[str, str]:
        """The password in it, and what in that is hardly meant; "" for nothing. Raises ConfigError.

        One newline at the end, of either kind, does not count. All else is the password's, however odd.
        """
        content = self._read()
        try:
            password = content.decode()
        except UnicodeDecodeError:
            raise ConfigError(f"{self._named} is not UTF-8 text: it {oddity(content)}") from None
        if len(content) > MAX_SECRET_BYTES:
            raise ConfigError(f"{self._named} holds more than a password")
        odd = oddity(content)
        return password, f"{self._named} {odd}" if odd else ""

    def token(self) -> str:
        """The token in it; one newline at its end, of either kind, does not count. Raises ConfigError."""
        content = self._read()
        spoilt = re.search(rb"[^!-~]", content)
        if spoilt is not None:
            wrong = f"; it {oddity(content) or _has(content, spoilt.start())}"
        elif not MIN_TOKEN_CHARS <= len(content) <= MAX_TOKEN_CHARS:
            wrong = f", not {len(content)}" if len(content) <= MAX_TOKEN_CHARS else ", not more"
        else:
            return content.decode("ascii")
        raise ConfigError(
            f"{self._named} must hold one line of {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} visible ASCII characters"
            f"{wrong}; `openssl rand -hex 32` makes a good one"
        )

    def unreadable_pem(self) -> str:
        """Why PEM in it cannot be read, if it cannot; "" where nothing odd is seen, or the file cannot be read."""
        try:
            content = read_bounded(self.path, MAX_CERTIFICATES_BYTES)
        except OSError:
            return ""
        if not content:
            return f"{self._named} is empty"
        marked = content.startswith(tuple(_BYTE_ORDER_MARKS)) or b"\0" in content
        return f"{self._named} {oddity(content)}" if marked else ""

    @property
    def _named(self) -> str:
        return f"{self.key}: {self.path}"

    def _read(self) -> bytes:
        """Its content without the newline at its end; never empty. Raises ConfigError."""
        try:
            content = read_bounded(self.path, MAX_SECRET_BYTES + 2)
        except OSError as error:
            raise ConfigError(f"{self._named} cannot be read: {error.strerror}") from error
        line = content.removesuffix(b"\n").removesuffix(b"\r") if content.endswith(b"\n") else content
        if not line:
            raise ConfigError(f"{self._named} is empty")
        return line


def oddity(content: bytes) -> str:
    """The first that is hardly meant in a secret, named with its place; "" for nothing. It says nothing of the rest.

    Hardly meant are byte order marks, what is no UTF-8, controls, what cannot be seen, and blanks at an end.
    """
    for mark, what in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return f"begins with {mark.hex(' ').upper()}, {what}"
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return f"has {content[error.start]:02X} at byte {error.start}, which is no UTF-8"
    ends = (0, len(text) - 1)
    for place, character in enumerate(text):
        kind = unicodedata.category(character)
        if kind[0] == "C" or kind in ("Zl", "Zp") or (kind == "Zs" and (character != " " or place in ends)):
            return _has(content, len(text[:place].encode()))
    return ""


def _has(content: bytes, at: int) -> str:
    """The character at a byte, by its name."""
    character = next(iter(content[at:].decode(errors="replace")))
    name = _CONTROLS.get(character) or unicodedata.name(character, "a control character").lower()
    size = len(character.encode()) if character != "\ufffd" else 1
    return f"has {content[at : at + size].hex(' ').upper()} at byte {at}, {name}"


def warn_of_open(secrets: Iterable[Secret]) -> None:
    """A line in the log for each that is open to all."""
    for secret in secrets:
        if complaint := secret.complaint:
            log.warning("%s; type: %s", complaint, secret.remedy)
