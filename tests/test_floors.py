"""The floors of the house: imports go down, never up or round."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up. A module stands on the floor of the longest name that it begins with.
FLOORS = [
    ["agent.errors", "agent.allocator", "agent.children", "agent.files", "agent.schema", "agent.systemd", "agent"],
    ["agent.records"],
    ["agent.config"],
    ["agent.reporting"],
    ["agent.learning"],
    ["agent.vision"],
    ["agent.state", "agent.parcels", "agent.generations", "agent.arrivals", "agent.ingress.inbox"],
    ["agent.service"],
    ["agent.ingress"],
    ["agent.composition", "agent.daemon", "agent.doctor", "agent.measuring", "agent.study"],
    ["agent.commands", "trainer"],
    ["agent.cli", "agent.__main__"],
]
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}


def height(module: str) -> int:
    names = [name for name in HEIGHT if module == name or (module.startswith(f"{name}.") and name != "agent")]
    return HEIGHT[max(names, key=len)]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name.split(".")[0] in ("agent", "trainer")}


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "agent").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for name in filter(is_module, imports(path)):
        assert not name.startswith("trainer"), f"{module} imports {name}"
        assert height(name) <= height(module), f"{module} imports {name}, which stands above it"
