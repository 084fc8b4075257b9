"""What requests carry beside their path: numbers in the query, JSON, and multipart/form-data."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agent.ingress.http.message import Request

FILES = ("image", "file")
FIELDS = ("label", "camera", "top", "new")
MAX_PARTS = 8
MAX_FIELD_BYTES = 1000


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


def flag(fields: Mapping[str, str], name: str) -> bool:
    """Whether it is said; "1" or "0". Raises BadRequest."""
    text = fields.get(name, "0")
    if text not in ("0", "1"):
        raise BadRequest(f"{name} must be 0 or 1, not {text[:40]!r}")
    return text == "1"


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
    """The picture of a request, and the fields that come with it: a form, or body and query. Raises BadRequest."""
    if not request.content_type.lower().startswith("multipart/"):
        return request.body, request.query
    files, fields = _form(request)
    if len(files) != 1:
        what = "holds no picture" if not files else f"holds {len(files)} pictures"
        raise BadRequest(f"the form {what}: send one file as `image`, and a request for each picture")
    both = fields.keys() & request.query.keys()
    if both:
        raise BadRequest(f"{' and '.join(sorted(both))} must be said once, in the query or in the form")
    return files[0], {**request.query, **fields}


def _form(request: Request) -> tuple[list[bytes], dict[str, str]]:
    """The files of a form, and its other fields. Raises BadRequest."""
    # Imported when the first form comes: it takes 2 MB, and most cameras send none.
    from multipart import MultipartError, PushMultipartParser, parse_options_header

    kind, options = parse_options_header(request.content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise BadRequest("send multipart/form-data with a boundary, or the picture alone as the body")
    files: list[bytes] = []
    fields: dict[str, str] = {}
    try:
        with PushMultipartParser(options["boundary"], max_segment_count=MAX_PARTS) as parser:
            name, part = "", bytearray()
            for event in parser.parse(request.body):
                if event is None:
                    _take(name, bytes(part), files, fields)
                elif isinstance(event, bytearray):
                    part += event
                else:
                    name, part = event.name, bytearray()
    except (MultipartError, ValueError) as error:
        if isinstance(error, BadRequest):
            raise
        raise BadRequest(f"the form cannot be read: {error}") from error
    return files, fields


def _take(name: str, content: bytes, files: list[bytes], fields: dict[str, str]) -> None:
    if name in FILES:
        files.append(content)
        return
    if name not in FIELDS or name in fields:
        again = " again" if name in fields else ""
        known = ", ".join(("image", *FIELDS))
        raise BadRequest(f"the form has a field {name[:40]!r}{again}; it may have each of these once: {known}")
    if len(content) > MAX_FIELD_BYTES:
        raise BadRequest(f"the field {name} of the form may take {MAX_FIELD_BYTES} bytes")
    try:
        fields[name] = content.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"the field {name} of the form is not UTF-8") from None
