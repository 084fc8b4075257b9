"""What travels between a desktop and boards arrives as it was, or is refused."""

import copy
import hashlib
import json
import shutil
import unicodedata
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cache import Cache, Layout
from agent.errors import BundleError, LastlayerError, ParcelError
from agent.learning.solving.head import Head
from agent.records import SPLITS, Example, checked_label
from agent.state.parcels import (
    MAX_STAMP_MS,
    PAGE_EXAMPLES,
    Page,
    SentHead,
    pack_backbone,
    pack_head,
    pack_page,
    unpack_backbone,
    unpack_head,
    unpack_page,
)
from agent.vision.bundle import DEFAULT, load_bundle

LAYOUT = Layout.of("0" * 32, 5, "int8", 0.0235285, 3)
HEAD = Head(("glas", "纸"), np.eye(5, 2, dtype=np.float32), np.zeros(2, np.float32), "0" * 32)

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1, max_size=20).map(
    partial(unicodedata.normalize, "NFC")
)


NODES = TEXTS.filter(lambda text: "/" not in text)


@st.composite
def pages(draw: st.DrawFn) -> Page:
    *frame_ids, following = sorted(draw(st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=5)))
    examples = [
        Example(
            f"{frame_id:016x}",
            draw(TEXTS),
            np.array(draw(st.lists(st.integers(-128, 127), min_size=5, max_size=5)), np.int8),
            draw(st.integers(0, MAX_STAMP_MS)),
            draw(st.just("") | TEXTS),
            draw(st.sampled_from(SPLITS)),
            draw(st.booleans()),
            draw(st.integers(0, 2**64 - 1)),
        )
        for frame_id in frame_ids
    ]
    return Page(draw(NODES), LAYOUT, examples, draw(st.sampled_from((None, f"{following:016x}"))))


@given(pages())
def test_a_page_arrives_as_it_was(page: Page) -> None:
    arrived = unpack_page(pack_page(page))
    assert (arrived.node, arrived.layout, arrived.next) == (page.node, page.layout, page.next)
    for before, after in zip(page.examples, arrived.examples, strict=True):
        np.testing.assert_array_equal(after.bottleneck, before.bottleneck)
        # Labels are normalised on their way into a cache, and so they are here.
        assert after.label == checked_label(before.label)
        assert (after.frame_id, after.received_ms, after.split, after.split_said, after.group) == (
            before.frame_id,
            before.received_ms,
            before.split,
            before.split_said,
            before.group,
        )


def test_a_head_arrives_as_it_was() -> None:
    arrived = unpack_head(pack_head(SentHead(HEAD, {"solver": "lda"})))
    assert arrived.report == {"solver": "lda", "labels": ["glas", "纸"], "backbone_id": "0" * 32}
    assert arrived.head.to_bytes() == HEAD.to_bytes()


@pytest.mark.parametrize("with_head", [None, SentHead(HEAD, {"solver": "lda"})])
def test_a_backbone_arrives_as_it_was(tmp_path: Path, with_head: SentHead | None) -> None:
    shipped = load_bundle(DEFAULT)
    bundle, sent = unpack_backbone(pack_backbone(shipped, with_head), tmp_path / "new")
    assert (bundle.sha256, bundle.size, bundle.model.parent) == (shipped.sha256, shipped.size, tmp_path / "new")
    assert (sent is None) == (with_head is None)


@given(st.data())
def test_a_flipped_bit_or_a_cut_is_noticed(data: st.DataObject) -> None:
    parcel = bytearray(pack_head(SentHead(HEAD, {"solver": "lda"})))
    at = data.draw(st.integers(0, len(parcel) - 1))
    if data.draw(st.booleans()):
        del parcel[at:]
    else:
        parcel[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ParcelError):
        unpack_head(bytes(parcel))


def packed(header: object, payload: bytes) -> bytes:
    content = json.dumps(header).encode() + b"\n" + payload
    return content + hashlib.sha256(content).digest()


HONEST: dict[str, Any] = {
    "format": 1,
    "kind": "examples",
    "node": "porch",
    "layout": asdict(LAYOUT),
    "next": "00000000000000ff",
    "examples": [
        ["0000000000000001", "glass", 1_700_000_000_000, "door", "train", False, "00000000000000aa"],
        ["0000000000000002", "paper", 1_700_000_000_001, "", "val", True, "0000000000000000"],
    ],
}


def changed(*path: object, to: object) -> dict[str, Any]:
    """An honest header with another value at this place."""
    header = copy.deepcopy(HONEST)
    at: Any = header
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return header


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (changed("examples", 0, 2, to=2**70), "11805916207174113034… does not fit into 64 bits"),
        (changed("examples", 0, 2, to=-1), "received_ms must be a whole number"),
        (changed("examples", 0, 2, to=1.7e12), "received_ms must be a whole number"),
        (changed("examples", 0, 2, to=float("nan")), "NaN is no finite number"),
        (changed("examples", 0, 2, to=True), "received_ms must be a whole number"),
        (changed("examples", 0, 6, to=f"{2**70:x}"), "a group must be 16 hex digits"),
        (changed("examples", 0, 6, to=2**70), "does not fit into 64 bits"),
        (changed("examples", 0, 6, to=None), "a group must be 16 hex digits"),
        (changed("examples", 0, 0, to="-000000000000001"), "a frame id must be 16 hex digits"),
        (changed("examples", 0, 0, to="+000000000000001"), "a frame id must be 16 hex digits"),
        (changed("examples", 0, 0, to="0x00000000000001"), "a frame id must be 16 hex digits"),
        (changed("examples", 0, 0, to="0000_00000000001"), "a frame id must be 16 hex digits"),
        (changed("examples", 0, 0, to="00000000000000٣1"), "a frame id must be 16 hex digits"),
        (changed("examples", 0, 0, to="000000000000001\n"), "a frame id must be 16 hex digits"),
        (changed("examples", 0, 0, to=["0"] * 16), "a frame id must be 16 hex digits"),
        (changed("examples", 0, 0, to="0000000000000002"), "must ascend"),
        (changed("next", to="0000000000000002"), "must ascend"),
        (changed("next", to="ff"), "next must be 16 hex digits"),
        (changed("next", to=255), "next must be 16 hex digits"),
        (changed("examples", 0, 1, to=3), "a label must be text"),
        (changed("examples", 0, 1, to="a\x1b[2J"), "control"),
        (changed("examples", 0, 1, to="\ud800"), "lone surrogate"),
        (changed("examples", 0, 1, to="x" * 1_000_000), "may take 200 bytes"),
        (changed("examples", 0, 3, to=None), "a camera name must be text"),
        (changed("examples", 0, 3, to="\n"), "a camera name must not be empty"),
        (changed("examples", 0, 4, to="trian"), "a split is one of"),
        (changed("examples", 0, 4, to=["train"]), "a split is one of"),
        (changed("examples", 0, 5, to=1), "a split is one of"),
        (changed("examples", 0, to="1234567"), "an example has 7 fields"),
        (changed("examples", 0, to=[]), "an example has 7 fields"),
        (changed("examples", to={"0": 1}), "a list of at most"),
        (changed("examples", to=[[]] * (PAGE_EXAMPLES + 1)), "a list of at most"),
        (changed("examples", to=[]), "10 bytes are not 0 bottlenecks"),
        (changed("layout", "size", to=0), "the size of a bottleneck must be"),
        (changed("layout", "size", to=-5), "the size of a bottleneck must be"),
        (changed("layout", "size", to=5.0), "the size of a bottleneck must be"),
        (changed("layout", "size", to=10**12), "the size of a bottleneck must be"),
        (changed("layout", "dtype", to="object"), "bottlenecks are uint8"),
        (changed("layout", "dtype", to="float64"), "bottlenecks are uint8"),
        (changed("layout", "dtype", to=[]), "bottlenecks are uint8"),
        (changed("layout", "dtype", to="float16"), "10 bytes are not 2 bottlenecks"),
        (changed("layout", "scale", to=float("inf")), "Infinity is no finite number"),
        (changed("layout", "scale", to=float("nan")), "NaN is no finite number"),
        (changed("layout", "scale", to=0.1), "scale must be"),
        (changed("layout", "scale", to=0.0), "scale must be"),
        (changed("layout", "zero_point", to=2**40), "zero_point must be"),
        (changed("layout", "backbone_id", to="x"), "backbone_id must be"),
        (changed("layout", "more", to=1), "the layout must have"),
        (changed("layout", to=[1, 2]), "the layout must have"),
        (changed("node", to="../../etc"), "a node name holds no /"),
        (changed("node", to=None), "a node name must be text"),
    ],
)
def test_a_page_of_which_something_cannot_be_kept_is_refused_by_name(header: dict[str, Any], what: str) -> None:
    unpack_page(packed(HONEST, bytes(10)))
    with pytest.raises(ParcelError, match=what):
        unpack_page(packed(header, bytes(10)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bottleneck_that_is_not_finite_is_refused(value: float) -> None:
    header = changed("layout", to={**asdict(LAYOUT), "dtype": "float16", "scale": 1.0, "zero_point": 0})
    payload = np.array([0, 0, 0, 0, value] * 2, np.float16).tobytes()
    with pytest.raises(ParcelError, match="not finite"):
        unpack_page(packed(header, payload))


PLACES = [
    *((key,) for key in HONEST if key not in ("format", "kind")),
    *(("layout", key) for key in HONEST["layout"]),
    *(("examples", row, field) for row in range(2) for field in range(7)),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from((2**63, 2**64, 2**70, -1)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(PLACES), VALUES, st.binary(max_size=30) | st.just(bytes(10)))
def test_whatever_stands_in_a_page_it_can_be_kept_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[object, ...], value: object, payload: bytes
) -> None:
    try:
        page = unpack_page(packed(changed(*place, to=value), payload))
    except ParcelError:
        return
    with Cache(tmp_path_factory.mktemp("cache"), page.layout) as cache:
        cache.append(page.examples)
        again, _ = cache.page(0, PAGE_EXAMPLES)
    kept, sent = ([replace(each, bottleneck=np.zeros(0)) for each in examples] for examples in (again, page.examples))
    assert list(map(repr, kept)) == list(map(repr, sent))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.binary(max_size=30),
)
def test_any_header_with_a_good_checksum_is_refused_in_words(header: object, payload: bytes) -> None:
    for kind, unpack in (("examples", unpack_page), ("head", unpack_head)):
        stated = {**header, "format": 1, "kind": kind} if isinstance(header, dict) else header
        with pytest.raises(ParcelError):
            unpack(packed(stated, payload))


def test_a_parcel_of_another_kind_is_refused() -> None:
    with pytest.raises(ParcelError, match="holds 'head', format 1; wanted is 'examples'"):
        unpack_page(pack_head(SentHead(HEAD, {})))


def test_a_model_that_is_not_the_one_of_its_manifest_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(load_bundle(DEFAULT).model.parent, other)
    bundle = load_bundle(other)
    bundle.model.write_bytes(bundle.model.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="sha256"):
        unpack_backbone(pack_backbone(bundle, None), tmp_path / "new")


def test_nothing_of_a_parcel_is_a_path(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(load_bundle(DEFAULT).model.parent, other)
    bundle = load_bundle(other)
    manifest = json.loads((other / "manifest.json").read_text())
    parcel = pack_backbone(bundle, None)
    (other / "manifest.json").write_text(json.dumps({**manifest, "model": "../../evil", "name": "../../evil"}))
    parcel = pack_backbone(bundle, None)
    unpack_backbone(parcel, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["manifest.json", "model.tflite"]
    assert issubclass(ParcelError, LastlayerError)
