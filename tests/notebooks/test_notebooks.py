"""What must hold of every notebook, whether or not it is executed."""

import ast
import json
import re
from pathlib import Path

import pytest

from keras_fracture import papers

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.ipynb"))
}
OF_PAPERS = {name: name[3:] for name in NOTEBOOKS if name[3:] in papers.names()}
NUMBER = re.compile(r"\d[\d,]*\.?\d*")
each = pytest.mark.parametrize("name", NOTEBOOKS)
of_paper = pytest.mark.parametrize("name", OF_PAPERS)


def sources(name, kind):
    return ["".join(cell["source"]) for cell in NOTEBOOKS[name]["cells"] if cell["cell_type"] == kind]


def trees(name):
    return [ast.parse(text) for text in sources(name, "code")]


def column_numbers(text, wanted):
    """Numbers in the cells of a Markdown text's tables whose column's head is `wanted`, row by row."""
    found, kept = [], None
    for line in text.splitlines():
        if not line.startswith("|"):
            kept = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if kept is None:
            kept = [place for place, head in enumerate(cells) if wanted(head)]
        else:
            found += [
                float(number.replace(",", "")) for place in kept for number in NUMBER.findall(cells[place])
            ]
    return found


def flat(reported):
    """All numbers of a paper's `REPORTED`, in order; of a loss the values, not the epochs."""
    if isinstance(reported, dict):
        values = [number for value in reported.values() for number in flat(value)]
    elif isinstance(reported, list):  # (epochs, value or (low, high)) each
        values = [number for _, value in reported for number in dict.fromkeys(flat(value))]
    elif isinstance(reported, tuple):
        values = [number for value in reported for number in flat(value)]
    else:
        values = [] if reported is None else [float(reported)]
    return values


def test_there_is_one_for_each_paper_and_five_for_what_they_share():
    assert list(NOTEBOOKS) == [
        "00_quickstart", "01_bai_dcgan", "02_garcia_inception", "03_gupta_unit", "04_lisbon_resnet",
        "05_ibrahim_gan", "06_are_the_numbers_real", "07_pytorch_side_by_side", "08_serving", "09_your_own_xrays",
    ]  # fmt: skip
    assert set(OF_PAPERS.values()) == set(papers.names())


def test_the_index_lists_them_all():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(\w+)\]\(\1\.ipynb\)", text, re.M) == list(NOTEBOOKS)


@each
def test_parameters_are_in_one_tagged_cell_and_default_to_the_embedded_data(name):
    tagged = [cell for cell in NOTEBOOKS[name]["cells"] if "parameters" in cell["metadata"].get("tags", ())]
    assert len(tagged) == 1
    scope = {}
    exec("".join(tagged[0]["source"]), scope)
    assert {key: scope[key] for key in ("PROFILE", "DATA", "SEED")} == {
        "PROFILE": "quick", "DATA": "phantom", "SEED": 0,
    }  # fmt: skip


@each
def test_cells_are_short_and_parse(name):
    for text in sources(name, "code"):
        ast.parse(text)
        assert len(text.splitlines()) < 25, text
        assert max(map(len, text.splitlines())) < 120, text


@each
def test_it_imports_the_package_before_keras_and_defines_no_class(name):
    imported = [
        alias.name if isinstance(node, ast.Import) else node.module
        for tree in trees(name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    ours = imported.index("keras_fracture")
    assert all(
        ours < place for place, module in enumerate(imported) if module in ("keras", "tensorflow", "torch")
    )
    assert not any(isinstance(node, ast.ClassDef) for tree in trees(name) for node in ast.walk(tree))


@each
def test_it_has_a_title_a_badge_exercises_with_hidden_solutions_and_references(name):
    text = "\n".join(sources(name, "markdown"))
    assert text.startswith("# ")
    assert "colab-badge.svg" in text.split("\n\n")[1]
    exercises = text.partition("## Exercises")[2].partition("## References")[0]
    assert exercises.count("<details><summary>Solution</summary>") == exercises.count("</details>") == 3
    assert len(text.partition("## References")[2].strip().splitlines()) >= 3
    for heading in ("claim", "What can go wrong"):
        assert name in ("00_quickstart", "09_your_own_xrays") or re.search(rf"^## .*{heading}", text, re.M), (
            heading
        )
    for code in re.findall(r"```python\n(.*?)```", exercises, re.S):
        ast.parse(code)


@each
def test_the_first_cell_installs_the_package_on_colab(name):
    first = sources(name, "code")[0]
    assert '"google.colab" in sys.modules' in first and "./keras-fracture" in first


@of_paper
def test_a_papers_notebook_shows_networks_live_curves_and_a_whole_run(name):
    text = "\n".join(sources(name, "code"))
    for wanted in (".summary(", "LiveCurves(", "kf.papers.reproduce(", "comparison.beside("):
        assert wanted in text, wanted


@of_paper
def test_the_papers_table_says_what_the_configuration_says(name):
    text = "\n".join(sources(name, "markdown"))
    written = column_numbers(text, lambda head: head == "paper" or head.startswith("paper:"))
    assert written == flat(papers.get(OF_PAPERS[name]).config.Config.REPORTED)


@each
def test_the_file_is_small_and_its_lines_are_those_that_were_written(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < 2_000_000
    again = json.dumps(NOTEBOOKS[name], indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    assert path.read_text(encoding="utf-8") == again
