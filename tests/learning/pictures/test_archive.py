import io
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import DatasetError
from agent.learning.pictures.archive import LEADS_NOWHERE, path_inside
from agent.learning.pictures.dataset import open_dataset
from tests.learning.pictures.complaining import complaints


def packed(path: Path, *names: str | bytes, flags: int = 0, extra: bytes = b"") -> Path:
    """A .zip of files that hold what they are called; a name in bytes is written as it is."""
    entries, directory = b"", b""
    for name in names:
        raw = name if isinstance(name, bytes) else name.encode()
        content = raw
        common = struct.pack(
            "<5H3I2H", 20, flags, 0, 0, 0x21, zlib.crc32(content), len(content), len(content), len(raw), len(extra)
        )
        directory += b"PK\1\2\x14\3" + common + struct.pack("<3H2I", 0, 0, 0, 0, len(entries)) + raw + extra
        entries += b"PK\3\4" + common + raw + extra + content
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(names), len(names), len(directory), len(entries), 0)
    path.write_bytes(entries + directory + end)
    return path


def labels(source: Path) -> set[str]:
    with open_dataset(source) as pictures:
        return {picture.label for picture in pictures if picture.read()}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_utf_8_need_no_flag_and_one_label_is_one(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    names = [unicodedata.normalize(form, f"{label}/a.jpg").encode() for label in ("café", "大", "zwölf")]
    assert labels(packed(tmp_path / "a.zip", *names)) == {"café", "大", "zwölf"}
    assert labels(packed(tmp_path / "b.zip", *names, flags=0x800)) == {"café", "大", "zwölf"}


def test_names_that_are_not_in_utf_8_are_in_the_code_page_of_ms_dos(tmp_path: Path) -> None:
    assert labels(packed(tmp_path / "a.zip", "café/a.jpg".encode("cp437"), b"paper/b.jpg")) == {"café", "paper"}


def test_the_unicode_path_beside_a_name_stands_for_it_if_it_was_made_for_it(tmp_path: Path) -> None:
    name, meant = b"caf_/a.jpg", "кафе/a.jpg".encode()
    for crc, expected in ((zlib.crc32(name), {"кафе", "x"}), (1, {"caf_", "x"})):
        field = struct.pack("<HHBL", 0x7075, 5 + len(meant), 1, crc) + meant
        source = packed(tmp_path / "a.zip", name, b"x/b.jpg", extra=struct.pack("<HH", 0x9999, 0) + field)
        assert labels(source) == expected


def test_backslashes_part_folders(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.zip", b"set\\glass\\", b"set\\glass\\a.jpg", b"set\\paper\\b.jpg")
    assert labels(source) == {"glass", "paper"}


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        (r"C:\set\glass\a.jpg", "set/glass/a.jpg"),
        ("c:glass/a.jpg", "glass/a.jpg"),
        ("/glass/a.jpg", "glass/a.jpg"),
        (r"\\server\glass\a.jpg", "server/glass/a.jpg"),
        ("./glass/../../etc/a.jpg", "glass/etc/a.jpg"),
        ("../a.jpg", "a.jpg"),
        ("ab:c/a.jpg", "ab:c/a.jpg"),
    ],
)
def test_a_name_leads_nowhere_else(name: str, inside: str) -> None:
    assert str(path_inside(name)) == inside


def why(source: Path) -> dict[str, str]:
    """What is said of the pictures that cannot be read, by their labels; the others are whole."""
    found = {}
    with open_dataset(source) as pictures:
        for picture in pictures:
            try:
                picture.read()
            except OSError as error:
                found[picture.label] = str(error)
        assert len(pictures) > len(found)
    return found


def changed(source: Path, offset: int, struct_format: str, value: int) -> None:
    """Set a field of the first entry, by its place in the directory, there and in front of the entry."""
    content = bytearray(source.read_bytes())
    for begin in (content.index(b"PK\1\2") + offset, content.index(b"PK\3\4") + offset - 2):
        struct.pack_into(struct_format, content, begin, value)
    source.write_bytes(content)


@pytest.mark.parametrize(
    ("offset", "value", "complaint"),
    [
        (8, 0x0001, "it is encrypted"),
        (8, 0x0041, "it is encrypted"),
        (8, 0x0020, "it cannot be unpacked"),  # a patch
        (10, 9, "neither stored nor deflated"),  # Deflate64
        (10, 12, "neither stored nor deflated"),  # bzip2
        (10, 14, "neither stored nor deflated"),  # LZMA
        (10, 99, "neither stored nor deflated"),  # AES, as WinZip has it
        (10, 8, "it cannot be unpacked"),  # it is stored
        (16, 1, "it cannot be unpacked: Bad CRC"),
    ],
)
def test_a_member_that_cannot_be_unpacked_fails_by_itself(
    tmp_path: Path, offset: int, value: int, complaint: str
) -> None:
    source = packed(tmp_path / "a.zip", b"glass/a.jpg", b"paper/b.jpg")
    changed(source, offset, "<H" if offset < 16 else "<I", value)
    found = why(source)
    assert found.keys() == {"glass"}
    assert complaint in found["glass"]
    assert "<" not in found["glass"]


def test_a_member_that_lies_elsewhere_or_is_called_otherwise_there_fails_by_itself(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.zip", b"glass/a.jpg", b"paper/b.jpg")
    content = source.read_bytes()
    place = content.index(b"PK\1\2") + 42
    for offset in (7, 1 << 20, 0xFFFFFFFE):
        source.write_bytes(content[:place] + struct.pack("<I", offset) + content[place + 4 :])
        assert why(source).keys() == {"glass"}
    source.write_bytes(content.replace(b"glass/a.jpg", b"glass/c.jpg", 1))
    assert why(source).keys() == {"glass"}


def test_a_link_in_an_archive_leads_nowhere(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        link = zipfile.ZipInfo("glass/a.jpg")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        file.writestr(link, "../../etc/passwd")
        file.writestr("paper/b.jpg", "b")
    with open_dataset(tmp_path / "a.zip") as dataset:
        assert [picture.label for picture in dataset] == ["paper"]
        assert [(one.label, one.reason) for one in dataset.left_out] == [("glass", LEADS_NOWHERE)]


def test_what_is_no_label_is_left_out_and_the_rest_is_read(tmp_path: Path) -> None:
    long = "é" * 150
    source = packed(tmp_path / "a.zip", b"gl\0ass/a.jpg", b"\x1b[2J/b.jpg", f"{long}/c.jpg".encode(), b"paper/d.jpg")
    with open_dataset(source) as dataset:
        assert [picture.label for picture in dataset] == ["paper"]
        assert dataset.missing().keys() == {r"gl\x00ass", r"\x1b[2J", long}
    with pytest.raises(DatasetError, match=r"b\.zip holds no pictures in class folders.*control characters") as caught:
        labels(packed(tmp_path / "b.zip", b"\x1b[2J/b.jpg", b"\x1b[2J/c.jpg", b"\r\n/c.jpg"))
    assert str(caught.value).isprintable()


def test_what_the_whole_needs_is_refused_in_one_line(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.zip", b"glass/a.jpg", b"paper/b.jpg")
    content = source.read_bytes()
    split = content.index(b"PK\1\2") + 34
    wrong = {
        "is a part of a split archive": content[:split] + b"\1\0" + content[split + 2 :],
        "copy again what is torn": content[:-30],
        "cannot be read as a .zip": b"",
        "zip file version 25.5": content.replace(b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\xff"),
        "File is not a zip file": b"Rar!\x1a\7\1\0" + bytes(100),
    }
    for complaint, forged in wrong.items():
        source.write_bytes(forged)
        with pytest.raises(DatasetError, match=r"a\.zip") as caught:
            labels(source)
        assert complaint in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def deflated() -> bytes:
    """Names of all kinds, and contents that are deflated, one with its size behind it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("glass/a.jpg", b"a" * 300)
        archive.writestr("café/b.jpg", bytes(range(256)))
        with archive.open("paper/c.jpg", "w", force_zip64=True) as member:
            member.write(b"c" * 100)
    return file.getvalue()


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_becomes_of_an_archive_is_said_in_words(tmp_path: Path, deflated: bytes, data: st.DataObject) -> None:
    content = bytearray(deflated)
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(content) - 1))
        content[begin : begin + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    source = tmp_path / "a.zip"
    source.write_bytes(content)
    of_the_file, of_pictures = complaints(source)
    assert all(source.name in said for said in of_the_file)
    assert all(of_pictures)
