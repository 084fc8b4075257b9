import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.errors import BundleError, StateError
from agent.vision.bundle import DEFAULT, load_bundle, shipped, write_bundle
from agent.vision.importing import import_model
from tests.daemon import ROOT

NETWORKS = Path(__file__).parent / "networks"


def change(folder: Path, **values: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("name", shipped())
def test_the_shipped_bundles_are_whole(name: str) -> None:
    assert load_bundle(name).name == name


def test_a_damaged_network_is_not_loaded(folder: Path) -> None:
    model = folder / "model.tflite"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleError, match="sha256"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"format": 2}, "format 2"),
        ({"input": {"height": 8}}, "width"),
        ({"input": 5}, "another form"),
        ({"bottleneck": {"size": "many"}}, "many"),
        ({"model": "../elsewhere.tflite"}, "beside its manifest"),
        ({"sha256": "0"}, "sha256"),
    ],
)
def test_a_bad_manifest_is_refused(folder: Path, values: dict[str, Any], complaint: str) -> None:
    change(folder, **values)
    with pytest.raises(BundleError, match=complaint):
        load_bundle(folder)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "rubbish").mkdir()
    (tmp_path / "rubbish" / "manifest.json").write_text("{")
    for source, complaint in [("empty", "no manifest"), ("rubbish", "cannot be read"), ("gone", "there is no bundle")]:
        with pytest.raises(BundleError, match=complaint):
            load_bundle(tmp_path / source)
    with pytest.raises(BundleError, match=DEFAULT):
        load_bundle("gone")


def test_bottlenecks_differ_by_model_preprocessing_and_runtime(folder: Path) -> None:
    bundle = load_bundle(folder)
    ids = {
        bundle.backbone_id("ai_edge_litert"),
        bundle.backbone_id("tflite_runtime"),
        replace(bundle, input_range=(-1.0, 1.0)).backbone_id("ai_edge_litert"),
        replace(bundle, height=9).backbone_id("ai_edge_litert"),
        replace(bundle, sha256="0" * 64).backbone_id("ai_edge_litert"),
    }
    assert len(ids) == 5
    assert replace(bundle, name="other", model=Path("elsewhere")).backbone_id("ai_edge_litert") in ids


# Writing

# It is killed at the n-th rename, before or after it.
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.vision.test_bundle import manifest_of
from agent.vision.bundle import write_bundle
folder, number, when = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rename, made = Path.rename, []
def killing(self, target):
    made.append(target)
    if len(made) == number and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    renamed = rename(self, target)
    if len(made) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return renamed
Path.rename = killing
write_bundle(folder, b"new", manifest_of(b"new"), {"report.html": b"of the new"})
"""


def manifest_of(model: bytes) -> dict[str, Any]:
    sides = {"height": 8, "width": 8}
    needed = {"format": 1, "name": "näme", "model": "elsewhere", "input": sides, "bottleneck": {"size": 3}}
    return {**needed, "sha256": hashlib.sha256(model).hexdigest()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_bundle_that_is_written_is_read_as_the_same(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "new" / "bundle", b"old", manifest_of(b"old"), {"report.html": b"<p>"})
    assert written == load_bundle(tmp_path / "new" / "bundle")
    assert names(written.model.parent) == ["manifest.json", "model.tflite", "report.html"]
    assert "näme" in (tmp_path / "new" / "bundle" / "manifest.json").read_text("utf-8")


def test_a_bundle_is_replaced_and_what_else_lies_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder, b"old", manifest_of(b"old"))
    (folder / "notes").mkdir()
    (folder / "notes" / "model.tflite").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(folder)
    assert write_bundle(tmp_path / "link", b"new", manifest_of(b"new")).model.read_bytes() == b"new"
    assert names(folder) == ["manifest.json", "model.tflite", "notes"]
    assert (folder / "notes" / "model.tflite").read_bytes() == b"kept"
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["bundle", "link"]


def test_a_manifest_of_another_model_replaces_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder, b"old", manifest_of(b"old"))
    with pytest.raises(BundleError, match="sha256"):
        write_bundle(folder, b"new", manifest_of(b"old"))
    with pytest.raises(BundleError, match="lacks something"):
        write_bundle(folder, b"new", {"format": 1})
    assert (load_bundle(folder).model.read_bytes(), names(tmp_path)) == (b"old", ["bundle"])


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateError, match="cannot be written: Not a directory"):
        write_bundle(tmp_path / "file" / "bundle", b"new", manifest_of(b"new"))


def test_a_rename_that_is_refused_leaves_the_old_bundle_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder, b"old", manifest_of(b"old"))
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name == ".bundle.partial":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(StateError, match="No space left"):
        write_bundle(folder, b"new", manifest_of(b"new"))
    assert (folder / "model.tflite").read_bytes() == b"old"
    assert names(tmp_path) == ["bundle"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
def test_whatever_ends_it_the_old_bundle_or_the_new_one_is_there_whole(tmp_path: Path, number: int, when: str) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder, b"old", manifest_of(b"old"), {"report.html": b"of the old"})
    (folder / "about.json").write_bytes(b"{}")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(number), when], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    model = load_bundle(folder).model
    content = b"new" if (number, when) == (2, "after") else b"old"
    assert (model.read_bytes(), model.with_name("report.html").read_bytes()) == (content, b"of the " + content)
    write_bundle(folder, b"newer", manifest_of(b"newer"))  # and the next one finds its way
    assert load_bundle(folder).model.read_bytes() == b"newer"
    assert names(folder) == ["about.json", "manifest.json", "model.tflite", "report.html"]
    assert names(tmp_path) == ["bundle"]


def test_a_bundle_of_files_without_an_end_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    os.truncate(folder / "model.tflite", 20 << 30)
    with pytest.raises(BundleError, match="has 21474836480 bytes, no model may have more"):
        load_bundle(folder)
    for make, what in ((os.mkfifo, "a FIFO"), (lambda path: path.symlink_to("/dev/zero"), "a device")):
        for name in ("model.tflite", "manifest.json"):
            each = tmp_path / f"{what}-{name}"
            import_model(NETWORKS / "mean_uint8.tflite", each)
            (each / name).unlink()
            make(each / name)
            with pytest.raises(BundleError, match=f"{name} cannot be read: .*it is {what}"):
                load_bundle(each)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"\0" * 1000])
def test_a_manifest_of_any_bytes_is_refused_in_words(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        load_bundle(folder)


def test_a_manifest_of_an_endless_number_is_refused(folder: Path) -> None:
    change(folder, input={"height": float("inf"), "width": 8, "range": [0, 255]})
    with pytest.raises(BundleError, match=r"manifest\.json lacks something or has it in another form"):
        load_bundle(folder)
