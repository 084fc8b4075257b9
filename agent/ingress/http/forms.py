"""What requests carry beside their path: numbers in the query, JSON, and pictures in forms or without one."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus, unquote_to_bytes

from agent.ingress.encoded import FIELDS, UNPACKING, check_spelling, fields, is_picture, named, plain, unpacked
from agent.ingress.http.message import Request

if TYPE_CHECKING:
    from multipart import MultipartSegment

MAX_PARTS = 32
MAX_FIELD_BYTES = 1000

_PAIR = re.compile(rb"[\w.%+\[\]-]{1,100}=[^=]")  # the first name of an address-encoded form
_ESCAPED = [(spelt % code, b"%c" % code) for code in b"+/=:;,\r\n" for spelt in (b"%%%02X", b"%%%02x")]
_STEP_BYTES = 1 << 16  # of a form are read at once: its parser copies what it is given


class BadRequest(ValueError):
    """A request that is not of the form that its route takes."""


def check_query(request: Request, known: Sequence[str]) -> None:
    """Raises BadRequest for a parameter that is not among the known."""
    for name in request.query:
        if name not in known:
            knows = ", ".join(known) or "none"
            raise BadRequest(f"unknown parameter {name[:40]!r}; {request.path[:80]} knows {knows}")


def number(fields: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`. Raises BadRequest."""
    text = fields.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not 1 <= int(text) <= most:
        raise BadRequest(f"{name} must be a number from 1 to {most}, not {text[:40]!r}")
    return int(text)


def only_key(request: Request, key: str) -> Any:
    """The value in a body like {"label": …}. Raises BadRequest for any other."""
    try:
        asked = json.loads(request.body)
    except (ValueError, RecursionError):
        raise BadRequest(f'the body is no JSON; send {{"{key}": "…"}}') from None
    if not isinstance(asked, dict) or asked.keys() != {key}:
        raise BadRequest(f'send {{"{key}": "…"}} and nothing else')
    return asked[key]


def picture(request: Request) -> tuple[bytes, Mapping[str, str]]:
    """The picture of a request, which is without its body then, and the fields that come with it.

    It is the body, as a file or as text, or stands in a form or in JSON. Raises BadRequest and InputError.
    """
    body, kind = request.take(), request.content_type.lower()
    if is_picture(body):
        return body, request.query
    if kind.startswith("multipart/"):
        with UNPACKING:
            payload, said = _form(body, request.content_type)
    elif kind.startswith("application/x-www-form-urlencoded") and _PAIR.match(body):
        with UNPACKING:
            payload, said = named(_pairs(body), "the form")
    else:
        payload, said = unpacked(body)
    both = said.keys() & request.query.keys()
    if both:
        raise BadRequest(f"{' and '.join(sorted(both))} must be said once, in the query or beside the picture")
    return payload, {**request.query, **said}


class _Part(NamedTuple):
    name: str
    content: bytes
    is_file: bool  # by what its sender says
    is_chosen: bool  # browsers send a file without a name where nobody has chosen one


def _form(body: bytes, content_type: str) -> tuple[bytes, dict[str, str]]:
    """The one file of a form, whatever its name, and the fields of ours. Raises BadRequest and InputError."""
    parts = _parts(body, content_type)
    files = [part for part in parts if is_picture(part.content) or (part.is_file and part.name not in FIELDS)]
    texts = [part for part in parts if part not in files]
    for name in FIELDS:
        if sum(part.name == name for part in texts) > 1:
            raise BadRequest(f"the form has a field {name!r} again; it may have it once")
    said = {part.name: _value(part.name, part.content) for part in texts}
    if not any(part.is_chosen for part in files):
        return named(said, "the form")
    check_spelling(said.keys() - {*FIELDS})
    chosen = [part for part in files if part.is_chosen]
    if len(chosen) > 1:
        raise BadRequest(f"the form holds {len(chosen)} pictures: send one file, and a request for each picture")
    return plain(chosen[0].content, f"the file {chosen[0].name[:40]!r} of the form"), fields(said)


def _parts(body: bytes, content_type: str) -> list[_Part]:
    """Raises BadRequest."""
    # Imported when the first form comes: it takes 2 MB, and most cameras send none.
    from multipart import MultipartError, PushMultipartParser, parse_options_header

    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise BadRequest("send multipart/form-data with a boundary, or the picture alone as the body")
    found: list[tuple[MultipartSegment, list[bytes]]] = []
    try:
        # Latin-1 can read any file's name: what it is called matters to nobody here.
        with PushMultipartParser(options["boundary"], max_segment_count=MAX_PARTS, header_charset="latin-1") as parser:
            for start in range(0, len(body), _STEP_BYTES):
                for event in parser.parse(body[start : start + _STEP_BYTES]):
                    if isinstance(event, bytearray):
                        found[-1][1].append(bytes(event))
                    elif event is not None:
                        found.append((event, []))
    except (MultipartError, ValueError) as error:
        raise BadRequest(f"the form cannot be read: {error}") from error
    return [_part(segment, b"".join(pieces)) for segment, pieces in found]


def _part(segment: "MultipartSegment", content: bytes) -> _Part:
    kind = segment.content_type or ""
    is_file = segment.filename is not None or kind.startswith("image/") or kind == "application/octet-stream"
    name = segment.name.encode("latin-1").decode(errors="replace")
    return _Part(name, content, is_file, bool(segment.filename or content))


def _value(name: str, content: bytes) -> str | bytes:
    """Of a field. Raises BadRequest for one of ours that is too long or no text; others stay as they are."""
    if name not in FIELDS:
        return content
    if len(content) > MAX_FIELD_BYTES:
        raise BadRequest(f"the field {name} of the form may take {MAX_FIELD_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"the field {name} of the form is not UTF-8") from None


def _pairs(body: bytes) -> dict[str, str | bytes]:
    """What a body in the way of an address says. Raises BadRequest."""
    pairs = body.split(b"&", MAX_PARTS)
    if len(pairs) > MAX_PARTS:
        raise BadRequest(f"the form may have {MAX_PARTS} fields")
    said: dict[str, str | bytes] = {}
    for pair in pairs:
        encoded, _, content = pair.partition(b"=")
        name = unquote_plus(encoded[:MAX_FIELD_BYTES].decode("latin-1"))
        if name in said:
            raise BadRequest(f"the form has a field {name[:40]!r} again; it may have it once")
        if name in FIELDS:
            said[name] = _value(name, unquote_to_bytes(content[: 3 * MAX_FIELD_BYTES + 1].replace(b"+", b" ")))
        else:
            for escaped, plainly in _ESCAPED:  # what base64 has; to look for all takes ten times the memory
                content = content.replace(escaped, plainly)
            said[name] = content
    return said
