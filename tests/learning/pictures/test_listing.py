import codecs
import os
import pickle
import unicodedata
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import DatasetError
from agent.learning.pictures.dataset import open_dataset
from tests.learning.pictures.complaining import complaints

Form = Literal["NFC", "NFD"]
Listed = list[tuple[str, str | None, str]]


def written(folder: Path, text: str | bytes, encoding: str = "utf-8", name: str = "list.csv") -> Path:
    """A list beside the pictures a.jpg and b.jpg, which hold what they are called."""
    for picture in ("a.jpg", "b.jpg"):
        (folder / picture).write_text(picture)
    source = folder / name
    source.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return source


def listed(source: Path) -> Listed:
    with open_dataset(source) as pictures:
        return sorted((picture.label, picture.split, picture.read().decode()) for picture in pictures)


TWO: Listed = [("glass", "train", "a.jpg"), ("paper", "test", "b.jpg")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", ", ", "; "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_columns_are_parted_by_what_the_heading_says(tmp_path: Path, delimiter: str, end: str) -> None:
    rows = [("file", "class", "split"), ("a.jpg", "glass", "train"), ("b.jpg", "paper", "test")]
    assert listed(written(tmp_path, "".join(delimiter.join(row) + end for row in rows))) == TWO


@pytest.mark.parametrize("said", ["sep=;\n", "SEP=;\r\n", '"sep=;"\r\n'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_first_line_may_say_what_parts_columns(tmp_path: Path, said: str, encoding: str) -> None:
    text = said + "file;class;split\na.jpg;glass;train\nb.jpg;paper;test\n"
    assert listed(written(tmp_path, text, encoding)) == TWO
    assert listed(written(tmp_path, text.replace(";", "|"), encoding)) == TWO


@pytest.mark.parametrize(
    "heading",
    [
        "File,Class,Split",
        " FILE , CLASS , SPLIT ",
        '"file","class","split"',
        "filename,label,set",
        "file_name,category,subset",
        "File Name,Class Name,partition",
        "path,class,data set",
        "filepaths,labels,dataset",
        "image,target,split",
        "picture,label,split,",
    ],
)
def test_columns_are_known_by_what_people_call_them(tmp_path: Path, heading: str) -> None:
    assert listed(written(tmp_path, f"{heading}\na.jpg,glass,train\nb.jpg,paper,test\n")) == TWO


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_list_is_read_in_what_spreadsheets_write(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "für.jpg").write_text("für")
    source = written(tmp_path, "file\tclass\nfür.jpg\tcafé €\n", encoding, "list.TSV")
    assert listed(source) == [("café €", None, "für")]
    source.write_bytes(codecs.BOM_UTF16_BE + "file;class\nfür.jpg;大\n".encode("utf-16-be"))
    assert listed(source) == [("大", None, "für")]


def test_what_is_empty_is_passed_over_and_what_has_no_split_has_none(tmp_path: Path) -> None:
    text = ",,,\n\nfile,class,split,,\na.jpg,glass,train,,\n,,,,\n\nb.jpg,paper\n , \n,,,\n"
    assert listed(written(tmp_path, text)) == [("glass", "train", "a.jpg"), ("paper", None, "b.jpg")]


def test_other_columns_and_signs_in_quotes_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "c;d, e.jpg").write_text("c")
    text = 'id,note,file,class\n7,"two\nlines, and a "" quote",a.jpg,glass\n8,5" wide,"c;d, e.jpg","tin, can"\n'
    assert listed(written(tmp_path, text)) == [("glass", None, "a.jpg"), ("tin, can", None, "c")]


def test_numbers_are_labels_as_they_are_written(tmp_path: Path) -> None:
    assert [label for label, _, _ in listed(written(tmp_path, "file,class\na.jpg,007\nb.jpg,1.0\n"))] == ["007", "1.0"]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_list", ["NFC", "NFD"])
def test_a_file_is_found_however_its_letters_are_spelt(tmp_path: Path, on_disk: Form, in_list: Form) -> None:
    folder = tmp_path / unicodedata.normalize("NFC", "bär") / unicodedata.normalize(on_disk, "zoë")
    folder.mkdir(parents=True)
    (folder / unicodedata.normalize(on_disk, "é.jpg")).write_text("é")
    name = unicodedata.normalize(in_list, "bär/zoë/é.jpg")
    source = written(tmp_path, f"file,class\n{name},glass\n{name.replace('/', chr(92))},tin\n")
    assert listed(source) == [("glass", None, "é"), ("tin", None, "é")]
    with open_dataset(source) as pictures:
        assert pickle.loads(pickle.dumps(pictures[0].read))() == "é".encode()


def test_a_file_that_is_there_as_it_is_written_is_taken_before_another_spelling(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y.jpg").write_text("folder")
    (tmp_path / "x\\y.jpg").write_text("name")
    (tmp_path / "\u00e9.jpg").write_text("one")
    (tmp_path / "e\u0301.jpg").write_text("two")
    text = f"file,class\nx\\y.jpg,a\n.\\x\\y.jpg,b\n\u00e9.jpg,c\ne\u0301.jpg,d\n{tmp_path}/a.jpg,e\n"
    assert [content for _, _, content in listed(written(tmp_path, text))] == ["name", "folder", "one", "two", "a.jpg"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: expected a heading"),
        ("\ufeff", "line 1: expected a heading"),
        ("a.jpg;glass\nb.jpg;paper\n", r"line 1: expected .*file,class\[,split\].*'a.jpg;glass'"),
        ("sep=,\nfile;class\na.jpg;glass\n", "line 2: expected a heading"),
        ("file,class\n", "line 1: no picture"),
        ("file,path,class\na.jpg,a.jpg,glass\n", "line 1: the columns 'file' and 'path' may all be the file"),
        ("\nfile,class,Label\na.jpg,glass,glass\n", "line 2: the columns 'class' and 'Label' may all be the class"),
        ("file,class,set,split\na.jpg,glass,train,val\n", "line 1: the columns 'set' and 'split'"),
        ("file,class\na.jpg,glass\na,b.jpg,glass\n", "line 3: it has 3 fields and the heading 2"),
        ("file,class\na.jpg\n", "line 2: a label must not be empty"),
        ("file,class,split\na.jpg,glass,train\nb.jpg,glass,trian\n", "line 3: the split is 'trian'"),
        ('file,class,note\na.jpg,glass,"two\r\nlines"\n"b.jpg", ,"x"\n', "line 4: a label must not be empty"),
        ('file,class\na.jpg,glass\nb.jpg,"paper\n', "line 3: a quote is opened there and never closed"),
        ('file,class\na.jpg,glass\nb.jpg,"paper\n' + "c.jpg,tin\n" * 20_000, "line 3: .*a quote that is never closed"),
        ("file,class\na.jpg,gl\0ass\n", "line 2: a label must not hold control characters"),
        (b"file,class\na.jpg,caf\xe9\n\nb.jpg,gr\xc3\xbcn\n", "line 4: .*save it as UTF-8"),
        (b"file,class\na.jpg,\xe9\nb.jpg,\x81\n", "line 3: .*save it as UTF-8"),
        ("file,class\na.jpg,glass\n".encode("utf-16")[:-1], "cannot be read as a list: .*truncated"),
    ],
)
def test_what_can_be_understood_in_two_ways_is_refused_by_its_line(
    tmp_path: Path, text: str | bytes, complaint: str
) -> None:
    with pytest.raises(DatasetError, match=complaint) as caught:
        listed(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_name_that_no_file_has_fails_by_itself_and_is_said_in_letters_that_can_be_seen(tmp_path: Path) -> None:
    names = ["b\0.jpg", "\x1b[2J.jpg", "n" * 300 + ".jpg", "x/" * 3000 + "y.jpg", "..", "C:\\a.jpg", "a.jpg/b.jpg"]
    rows = "".join(f"{name},{place}\n" for place, name in enumerate(names))
    found = {}
    with open_dataset(written(tmp_path, f"file,class\na.jpg,whole\n{rows}")) as pictures:
        for picture in pictures:
            try:
                assert picture.read() == b"a.jpg"
            except OSError as error:
                found[int(picture.label)] = picture.name
                assert str(error)
    assert sorted(found) == list(range(len(names)))
    assert all(name.isprintable() for name in found.values())
    assert found[0].endswith("/b\\x00.jpg")


def fields() -> st.SearchStrategy[str]:
    odd = st.sampled_from(
        ["a.jpg", "glass", "train", "", '"', "\0", "\r", "\n", ";", ",", "\t", "é", "\u0301", "sep=;"]
    )
    return st.one_of(odd, st.text(max_size=6))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([",", ";", "\t"]),
    st.lists(st.lists(fields(), max_size=4), max_size=5),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    st.data(),
)
def test_whatever_stands_in_a_list_is_said_in_words(
    tmp_path: Path, delimiter: str, rows: list[list[str]], encoding: str, data: st.DataObject
) -> None:
    lines = [["file", "class", "split"], *rows]
    content = bytearray("\n".join(map(delimiter.join, lines)).encode(encoding, "replace"))
    for _ in range(data.draw(st.integers(0, 2))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    source = written(tmp_path, bytes(content))
    of_the_file, of_pictures = complaints(source)
    assert all(os.fspath(source) in said for said in of_the_file)
    assert all(of_pictures)
