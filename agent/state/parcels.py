"""Parcels: what travels between a desktop and its boards, over HTTP, MQTT or in a file.

One line of JSON, then the payload, then the sha256 of both (32 bytes). `kind` says what is inside:

    examples   a page of a cache: bottlenecks with all that is known of them, no pictures
    head       a head and the report of how it was made
    backbone   a bundle and, if it comes with one, a head that was made with it
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from agent.board.limits import limit_memory
from agent.cache import Layout
from agent.errors import DamagedError, ParcelError
from agent.learning.heads.report import checked
from agent.learning.solving.head import Head
from agent.records import SPLITS, Example, checked_label, plain_json
from agent.vision.bundle import MANIFEST, Bundle, write_bundle

FORMAT = 1
MAX_HEADER_BYTES = 4 << 20
PAGE_EXAMPLES = 256  # half a MB at 2,048 values

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
    """Raises ParcelError."""
    header, payload = _unpacked(parcel, "examples")
    try:
        layout = Layout(**header["layout"])
        known = header["examples"]
        rows = np.frombuffer(payload, layout.dtype).reshape(len(known), layout.size)
        examples = [_example(fields, row) for fields, row in zip(known, rows, strict=True)]
        start = header["next"]
        if start is not None:
            int(start, 16)
        return Page(str(header["node"]), layout, examples, start)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ParcelError(f"the page of examples lacks something or has it in another form: {error!r}") from error


def _example(fields: Sequence[Any], bottleneck: Any) -> Example:
    frame_id, label, received_ms, camera, split, said, group = fields
    if len(frame_id) != 16 or split not in SPLITS or not isinstance(camera, str):
        raise ValueError(f"{frame_id!r:.40}, {split!r:.40}")
    return Example(
        f"{int(frame_id, 16):016x}",
        checked_label(label),
        bottleneck,
        int(received_ms),
        checked_label(camera, "camera name") if camera else "",
        split,
        bool(said),
        int(group, 16),
    )


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
