"""What travels between a desktop and boards arrives as it was, or is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cache import Layout
from agent.errors import BundleError, LastlayerError, ParcelError
from agent.learning.solving.head import Head
from agent.records import SPLITS, Example, checked_label
from agent.state.parcels import (
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

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1, max_size=20)


@st.composite
def pages(draw: st.DrawFn) -> Page:
    examples = [
        Example(
            f"{draw(st.integers(0, 2**64 - 1)):016x}",
            draw(TEXTS),
            np.array(draw(st.lists(st.integers(-128, 127), min_size=5, max_size=5)), np.int8),
            draw(st.integers(-(2**63), 2**63 - 1)),
            draw(st.just("") | TEXTS),
            draw(st.sampled_from(SPLITS)),
            draw(st.booleans()),
            draw(st.integers(0, 2**64 - 1)),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    return Page(draw(TEXTS), LAYOUT, examples, draw(st.none() | st.just("00000000000000ff")))


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


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.binary(max_size=30),
)
def test_any_header_with_a_good_checksum_is_refused_in_words(header: object, payload: bytes) -> None:
    import hashlib

    for kind, unpack in (("examples", unpack_page), ("head", unpack_head)):
        stated = {**header, "format": 1, "kind": kind} if isinstance(header, dict) else header
        content = json.dumps(stated).encode() + b"\n" + payload
        with pytest.raises(ParcelError):
            unpack(content + hashlib.sha256(content).digest())


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
