"""The floors of the house: imports go down, never up or round."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up. A module is in the room of the longest name that it begins with. Rooms on one floor do not know
# each other; within a room anything may import anything that does not import it.
FLOORS = [
    ["agent", "agent.errors", "agent.region"],
    ["agent.board", "agent.records", "agent.schema", "agent.terminal"],
    ["agent.config"],
    ["agent.reporting"],
    ["agent.learning", "agent.learning.solving"],
    ["agent.learning.training"],
    ["agent.learning.heads", "agent.learning.pictures", "agent.learning.running"],
    ["agent.cache.flash"],
    ["agent.cache", "agent.vision"],
    ["agent.state"],
    ["agent.service"],
    ["agent.ingress"],
    ["agent.doctor", "agent.measuring"],
    ["agent.composition"],
    ["agent.daemon"],
    ["agent.commands"],
    ["agent.cli"],
    ["agent.__main__"],
    ["trainer", "trainer.cluster", "trainer.quiet", "trainer.reporting"],
    ["trainer.networks"],
    ["trainer.making"],
    ["trainer.exporting"],
    ["trainer.bulk", "trainer.comparing", "trainer.fleet", "trainer.sweeping"],
    ["trainer.commands"],
    ["trainer.cli"],
    ["trainer.__main__"],
    ["demo.clients", "demo.pictures", "demo.processes"],
    ["demo.story"],
    ["demo.command", "demo"],
    ["benchmarks", "benchmarks.pictures", "benchmarks.rows"],
    ["benchmarks.daemon", "benchmarks.peers", "benchmarks.sets", "benchmarks.synthetic"],
    ["benchmarks.steady"],
    [
        "benchmarks.cache",
        "benchmarks.device",
        "benchmarks.epoch",
        "benchmarks.footprint",
        "benchmarks.frame",
        "benchmarks.interference",
        "benchmarks.mqtt_stream",
        "benchmarks.retraining",
        "benchmarks.scale",
        "benchmarks.slow_clients",
        "benchmarks.step",
        "benchmarks.sweep",
        "benchmarks.tasks",
        "benchmarks.transfer",
        "benchmarks.update",
    ],
    ["benchmarks.__main__"],
]
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}
TREES = ("agent", "trainer", "demo", "benchmarks")
# Which trees know which others: the board runs alone.
KNOWS = {"agent": {"agent"}, "trainer": {"agent", "trainer"}, "demo": {"agent", "demo"}, "benchmarks": set(TREES)}
# What stands on the agent's floors up to here may be used by the others; its commands are for who types.
OPEN_TO_OTHERS = HEIGHT["agent.daemon"]

PATHS = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in PATHS}


def room(module: str) -> str:
    """The room that a module is in. A tree's own name stands for its first lines alone."""
    return max((name for name in HEIGHT if module == name or (module.startswith(f"{name}.") and "." in name)), key=len)


def imports(module: str) -> set[str]:
    """Those of the house that a module imports, also for type checkers alone: that ties rooms all the same."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return {name for name in found if name in MODULES and name != module}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down(module: str) -> None:
    tree, own = module.partition(".")[0], room(module)
    for name in imports(module):
        other = room(name)
        assert name.partition(".")[0] in KNOWS[tree], f"{module} imports {name}"
        assert other == own or HEIGHT[other] < HEIGHT[own], f"{module} imports {name}, which does not stand below it"
        if tree != "agent" and name.startswith("agent."):
            assert HEIGHT[other] <= OPEN_TO_OTHERS, f"{module} imports {name}, which is the agent's own"


def test_no_import_goes_round() -> None:
    sorter = TopologicalSorter({module: imports(module) for module in MODULES})
    try:
        sorter.prepare()
    except CycleError as circle:
        pytest.fail(f"a circle: {' - '.join(circle.args[1])}")


def test_every_room_of_the_floors_is_there() -> None:
    assert set(HEIGHT) <= set(MODULES)


@pytest.mark.parametrize("package", [module for module, path in MODULES.items() if path.name == "__init__.py"])
def test_a_rooms_first_lines_are_a_map_of_it(package: str) -> None:
    words = ast.get_docstring(ast.parse(MODULES[package].read_text())) or ""
    missing = [name for name in _children(package) if name not in words]
    assert not missing, f"the first lines of {package} do not name {', '.join(missing)}"


def _children(package: str) -> Iterator[str]:
    for module in MODULES:
        parent, _, name = module.rpartition(".")
        if parent == package and name != "__main__":
            yield name
