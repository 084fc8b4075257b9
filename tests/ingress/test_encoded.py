"""Pictures as text, as their senders write them."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InputError
from agent.ingress.encoded import FIELDS, is_picture, unpacked

BEGINNINGS = {
    "jpeg": b"\xff\xd8\xff\xdb",
    "png": b"\x89PNG\r\n\x1a\n",
    "bmp": b"BM\x36\x04\x00\x00\x00\x00\x00\x00",
    "webp": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
}
JPEG = BEGINNINGS["jpeg"] + bytes(range(256))


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    return draw(st.sampled_from([*BEGINNINGS.values()])) + draw(st.binary(min_size=10, max_size=300))


@st.composite
def written(draw: st.DrawFn, picture: bytes) -> str:
    """Base64 of it, in one of the ways in which people write it."""
    encode = draw(st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
    text = encode(picture).decode()
    if draw(st.booleans()):
        text = text.rstrip("=")
    ends = draw(st.sampled_from(["", "\n", "\r\n"]))
    if ends:
        text = "".join(text[start : start + 76] + ends for start in range(0, len(text), 76))
    return draw(st.sampled_from(["", "data:image/jpeg;base64,", "DATA:;base64,", "\n"])) + text


@given(st.data(), pictures())
def test_base64_of_a_picture_is_the_picture(data: st.DataObject, picture: bytes) -> None:
    assert is_picture(picture)
    text = data.draw(written(picture))
    assert unpacked(picture) == (picture, {})
    assert unpacked(text.encode()) == (picture, {})
    assert unpacked(json.dumps(text).encode()) == (picture, {})
    name = data.draw(st.sampled_from(["image", "data", "payload", "imageFile", "img"]))
    said = {"detector_name": "default", "detect": {"*": 50}, "topic": "x", name: text, "label": "glass", "top": 3}
    assert unpacked(json.dumps(said).encode()) == (picture, {"label": "glass", "top": "3"})
    escaped = json.dumps({"image": text, "label": None}).replace("/", "\\/")  # as PHP writes it
    assert unpacked(escaped.encode()) == (picture, {})


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_what_is_nothing_of_that_is_left_as_it_is_or_refused(payload: bytes) -> None:
    try:
        picture, fields = unpacked(payload)
    except InputError:
        return
    assert set(fields) <= {*FIELDS}
    if not fields:
        assert picture == payload or is_picture(picture) or payload.lstrip()[:5].lower() == b"data:"


@pytest.mark.parametrize(
    "payload", [b"", b"BMW", b"RIFFraff", b"hello", b"\xff\xd8", b"[1, 2]", b"GIF89a", b"/9j/", b'""Words."""']
)
def test_who_decodes_pictures_says_what_these_are(payload: bytes) -> None:
    assert unpacked(payload) == (payload, {})


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({}, "the JSON holds no picture: send one"),
        ({"image": ""}, "the `image` of the JSON is no base64: it is empty"),
        ({"image": "http://camera/a.jpg"}, "no base64: it holds ':.'"),
        ({"image": "äöü"}, "no base64"),
        ({"image": base64.b64encode(JPEG).decode()[:41]}, "ends in the middle"),
        ({"image": "data:image/svg+xml,<svg/>"}, "does not say ;base64,"),
        ({"image": None}, "must be text"),
        ({"data": {"type": "Buffer", "data": [255, 216]}}, "`data` of the JSON must be text, in base64"),
        ({"image": base64.b64encode(JPEG).decode(), "data": base64.b64encode(JPEG).decode()}, "holds 2 pictures"),
        ({"image": base64.b64encode(JPEG).decode(), "lable": "x"}, "no field 'lable': did you mean label"),
        ({"image": base64.b64encode(JPEG).decode(), "Camera": "x"}, "did you mean camera"),
        ({"image": base64.b64encode(JPEG).decode(), "label": 5}, "label must be text, not 5"),
        ({"image": base64.b64encode(JPEG).decode(), "label": ["x"]}, "label must be text"),
        ({"image": base64.b64encode(JPEG).decode(), "top": True}, "top must be text, not True"),
    ],
)
def test_json_without_one_picture_is_refused_in_one_line(said: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as refused:
        unpacked(json.dumps(said).encode())
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("payload", [b"{", b'{"image": 1e999}', b'{"a": 1, "a": 2}', b'{"a":' * 5000, b'{"\xff": 1}'])
def test_what_is_no_json_is_refused(payload: bytes) -> None:
    with pytest.raises(InputError, match="the JSON cannot be read"):
        unpacked(payload)
