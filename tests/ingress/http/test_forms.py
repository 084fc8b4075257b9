"""Forms, as the clients of this world write them and as nobody should."""

import base64
import json
import random
import tracemalloc
from urllib.parse import urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.errors import InputError
from agent.ingress.http.forms import BadRequest, number, only_key, picture
from agent.ingress.http.message import Request

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00 and what follows \xfb\xff\xfe"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, file: str | None = None, kind: str = "") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"' + ("" if file is None else f'; filename="{file}"')
    heading = disposition + (f"\r\nContent-Type: {kind}" if kind else "")
    return f"--{BOUNDARY}\r\n{heading}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes, query: dict[str, str] | None = None, content_type: str = FORM) -> Request:
    return Request("POST", "/v1/frames", query or {}, b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), content_type)


@pytest.mark.parametrize(
    "kind",
    [
        "image/jpeg",
        "image/jpg",
        "",
        "text/plain",
        "application/octet-stream",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/x-mixed-replace",
        FORM,
    ],
)
def test_a_body_that_begins_as_a_picture_is_one_whatever_it_is_called(kind: str) -> None:
    assert picture(Request("POST", "/", {"label": "a"}, JPEG, kind)) == (JPEG, {"label": "a"})


def test_any_other_body_is_left_to_who_decodes_it() -> None:
    assert picture(Request("POST", "/", {"label": "a"}, b"jpeg", "image/jpeg")) == (b"jpeg", {"label": "a"})
    assert picture(Request("POST", "/", {}, b"GIF89a\0=x", "application/x-www-form-urlencoded")) == (b"GIF89a\0=x", {})


def test_a_picture_that_was_taken_is_not_kept_twice() -> None:
    request = form(part("image", JPEG, "a.jpg"))
    picture(request)
    assert request.body == b""


@pytest.mark.parametrize("kind", ["json", "text", "form", "form with base64", "address"])
def test_a_picture_is_unpacked_in_memory_that_has_a_bound(kind: str) -> None:
    """Four times what was sent, with that, and afterwards no more than the picture itself."""
    content = JPEG + random.Random(1).randbytes(1_000_000)
    encoded = base64.b64encode(content)
    request = {
        "json": Request("POST", "/", {}, json.dumps({"data": encoded.decode()}).encode(), "application/json"),
        "text": Request("POST", "/", {}, encoded, "text/plain"),
        "form": form(part("photo", content, "a.jpg")),
        "form with base64": form(part("photo", encoded)),
        "address": Request("POST", "/", {}, b"photo=" + encoded, "application/x-www-form-urlencoded"),
    }[kind]
    size = len(request.body)
    tracemalloc.start()
    try:
        payload, _ = picture(request)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert payload == content
    assert left < 1.1 * len(content)
    assert peak < 3.2 * size


@given(
    st.binary(max_size=2000),
    st.sampled_from(["image", "file", "imageFile", "photo", "picture", "upload", "data", "attachment", "", "files[]"]),
    st.sampled_from([("a.jpg", ""), ("", "image/jpeg"), (None, "image/jpeg"), (None, "application/octet-stream")]),
)
def test_a_form_brings_any_picture_with_its_fields(content: bytes, name: str, said: tuple[str | None, str]) -> None:
    assume(content and not is_text(content))
    parts = [part("camera", "Küche".encode()), part(name, content, *said), part("top", b"3")]
    assert picture(form(*parts, query={"label": "a"})) == (content, {"camera": "Küche", "top": "3", "label": "a"})


def is_text(content: bytes) -> bool:
    return content.isascii()


@pytest.mark.parametrize(
    "parts",
    [
        [part("imageFile", JPEG, "esp32-cam.jpg", "image/jpeg")],
        [part("Bild für Küche", JPEG, "Küche.jpg").replace("ü".encode(), b"\xfc")],  # in Latin-1
        [part("写真", JPEG, "写真.jpg")],
        [part("image", JPEG)],  # with neither a file's name nor a type
        [part("camera", JPEG, "esp32.jpg")],  # named as one of our fields
        [part("image", base64.b64encode(JPEG))],
        [part("image", base64.b64encode(JPEG), "a.jpg")],
        [part("imageFile", b"data:image/jpeg;base64," + base64.b64encode(JPEG))],
        [part("image", JPEG, "a.jpg"), part("image2", b"", "")],  # a browser's second field, in which nothing is chosen
        [part("photo", JPEG, "a.jpg"), part("image", b"", ""), part("submit", b"Send")],
        [part("api_key", b"tPmAT5Ab3j7F9"), part("time", b"12:30"), part("device", b"BMW"), part("photo", JPEG, "a")],
        [*[part(f"sensor{number}", b"\xff%d" % number) for number in range(20)], part("photo", JPEG, "a.jpg")],
    ],
)
def test_the_one_picture_of_a_form_is_taken_whatever_lies_beside_it(parts: list[bytes]) -> None:
    assert picture(form(*parts)) == (JPEG, {})


def test_a_form_in_the_way_of_an_address_may_bring_base64() -> None:
    encoded = base64.b64encode(JPEG).decode()
    for text in (urlencode({"image": encoded, "label": "a b"}), f"label=a+b&myFile=data:image/jpeg;base64,{encoded}"):
        assert {*encoded} & {*"+/"}
        request = Request("POST", "/", {}, text.encode(), "application/x-www-form-urlencoded; charset=utf-8")
        assert picture(request) == (JPEG, {"label": "a b"})
    base64_alone = Request("POST", "/", {}, encoded.encode(), "application/x-www-form-urlencoded")
    assert picture(base64_alone) == (JPEG, {})


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (form(), "the form holds no picture: send one"),
        (form(part("label", b"a")), "holds no picture"),
        (form(part("image", b"", "")), "holds no picture|is empty"),
        (form(part("image", b"1", "a"), part("file", b"2", "b")), "holds 2 pictures: .* a request for each"),
        (form(part("image", b"1", "a"), part("photo", JPEG)), "holds 2 pictures"),
        (form(part("image", JPEG), part("label", b"a"), part("label", b"b")), "a field 'label' again"),
        (form(part("image", JPEG), part("label", b"a"), query={"label": "b"}), "label must be said once"),
        (form(part("image", JPEG), part("label", b"x" * 2000)), "label of the form may take 1000 bytes"),
        (form(part("image", JPEG), part("label", b"\xff")), "label of the form is not UTF-8"),
        (form(part("image", JPEG), part("labl", b"a")), "no field 'labl': did you mean label"),
        (form(part("image", JPEG), part("Label", b"a")), "no field 'Label': did you mean label"),
        (form(part("image", JPEG), part("image_label", b"a")), "did you mean label"),
        (form(part("image", JPEG), part("kamera", b"a")), "did you mean camera"),
        (form(part("image", b"!")), "the `image` of the form is no base64: it holds '!'"),
        (form(part("photo", base64.b64encode(JPEG)), part("data", base64.b64encode(JPEG))), "holds 2 pictures"),
        (form(*[part("image", b"1")] * 40), "cannot be read"),
        (form(part("image", b"1"), content_type="multipart/form-data"), "with a boundary"),
        (form(part("image", b"1"), content_type=FORM.replace("form-data", "mixed")), "send multipart/form-data"),
        (form(part("image", b"1"), content_type=f"{FORM}x"), "cannot be read"),
        (Request("POST", "/", {}, part("image", b"1"), FORM), "cannot be read"),
        (Request("POST", "/", {}, b"", FORM), "cannot be read"),
        (form(b"--" + BOUNDARY.encode() + b"\r\nX: " + b"y" * 10_000 + b"\r\n\r\n"), "cannot be read"),
        (Request("POST", "/", {}, b"label=a&label=b", "application/x-www-form-urlencoded"), "field 'label' again"),
        (Request("POST", "/", {}, b"label=%ff", "application/x-www-form-urlencoded"), "is not UTF-8"),
        (Request("POST", "/", {}, b"label=" + b"x" * 9000, "application/x-www-form-urlencoded"), "may take 1000"),
        (Request("POST", "/", {}, b"a=1" + b"&a=1" * 99, "application/x-www-form-urlencoded"), "may have 32 fields"),
        (Request("POST", "/", {}, b"frame.jpg=&x=y", "application/x-www-form-urlencoded"), "holds no picture"),
    ],
)
def test_other_forms_are_refused(request_: Request, complaint: str) -> None:
    with pytest.raises((BadRequest, InputError), match=complaint):
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
        except (BadRequest, InputError):
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
