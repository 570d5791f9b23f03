"""What holds of all modules alike."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import keras_fracture

ROOT = Path(keras_fracture.__file__).parent
CHECKOUT = Path(__file__).resolve().parents[1]
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


ROOMS = sorted({*keras_fracture.__all__, "experiment"})


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_lists_its_public_names(name):
    room = importlib.import_module(f"keras_fracture.{name}")
    assert dir(room) == sorted(set(room.__all__)) == sorted(room.__all__)
    for public in room.__all__:
        assert getattr(room, public) is not None
    with pytest.raises(AttributeError, match=f"keras_fracture.{name}.*nothing"):
        room.nothing  # noqa: B018


def test_the_package_lists_its_rooms():
    assert set(dir(keras_fracture)) == {*keras_fracture.__all__, "__version__"}
    for name in keras_fracture.__all__:
        assert getattr(keras_fracture, name).__name__ == f"keras_fracture.{name}"


@pytest.mark.parametrize("page", ["RELIABILITY.md", "SECURITY.md"])
def test_every_test_that_a_page_names_is_there(page):
    text = (CHECKOUT / page).read_text()
    named, last = re.findall(r"`((?:tests/[\w/]*test_\w+\.py)?(?:::\w+)?)`", text), ""
    for one in filter(None, named):
        path, _, test = one.partition("::")
        last = path or last  # `::name` is in the file named before
        assert (CHECKOUT / last).is_file(), last
        assert not test or f"def {test}(" in (CHECKOUT / last).read_text(), one
    assert len(named) > 15


def test_every_environment_variable_is_named_in_a_page():
    pages = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("*/README.md")]
    said = "".join(page.read_text() for page in pages)
    sources = "".join(path.read_text(encoding="utf-8") for path in SOURCES.values())
    read = set(re.findall(r"KERAS_FRACTURE_[A-Z]+", sources))
    assert "KERAS_FRACTURE_MODELS" in read and not {name for name in read if name not in said}
