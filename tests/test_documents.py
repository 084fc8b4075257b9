"""What the documents name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *(path for folder in ("docs", "models", "examples") for path in sorted((ROOT / folder).rglob("*.md"))),
]
SPEAK_OF_NOW = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
TREES = ("agent", "trainer", "demo", "benchmarks", "tests", "debian", "examples")
SOURCES = [f"/{path.relative_to(ROOT)}" for tree in TREES for path in (ROOT / tree).rglob("*.py")]
_MODULE = re.compile(r"(?<![\w./-])((?:[a-z_]+/)*[a-z_0-9]+\.py)\b")
_STARTED = re.compile(r"python3? -m ((?:agent|trainer|demo|benchmarks|tests)(?:\.\w+)*)")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
FOREIGN = {"retrain.py"}  # TensorFlow's, of the study; ours has the same name


@pytest.mark.parametrize("document", SPEAK_OF_NOW, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    for name in _MODULE.findall(text):
        assert name in FOREIGN or any(source.endswith(f"/{name}") for source in SOURCES), f"{name} is not there"
    for module in _STARTED.findall(text):
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), f"python -m {module} starts nothing"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    for target in _LINK.findall(document.read_text("utf-8")):
        assert (document.parent / target).exists(), f"{document.name} links {target}"
