"""Rooms import downwards only, and no module imports itself by way of others."""

import ast
import graphlib
from pathlib import Path

import keras_fracture

ROOT = Path(keras_fracture.__file__).parent
# From the top; rooms of one row may import each other.
ROWS = (
    {"cli"},
    {"demo"},
    {"papers"},
    {"experiment"},
    {"inference"},
    {"serving", "report"},
    {"training", "evaluation", "synthesis", "interop"},
    {"models", "data"},
    {"files", "errors", "lazy", "settings", "machine", "parallel", "progress"},
)
# `models.load` reads a SavedModel, and datasets are found by TFDS: imported when they are used.
LAZY = {("models", "serving")}


def module_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(path, lazy):
    """Modules of the package that a file imports; with `lazy` also those within functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazy else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inner]
        else:
            continue
        yield from (name for name in names if name in MODULES)


def room_of(module):
    return [*module.split("."), ""][1]


def test_every_room_has_a_row():
    rooms = {room_of(module) for module in MODULES} - {""}
    assert rooms == set().union(*ROWS)


def test_rooms_import_downwards_only():
    row = {room: number for number, rooms in enumerate(ROWS) for room in rooms}
    upwards = {
        (module, other)
        for module, path in MODULES.items()
        for other in imported(path, lazy=True)
        if room_of(module)
        and room_of(other)
        and row[room_of(module)] > row[room_of(other)]
        and (room_of(module), room_of(other)) not in LAZY
    }
    assert not upwards


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        module: {other for other in imported(path, lazy=False) if other != module}
        for module, path in MODULES.items()
    }
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules
