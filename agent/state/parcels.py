"""Parcels: what travels between a desktop and its boards, over HTTP, MQTT or in a file.

One line of JSON, then the payload, then the sha256 of both (32 bytes). `kind` says what is inside:

    examples   a page of a cache: bottlenecks with all that is known of them, no pictures
    head       a head and the report of how it was made
    backbone   a bundle and, if it comes with one, a head that was made with it
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from agent.board.confinement import limit_memory
from agent.cache import Layout
from agent.cache.flash.layout import DTYPES
from agent.errors import DamagedError, ParcelError
from agent.learning.heads.report import checked
from agent.learning.solving.head import Head
from agent.records import SPLITS, Example, checked_label, checked_name, plain_json
from agent.vision.bundle import MANIFEST, Bundle, write_bundle

FORMAT = 1
MAX_HEADER_BYTES = 4 << 20
MAX_PARCEL_BYTES = 256 << 20  # in a file: the most that a board can take over HTTP
PAGE_EXAMPLES = 256  # half a MB at 2,048 values
MAX_SIZE = 1 << 16  # values in a bottleneck that comes from elsewhere
MAX_STAMP_MS = 253_402_300_799_999  # the end of the year 9999

_FRAME_ID, _BACKBONE_ID = re.compile("[0-9a-f]{16}"), re.compile("[0-9a-f]{32}")

Kind = Literal["examples", "head", "backbone"]


@dataclass(frozen=True)
class Page:
    """Examples of one cache. `next` is where the page behind it begins, as 16 hex digits; None behind the last."""

    node: str
    layout: Layout
    examples: list[Example]
    next: str | None


@dataclass(frozen=True)
class SentHead:
    head: Head
    report: dict[str, Any]  # as in a head store


def pack_page(page: Page) -> bytes:
    header = {
        "node": page.node,
        "layout": asdict(page.layout),
        "next": page.next,
        "examples": [
            [e.frame_id, e.label, e.received_ms, e.camera, e.split, e.split_said, f"{e.group:016x}"]
            for e in page.examples
        ],
    }
    rows = [np.ascontiguousarray(page.layout.encoded(e.bottleneck)).tobytes() for e in page.examples]
    return _packed("examples", header, b"".join(rows))


def unpack_page(parcel: bytes) -> Page:
    """A page of which all can be kept: its frame ids ascend, and `next` lies behind them. Raises ParcelError."""
    header, payload = _unpacked(parcel, "examples")
    try:
        layout, known = _layout(header["layout"]), header["examples"]
        if not isinstance(known, list) or len(known) > PAGE_EXAMPLES:
            raise ValueError(f"examples must be a list of at most {PAGE_EXAMPLES}")
        if len(payload) != len(known) * layout.bottleneck_bytes:
            raise ValueError(f"{len(payload)} bytes are not {len(known)} bottlenecks of {layout.size} values")
        rows = np.frombuffer(payload, layout.dtype).reshape(len(known), layout.size)
        if not np.isfinite(rows).all():
            raise ValueError("a bottleneck has values that are not finite")
        examples = [_example(fields, row) for fields, row in zip(known, rows, strict=True)]
        following = None if header["next"] is None else _hex(header["next"], "next")
        ids = [example.frame_id for example in examples] + ([] if following is None else [following])
        if any(before >= after for before, after in pairwise(ids)):
            raise ValueError("frame ids must ascend, and next lie behind them")
        node = checked_name(header["node"], "node name")
        if "/" in node:
            raise ValueError(f"a node name holds no /, as {node!r:.60} does")
        return Page(node, layout, examples, following)
    except (KeyError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ParcelError(f"the page of examples lacks something or has it in another form: {what}") from error


def _layout(fields: Any) -> Layout:
    if not isinstance(fields, dict) or fields.keys() != {field.name for field in dataclass_fields(Layout)}:
        raise ValueError("the layout must have backbone_id, size, dtype, scale and zero_point")
    layout = Layout(**fields)
    _whole(layout.size, "the size of a bottleneck", 1, MAX_SIZE)
    _whole(layout.zero_point, "zero_point", -1 << 31, (1 << 31) - 1)
    if not isinstance(layout.backbone_id, str) or not _BACKBONE_ID.fullmatch(layout.backbone_id):
        raise ValueError(f"backbone_id must be 32 hex digits, not {layout.backbone_id!r:.60}")
    if layout.dtype not in DTYPES:
        raise ValueError(f"bottlenecks are {', '.join(DTYPES)}, not {layout.dtype!r:.40}")
    # In single precision, as a cache writes it: else it would not be the same when it is opened again.
    if not isinstance(layout.scale, float) or not 0 < layout.scale < math.inf or not _is_single(layout.scale):
        raise ValueError(f"scale must be a number of single precision above 0, not {layout.scale!r:.40}")
    return layout


def _example(fields: Any, bottleneck: Any) -> Example:
    if not isinstance(fields, list) or len(fields) != 7:
        raise ValueError(f"an example has 7 fields, not {fields!r:.60}")
    frame_id, label, received_ms, camera, split, said, group = fields
    if not isinstance(split, str) or split not in SPLITS or not isinstance(said, bool):
        raise ValueError(f"a split is one of {', '.join(SPLITS)} and said or not, not {split!r:.40}, {said!r:.40}")
    return Example(
        _hex(frame_id, "a frame id"),
        checked_label(label),
        bottleneck,
        _whole(received_ms, "received_ms", 0, MAX_STAMP_MS),
        "" if camera == "" else checked_name(camera, "camera name"),
        split,
        said,
        int(_hex(group, "a group"), 16),
    )


def _whole(number: Any, what: str, least: int, most: int) -> int:
    if type(number) is not int or not least <= number <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, not {number!r:.40}")
    return number


def _hex(text: Any, what: str) -> str:
    if not isinstance(text, str) or not _FRAME_ID.fullmatch(text):
        raise ValueError(f"{what} must be 16 hex digits, not {text!r:.60}")
    return text


def _is_single(number: float) -> bool:
    with np.errstate(over="ignore"):
        return float(np.float32(number)) == number


def pack_head(sent: SentHead) -> bytes:
    return _packed("head", {"report": sent.report}, sent.head.to_bytes())


def unpack_head(parcel: bytes) -> SentHead:
    """Raises ParcelError."""
    header, payload = _unpacked(parcel, "head")
    return _sent_head(header.get("report"), payload)


def pack_backbone(bundle: Bundle, with_head: SentHead | None) -> bytes:
    """Raises BundleError where its files cannot be read."""
    manifest = json.loads(bundle.model.with_name(MANIFEST).read_text("utf-8"))
    model = bundle.model.read_bytes()
    report = with_head.report if with_head else None
    header = {"manifest": manifest, "model_bytes": len(model), "report": report}
    return _packed("backbone", header, model + (with_head.head.to_bytes() if with_head else b""))


def unpack_backbone(parcel: bytes, folder: Path) -> tuple[Bundle, SentHead | None]:
    """The bundle, as files in a new `folder`, and the head that came with it.

    Nothing is loaded yet. Raises ParcelError, BundleError for a bundle that does not fit its manifest, and StateError
    where the folder cannot be written.
    """
    header, payload = _unpacked(parcel, "backbone")
    manifest, size = header.get("manifest"), header.get("model_bytes")
    if not isinstance(manifest, dict) or type(size) is not int or not 0 < size <= len(payload):
        raise ParcelError("the parcel of a backbone lacks its manifest or its model")
    report = header.get("report")
    if report is None and size != len(payload):
        raise ParcelError("there is something behind the model, and no report of a head that says what")
    sent = None if report is None else _sent_head(report, payload[size:])
    # Whatever it calls its model, here it has one name: nothing of a parcel is ever a path.
    return write_bundle(folder, payload[:size], manifest), sent


@contextmanager
def memory_for(parcel: bytes) -> Iterator[None]:
    """The process opens it in this block, with memory for no more than such a parcel takes, from here on to its end.

    Raises ParcelError where that is not enough: it does not hold what it seems to.
    """
    limit_memory(len(parcel))
    try:
        yield
    except MemoryError:
        raise ParcelError(f"a parcel of {len(parcel)} bytes that takes so much memory is not opened") from None


def _sent_head(report: Any, stored: bytes) -> SentHead:
    if not isinstance(report, dict):
        raise ParcelError("the parcel of a head lacks its report")
    try:
        known = checked(report)
    except ValueError as error:
        raise ParcelError(f"the report of the head cannot be used: {error}") from error
    try:
        head = Head.from_bytes(stored)
    except DamagedError as error:
        raise ParcelError(str(error)) from error
    # Its version and what a gate said of it are those of another board, its labels and its backbone its own to say.
    for key in ("version", "gate"):
        known.pop(key, None)
    return SentHead(head, {**known, "labels": list(head.labels), "backbone_id": head.backbone_id})


def _packed(kind: Kind, header: Mapping[str, Any], payload: bytes) -> bytes:
    line = json.dumps({"format": FORMAT, "kind": kind, **header}, ensure_ascii=False, separators=(",", ":"))
    content = line.encode() + b"\n" + payload
    return content + hashlib.sha256(content).digest()


def _unpacked(parcel: bytes, kind: Kind) -> tuple[dict[str, Any], bytes]:
    content, digest = parcel[:-32], parcel[-32:]
    if hashlib.sha256(content).digest() != digest:
        raise ParcelError("the parcel is damaged or no parcel at all: its sha256 does not match; send it again")
    line, _, payload = content.partition(b"\n")
    if len(line) > MAX_HEADER_BYTES:
        raise ParcelError(f"the parcel does not begin with a line of JSON of at most {MAX_HEADER_BYTES} bytes")
    try:
        header = plain_json(line)
    except ValueError as error:
        raise ParcelError(f"the parcel does not begin with a line of JSON that can be used: {error}") from error
    if not isinstance(header, dict):
        raise ParcelError("the parcel does not begin with a line of JSON")
    if header.get("format") != FORMAT or header.get("kind") != kind:
        found = f"{header.get('kind')!r:.40}, format {header.get('format')!r:.40}"
        raise ParcelError(f"the parcel holds {found}; wanted is {kind!r}, format {FORMAT}")
    return header, payload
