"""Parcels as only somebody with bad intentions, or a broken tool, makes them: each with a sha256 that is right.

Functions that give bytes, for a backbone whose bundle is known, with a head of `good` form otherwise.
"""

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED

import numpy as np

from agent.learning.solving.head import Form
from agent.vision.bundle import MANIFEST, Bundle

LABELS = ("china", "flower")
LONE_SURROGATE = "\ud800"
BOMB_BYTES = 1 << 30  # of one array, when it is unpacked

Build = Callable[[], bytes]


def sealed(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def parcel(kind: str, header: Any, payload: bytes) -> bytes:
    """With a header that is an object, or the very bytes of one."""
    line = header if isinstance(header, bytes) else json.dumps({"format": 1, "kind": kind, **header}).encode()
    return sealed(line + b"\n" + payload)


def array(values: np.ndarray) -> bytes:
    """The .npy of it."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def npz(members: Sequence[tuple[str, bytes]], *, deflated: bool = False) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", ZIP_DEFLATED if deflated else ZIP_STORED) as file:
        warnings.simplefilter("ignore")  # a name that comes twice
        for name, content in members:
            file.writestr(name, content)
    return sealed(buffer.getvalue())


def head(
    form: Form,
    labels: Any = LABELS,
    weights: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    more: Sequence[tuple[str, bytes]] = (),
    *,
    meta: bytes | None = None,
    deflated: bool = False,
) -> bytes:
    """A head.npz, as it stands behind the header; of the right shape, unless it is said otherwise."""
    known = {"format": 1, "labels": labels, "backbone_id": form.backbone_id}
    meta = json.dumps(known).encode() if meta is None else meta
    weights = np.zeros((form.size, len(labels)), np.float32) if weights is None else weights
    bias = np.zeros(weights.shape[-1], np.float32) if bias is None else bias
    members = [("meta.npy", array(np.frombuffer(meta, np.uint8)))]
    members += [("weights.npy", array(weights)), ("bias.npy", array(bias)), *more]
    return npz(members, deflated=deflated)


@cache
def bomb(size: int = BOMB_BYTES) -> bytes:
    """A head of which one array is deflated from `size` bytes to a thousandth; written in pieces."""
    header = array(np.empty((0,), np.float32))[:-1]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", ZIP_DEFLATED) as file:
        for name in ("meta.npy", "bias.npy"):
            file.writestr(name, array(np.zeros(2, np.float32)))
        with file.open("weights.npy", "w", force_zip64=True) as member:
            text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size // 4},), }}".encode()
            member.write(header[:8] + len(text + b"\n").to_bytes(2, "little") + text + b"\n")
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))
    return sealed(buffer.getvalue())


def lying(form: Form) -> bytes:
    """A head whose weights are said to have a billion columns, and are stored without them."""
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 999), }\n"
    weights = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    meta = json.dumps({"format": 1, "labels": list(LABELS), "backbone_id": form.backbone_id}).encode()
    members = [("meta.npy", array(np.frombuffer(meta, np.uint8))), ("bias.npy", array(np.zeros(2, np.float32)))]
    return npz([*members, ("weights.npy", weights)])


def crowded(form: Form, count: int = 5_000) -> bytes:
    """A head among thousands of other members."""
    return head(form, more=[(f"{number}.npy", b"") for number in range(count)])


def heads(form: Form) -> dict[str, Build]:
    """Heads that can serve no backbone of this form, by what is wrong with them."""
    d, k = form.size, len(LABELS)
    zeros, bias = np.zeros((d, k), np.float32), np.zeros(k, np.float32)

    def made(**changes: Any) -> Build:
        return partial(head, form, **changes)

    return {
        "one value too many": made(weights=np.zeros((d + 1, k), np.float32)),
        "one value too few": made(weights=np.zeros((d - 1, k), np.float32)),
        "no labels": made(labels=[]),
        "no values": made(weights=np.zeros((0, k), np.float32)),
        "more columns than labels": made(weights=np.zeros((d, k + 1), np.float32)),
        "bias of another length": made(bias=np.zeros(k + 1, np.float32)),
        "weights of one dimension": made(weights=np.zeros(d, np.float32), bias=bias),
        "weights of three dimensions": made(weights=zeros[..., np.newaxis], bias=bias),
        "nan": made(weights=np.full((d, k), np.nan, np.float32)),
        "infinite bias": made(bias=np.array([0, np.inf], np.float32)),
        "answers beyond float32": made(weights=np.full((d, k), 3e38, np.float32)),
        "float64": made(weights=np.zeros((d, k))),
        "complex": made(weights=np.zeros((d, k), np.complex64)),
        "text": made(weights=np.full((d, k), "x")),
        "big-endian": made(weights=np.zeros((d, k), ">f4")),
        "pickled": made(weights=np.full((d, k), None)),
        "no backbone": made(meta=json.dumps({"format": 1, "labels": LABELS, "backbone_id": None}).encode()),
        "no meta": made(meta=b"[]"),
        "deep meta": made(meta=b"[" * 100_000),
        "bomb": bomb,
        "lying about its shape": partial(lying, form),
        "deflated": made(deflated=True),
        "crowded": partial(crowded, form),
        "one array twice": made(more=[("weights.npy", array(zeros))]),
        "one array more": made(more=[("more.npy", array(zeros))]),
        "no zip": lambda: sealed(b"PK" + bytes(100)),
        "nothing": lambda: b"",
        **{f"labels {name}": made(labels=labels) for name, labels in LABEL_LISTS.items()},
    }


LABEL_LISTS: dict[str, list[Any]] = {
    "numbers": [1, 2],
    "null": [None, "flower"],
    "lists": [["china"], ["flower"]],
    "empty": ["", "flower"],
    "control characters": ["china\n", "flower\x00"],
    "line breaks": ["chi\u2028na", "flower"],
    "a megabyte": ["x" * (1 << 20), "flower"],
    "a lone surrogate": [LONE_SURROGATE, "flower"],
    "twice": ["china", "china"],
    "not normalised": ["cafe\u0301", "flower"],
    "blanks around": [" china", "flower"],
}

REPORTS: dict[str, Any] = {
    "no object": [],
    "labels that are numbers": {"labels": [1, 2]},
    "labels with a surrogate": {"labels": [LONE_SURROGATE]},
    "labels that are no list": {"labels": "china"},
    "a solver with a surrogate": {"solver": LONE_SURROGATE},
    "a key with a surrogate": {LONE_SURROGATE: 1},
    "a solver of a megabyte": {"solver": "x" * (1 << 20)},
    "a solver of lines": {"solver": "lda\n# EOF\n"},
    "a solver that is a list": {"solver": ["lda"]},
    "a top-1 that is text": {"top1": "1"},
    "a top-1 that is not finite": {"top1": float("nan")},
    "a top-1 beyond all": {"top1": 10**400},
    "a time of another age": {"created_ms": 1 << 62},
    "a time below zero": {"created_ms": -1},
    "a time that is true": {"created_ms": True},
    "examples below zero": {"examples": -1},
    "curves without loss": {"curves": [{"step": 1}]},
    "curves of text": {"curves": "up"},
    "a validation without figures": {"validation": {"images": 1}},
    "settings of lists": {"settings": [1]},
    "candidates of numbers": {"candidates": [1]},
}

HEADERS: dict[str, bytes] = {
    "deep": b"[" * 4_000_000,
    "many lists": b'{"format":1,"kind":"head","report":{"x":[' + b"[]," * 1_300_000 + b"[]]}}",
    "many numbers": b'{"format":1,"kind":"head","report":{"x":[' + b"1," * 2_000_000 + b"1]}}",
    "a number of a million digits": b'{"format":1,"kind":"head","report":{"top1":' + b"9" * 1_000_000 + b"}}",
    "a key twice": b'{"format":1,"kind":"head","report":{},"report":{}}',
    "not UTF-8": b'{"format":1,"kind":"head","report":{"solver":"\xff"}}',
    "UTF-16": '{"format":1,"kind":"head","report":{}}'.encode("utf-16"),
    "infinite": b'{"format":1,"kind":"head","report":{"top1":Infinity}}',
}


def head_parcels(form: Form) -> dict[str, Build]:
    """All of them that a board must refuse."""

    def packed(report: Any, build: Build) -> bytes:
        return parcel("head", {"report": report}, build())

    good = partial(head, form)
    return {
        **{f"head: {name}": partial(packed, {}, build) for name, build in heads(form).items()},
        **{f"report: {name}": partial(packed, report, good) for name, report in REPORTS.items()},
        **{f"header: {name}": partial(parcel, "head", header, good()) for name, header in HEADERS.items()},
    }


def backbone_parcels(bundle: Bundle, form: Form) -> dict[str, Build]:
    """All of them that a board must refuse; all but the broken ones are of this `bundle`, as is the `form`."""
    model = bundle.model.read_bytes()
    manifest: dict[str, Any] = json.loads(bundle.model.with_name(MANIFEST).read_text("utf-8"))

    def packed(model: bytes = model, report: Any = None, behind: Build = bytes, **changes: Any) -> bytes:
        stated = {**manifest, "sha256": hashlib.sha256(model).hexdigest(), **changes}
        return parcel("backbone", {"manifest": stated, "model_bytes": len(model), "report": report}, model + behind())

    good = partial(head, form)
    endless = b'{"format":1,"kind":"backbone","manifest":{"input":1e999}}'
    return {
        **{f"head: {name}": partial(packed, report={}, behind=build) for name, build in heads(form).items()},
        **{f"report: {name}": partial(packed, report=report, behind=good) for name, report in REPORTS.items()},
        "something behind the model": partial(packed, behind=lambda: b"more"),
        "a torn model": partial(packed, model[: len(model) // 2]),
        "a model of zeros": partial(packed, bytes(1 << 20)),
        "no model": partial(packed, b""),
        "another sha256": partial(packed, sha256="0" * 64),
        "sizes that are not so": partial(packed, bottleneck={"size": form.size + 1}),
        "sizes beyond all": partial(packed, bottleneck={"size": 1e300}),
        "sizes that are infinite": partial(parcel, "backbone", endless, b""),
        "an input range that is none": partial(packed, input={**manifest["input"], "range": [1, 1]}),
        "a name of lines": partial(packed, name="a\nb"),
        "a name with a surrogate": partial(packed, name=LONE_SURROGATE),
        "a manifest that is deep": partial(packed, description=_nested(100)),
    }


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value
