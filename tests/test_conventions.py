"""What holds of all modules alike."""

import ast
from pathlib import Path

import pytest

import keras_fracture

ROOT = Path(keras_fracture.__file__).parent
SOURCES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
READING = {
    "open",
    "read_bytes",
    "read_text",
    "read_csv",
    "stat",
    "load",
    "as_numpy_iterator",
    "glob",
    "iterdir",
}


def properties(path, kind):
    """Methods of a module's classes that are properties of a kind, as (class.method, syntax tree)."""
    for owner in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for method in owner.body if isinstance(owner, ast.ClassDef) else ():
            decorators = [ast.unparse(each) for each in getattr(method, "decorator_list", ())]
            if any(each.split(".")[-1] == kind for each in decorators):
                yield f"{owner.name}.{method.name}", method


@pytest.mark.parametrize("name", SOURCES)
def test_a_property_that_takes_time_says_so_and_takes_it_once(name):
    for method, tree in properties(SOURCES[name], "cached_property"):
        assert "at the first use" in " ".join((ast.get_docstring(tree) or "").split()), method
    for method, tree in properties(SOURCES[name], "property"):
        calls = {
            ast.unparse(node.func).split(".")[-1] for node in ast.walk(tree) if isinstance(node, ast.Call)
        }
        assert not calls & READING, f"{method} reads: make it a method"
