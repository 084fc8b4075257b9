"""Forms, as the clients of this world write them and as nobody should."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ingress.http.forms import BadRequest, number, only_key, picture
from agent.ingress.http.message import Request

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, file: str | None = None) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
    return f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes, query: dict[str, str] | None = None, content_type: str = FORM) -> Request:
    return Request("POST", "/v1/frames", query or {}, b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), content_type)


def test_without_a_form_the_body_is_the_picture() -> None:
    assert picture(Request("POST", "/", {"label": "a"}, b"jpeg", "image/jpeg")) == (b"jpeg", {"label": "a"})
    assert picture(Request("POST", "/", {}, b"jpeg", "application/x-www-form-urlencoded")) == (b"jpeg", {})


@given(st.binary(max_size=2000), st.sampled_from(["image", "file"]))
def test_a_form_brings_any_picture_with_its_fields(content: bytes, name: str) -> None:
    parts = [part("camera", "Küche".encode()), part(name, content, "a.jpg"), part("top", b"3")]
    assert picture(form(*parts, query={"label": "a"})) == (content, {"camera": "Küche", "top": "3", "label": "a"})


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (form(), "holds no picture"),
        (form(part("label", b"a")), "holds no picture"),
        (form(part("image", b"1", "a"), part("file", b"2", "b")), "holds 2 pictures: .* a request for each"),
        (form(part("image", b"1"), part("photo", b"2", "b")), "a field 'photo'; it may have"),
        (form(part("image", b"1"), part("label", b"a"), part("label", b"b")), "a field 'label' again"),
        (form(part("image", b"1"), part("label", b"a"), query={"label": "b"}), "label must be said once"),
        (form(part("image", b"1"), part("label", b"x" * 2000)), "label of the form may take 1000 bytes"),
        (form(part("image", b"1"), part("label", b"\xff")), "label of the form is not UTF-8"),
        (form(*[part("image", b"1")] * 20), "cannot be read"),
        (form(part("image", b"1"), content_type="multipart/form-data"), "with a boundary"),
        (form(part("image", b"1"), content_type=FORM.replace("form-data", "mixed")), "send multipart/form-data"),
        (form(part("image", b"1"), content_type=f"{FORM}x"), "cannot be read"),
        (Request("POST", "/", {}, part("image", b"1"), FORM), "cannot be read"),
        (Request("POST", "/", {}, b"", FORM), "cannot be read"),
        (form(b"--" + BOUNDARY.encode() + b"\r\nX: " + b"y" * 10_000 + b"\r\n\r\n"), "cannot be read"),
    ],
)
def test_other_forms_are_refused(request_: Request, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        picture(request_)


_PIECES = st.sampled_from(
    [
        f"--{BOUNDARY}",
        "--",
        "\r\n",
        "\n",
        'Content-Disposition: form-data; name="image"',
        "; filename=",
        "\r\n\r\n",
        '"',
    ]
)


@given(st.lists(_PIECES.map(str.encode) | st.binary(max_size=10), max_size=30), st.text(max_size=20))
def test_whatever_comes_as_a_form_is_taken_or_refused(pieces: list[bytes], more: str) -> None:
    for content_type in (FORM, f"multipart/form-data; boundary={more}", f"multipart/{more}"):
        try:
            payload, _ = picture(Request("POST", "/v1/frames", {}, b"".join(pieces), content_type))
        except BadRequest:
            continue
        assert isinstance(payload, bytes)


@given(st.binary(max_size=50) | st.recursive(st.text() | st.none(), st.lists).map(lambda x: json.dumps(x).encode()))
def test_a_body_with_one_key_is_read_or_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="label"):
        only_key(Request("POST", "/", {}, body), "label")
    assert only_key(Request("POST", "/", {}, b'{"label": "a"}'), "label") == "a"
    with pytest.raises(BadRequest):
        only_key(Request("POST", "/", {}, b"[" * 100_000), "label")


@given(st.text())
def test_numbers_are_plain(text: str) -> None:
    try:
        assert 1 <= number({"top": text}, "top", 5, 1000) <= 1000
    except BadRequest as error:
        assert "1 to 1000" in str(error)
