"""The plan of the code, kept: imports go down and never in a circle, files stay short, names stay telling."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "spikeproof"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the ground up; rooms of one floor may use each other.
FLOORS = (
    {
        *("calls", "checked", "contents", "counts", "disk", "doubt", "errors", "former_names", "kinds", "machine"),
        *("names", "private_rng", "progress", "sending", "threat", "version"),
    },
    {"records"},
    {"data"},
    {"spiking"},
    {"models", "coding", "interop"},
    {"defenses", "attacks", "gradients"},
    {"runs"},
    {"train", "audit", "insight", "certify"},
    {"report", "harden"},
    {"results", "hub", "api"},
    {"recipes"},
    {"tables"},
    {"reproduce"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MOST_LINES = 450


def module_name(path, package=PACKAGE):
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path, known, package=PACKAGE):
    """The modules of this package that a file imports, lazily or not, each as the longest name that is a module."""
    here = module_name(path, package)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: level 1 is the package that the file lies in
                inside = here.split(".") if path.name == "__init__.py" else here.split(".")[:-1]
                base = ".".join([*inside[: len(inside) - node.level + 1], *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name:
                found.add(name)
    return found


KNOWN = {module_name(path) for path in FILES}
GRAPH = {module_name(path): imports_of(path, KNOWN) for path in FILES}


def room_of(module):
    return module.split(".")[1] if "." in module else ""


def upward(graph):
    """Imports that go up a floor, or that ask the package as a whole."""
    return [
        (module, imported)
        for module, imports in graph.items()
        if room_of(module)
        for imported in imports
        if not room_of(imported) or FLOOR[room_of(imported)] > FLOOR[room_of(module)]
    ]


def circle(graph):
    """Some circle of nodes that import each other, or an empty list."""
    done, path = set(), []

    def walk(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        path.append(node)
        for following in sorted(graph.get(node, ())):
            if found := walk(following):
                return found
        path.pop()
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node))), [])


def rooms(graph):
    together = {}
    for module, imports in graph.items():
        together.setdefault(room_of(module), set()).update(room_of(imported) for imported in imports)
    return {room: imports - {room, ""} for room, imports in together.items() if room}


def test_every_room_has_a_floor():
    assert {room_of(module) for module in KNOWN} - {""} <= set(FLOOR)
    assert len(KNOWN) > 40


def test_the_imports_were_read():
    assert "spikeproof.models" in GRAPH["spikeproof.train.loop"]
    assert "spikeproof.spiking.ops.reference" in GRAPH["spikeproof.spiking.site"]
    assert "spikeproof.errors" in GRAPH["spikeproof.threat"]


def test_imports_go_down():
    assert upward(GRAPH) == []


def test_no_circle_between_rooms():
    assert circle(rooms(GRAPH)) == []


def test_no_circle_between_modules():
    assert circle(GRAPH) == []


def test_the_report_reads_files_and_nothing_of_the_library():
    assert rooms(GRAPH)["report"] <= FLOORS[0] | {"records"}


def test_leaves_use_leaves_only():
    for leaf in FLOORS[0]:
        assert rooms(GRAPH)[leaf] <= FLOORS[0]


@pytest.mark.parametrize(
    ("files", "expected_upward", "has_circle"),
    [
        ({"data/load.py": "from spikeproof.models import create_model", "models/__init__.py": ""}, True, False),
        ({"data/load.py": "def f():\n    import spikeproof.cli.main", "cli/main.py": ""}, True, False),
        ({"errors.py": "from . import data", "data/__init__.py": ""}, True, False),
        ({"data/a.py": "from spikeproof import train", "train.py": ""}, True, False),
        ({"data/a.py": "from .b import x", "data/b.py": "from .a import y"}, False, True),
        ({"data/__init__.py": "from .a import x", "data/a.py": "from spikeproof.data import y"}, False, True),
        ({"cli/main.py": "from spikeproof.data import x", "data/__init__.py": "import json"}, False, False),
    ],
)
def test_these_checks_can_fail(tmp_path, files, expected_upward, has_circle):
    package = tmp_path / "spikeproof"
    for name, text in {"__init__.py": "", **files}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    paths = sorted(package.rglob("*.py"))
    known = {module_name(path, package) for path in paths}
    graph = {module_name(path, package): imports_of(path, known, package) for path in paths}
    assert bool(upward(graph)) == expected_upward
    assert bool(circle(graph)) == has_circle


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_is_short_and_named(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES
    assert not {"utils", "util", "helpers", "misc", "common"} & {part.lower() for part in path.with_suffix("").parts}


def test_test_files_are_short_too():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "tests").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_nothing_that_need_not_be_installed_is_imported(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add((node.module or "").split(".")[0])
    # They pin torch's version, and a peer library must never decide what this one computes.
    assert not imported & {"torchvision", "torchaudio", "spikingjelly", "snntorch", "norse", "torchattacks", "foolbox"}


def test_the_tests_mirror_the_rooms():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))}
    assert folders == rooms | {"docs"}
