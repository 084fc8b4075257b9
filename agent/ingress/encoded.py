"""Pictures that come as text: in base64, alone or with a name in JSON, as Node-RED and the clients of detectors send
them. What begins like a picture's file is one, whatever its sender calls it."""

import binascii
import difflib
import re
import string
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from agent.errors import InputError
from agent.records import SPLITS, Said, plain_json

FIELDS = ("label", "camera", "top", "new", "split", "task", "view")  # that may come beside a picture
USUAL = ("image", "data")  # names of the picture: one of these is told what is wrong with it

UNPACKING = threading.Lock()  # a picture that is unpacked takes its memory several times: one at a time

_TO_STANDARD = bytes.maketrans(b"-_", b"+/")  # from the alphabet of addresses
_ALPHABET = (string.ascii_letters + string.digits + "+/").encode()
_BLANKS = string.whitespace.encode()
_ESCAPED = re.compile(rb"\\(?:[nrt]|(/))")  # in a string of JSON
_MAX_DATA_BYTES = 200  # of what stands before the comma of a data: address
_NEAR = 0.78  # "lable" is near to label, "topic" is not to top


def is_picture(payload: bytes) -> bool:
    """Whether it begins as the file of a JPEG, PNG, BMP or WebP does."""
    return (
        payload.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or (payload.startswith(b"BM") and payload[6:10] == bytes(4))
        or (payload.startswith(b"RIFF") and payload[8:12] == b"WEBP")
    )


def unpacked(payload: bytes) -> tuple[bytes, dict[str, str]]:
    """The picture in what was sent, and the fields that came with it: a file, base64 or JSON. What is none of these
    is given as it is. Raises InputError."""
    if is_picture(payload):
        return payload, {}
    with UNPACKING:
        begin = payload[:1000].lstrip()
        if begin[:1] == b"{" or (begin[:1] == b'"' and _is_encoded(_ESCAPED.sub(rb"\1", begin[1:]))):
            return _from_json(payload)
        return plain(payload, "the picture"), {}


def plain(content: bytes, where: str) -> bytes:
    """A picture's file, where base64 of one is given that; else what is given. Raises InputError."""
    return _decoded(content, where) if _is_encoded(content) else content


def named(said: Mapping[str, Any], where: str) -> tuple[bytes, dict[str, str]]:
    """The one among the values that is base64 of a picture, whatever its name; and the fields of ours beside it.

    Others are their senders' own, unless they look like misspelt ones of ours. Raises InputError.
    """
    others = {name: value for name, value in said.items() if name not in FIELDS}
    found = [
        name for name, value in others.items() if isinstance(value, (str, bytes)) and _is_encoded(_bytes(value[:1000]))
    ]
    found = found or [name for name in USUAL if name in others][:1]
    if len(found) != 1:
        what = f"holds {len(found)} pictures" if found else "holds no picture"
        raise InputError(f"{where} {what}: send one, as a file or in base64 as `image`, and a request for each picture")
    text = others.pop(found[0])
    if not isinstance(text, (str, bytes)):
        raise InputError(f"the `{found[0]}` of {where} must be text, in base64")
    check_spelling(others)
    return _decoded(_bytes(text), f"the `{found[0]}` of {where}"), fields(said)


def fields(said: Mapping[str, Any]) -> dict[str, str]:
    """Those of ours; `top` may be a number, and `new` true. Raises InputError for another that is no text."""
    ours = {name: said[name] for name in FIELDS if said.get(name) is not None}
    for name, value in ours.items():
        if not isinstance(value, str) and (name, type(value)) not in (("top", int), ("new", int), ("new", bool)):
            raise InputError(f"{name} must be text, not {value!r:.40}")
    return {name: str(int(value) if isinstance(value, bool) else value) for name, value in ours.items()}


def flag(said: Mapping[str, str], name: str) -> bool:
    """Whether it is said; "1" or "0". Raises InputError."""
    text = said.get(name, "0")
    if text not in ("0", "1"):
        raise InputError(f"{name} must be 0 or 1, not {text[:40]!r}")
    return text == "1"


def said(fields: Mapping[str, str]) -> Said:
    """What the fields say of the picture. Raises InputError."""
    label, text = fields.get("label"), fields.get("split")
    split = next((split for split in SPLITS if split == text), None)
    if text is not None and (split is None or label is None):
        raise InputError(f"split must be train, val or test, and come with a label; it is {text[:40]!r}")
    return Said(label, split, flag(fields, "new"), fields.get("task"), fields.get("view"))


def check_spelling(names: Iterable[str]) -> None:
    """Raises InputError for a name that is nearly one of ours: a label that is lost without a word would be missed."""
    for name in names:
        near = difflib.get_close_matches(name[:40].lower(), FIELDS, n=1, cutoff=_NEAR)
        near = near or ["label"] * ("label" in name.lower())
        if near:
            raise InputError(f"there is no field {name[:40]!r}: did you mean {near[0]}?")


def _from_json(payload: bytes) -> tuple[bytes, dict[str, str]]:
    try:
        said = plain_json(payload)
    except ValueError as error:
        wrong = f"not a picture, and the JSON cannot be read: {error}"
        raise InputError(f'{wrong}; send {{"image": "…in base64…"}}') from error
    if not isinstance(said, dict):
        said = {"image": said}
    return named(said, "the JSON")


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode(errors="replace")


def _is_encoded(text: bytes) -> bool:
    """Whether it begins as base64 of a picture, or as a data: address, does."""
    begin = text[:1000].lstrip()
    head = begin[:_MAX_DATA_BYTES].lower()
    if head.startswith(b"data:image/") or (head.startswith(b"data:") and b";base64," in head):
        return True
    begin = begin.translate(_TO_STANDARD, _BLANKS)[:16]
    try:
        return len(begin) == 16 and is_picture(binascii.a2b_base64(begin))
    except binascii.Error:
        return False


def _decoded(text: bytes, where: str) -> bytes:
    """What base64 stands for: in either alphabet, with line breaks or without, with `=` at its end or without."""
    text = text.lstrip()
    if text[:5].lower() == b"data:":
        head, comma, _ = text[:_MAX_DATA_BYTES].partition(b",")
        if not comma or not head.rstrip().lower().endswith(b";base64"):
            raise InputError(f"{where} is a data: address that does not say ;base64,")
        text = text[len(head) + 1 :]
    text = text.translate(_TO_STANDARD, _BLANKS).rstrip(b"=")
    odd = text.translate(None, _ALPHABET)
    if odd:
        raise InputError(f"{where} is no base64: it holds {odd[:10].decode(errors='replace')!r}")
    if not text or len(text) % 4 == 1:
        raise InputError(f"{where} is no base64: it {'ends in the middle' if text else 'is empty'}")
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))
