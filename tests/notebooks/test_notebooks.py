"""What must hold of every notebook, whether or not it is executed."""

import ast
import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from keras_fracture import papers
from scripts import set_repository

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.ipynb"))
}
NAMES = list(NOTEBOOKS)
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


def test_there_is_one_for_each_paper_and_six_for_what_they_share():
    assert list(NOTEBOOKS) == [
        "00_quickstart", "01_bai_dcgan", "02_garcia_inception", "03_gupta_unit", "04_lisbon_resnet",
        "05_ibrahim_gan", "06_are_the_numbers_real", "07_pytorch_side_by_side", "08_serving", "09_your_own_xrays",
        "10_shortcuts",
    ]  # fmt: skip
    assert set(OF_PAPERS.values()) == set(papers.names())


def test_the_index_lists_them_all():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(\w+)\]\(\1\.ipynb\)", text, re.M) == list(NOTEBOOKS)


MINUTES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8, "ten": 10, "twelve": 12}


def test_the_index_and_the_course_say_how_long_each_takes_as_it_does_itself():
    said = {
        name: MINUTES[re.search(r"about\s(\w+)\sminutes", sources(name, "markdown")[0])[1]] for name in NAMES
    }
    index = re.findall(r"\]\((\w+)\.ipynb\) \|.*\| (\d+) min", (FOLDER / "README.md").read_text())
    assert {name: int(minutes) for name, minutes in index} == said
    course = re.findall(
        r"^\| \d\. .*min \|$", (FOLDER.parent / "docs" / "teach.md").read_text(), re.MULTILINE
    )
    assert len(course) == 4
    for lesson in course:
        notebooks = re.findall(r"notebooks/(\w+)\.ipynb", lesson)
        assert sum(said[name] for name in notebooks) == int(re.search(r"(\d+) min", lesson)[1]), lesson


@each
def test_parameters_are_in_one_tagged_cell_and_default_to_the_embedded_data(name):
    tagged = [cell for cell in NOTEBOOKS[name]["cells"] if "parameters" in cell["metadata"].get("tags", ())]
    assert len(tagged) == 1
    scope = {}
    exec("".join(tagged[0]["source"]), scope)
    # Three draw a set of their own: limbs that are turned again and again, with lesions alone, with few findings.
    drawn = {"02_garcia_inception": "turned", "03_gupta_unit": "lesions", "04_lisbon_resnet": "rare"}
    data = drawn.get(name, "phantom")
    assert (scope["PROFILE"], scope["DATA"], scope["SEED"]) == ("quick", data, 0)


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
def test_the_first_cell_installs_the_package_on_colab_however_often_it_runs(name, tmp_path, monkeypatch):
    """In Colab's place a module of its name, and commands that are written down; a clone makes its folder."""
    first = sources(name, "code")[0].replace("/content", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    exec(first, {})  # not on Colab: nothing
    assert Path.cwd() == tmp_path
    commands = []

    def run(command, check):
        commands.append(command)
        if command[0] == "git":
            (tmp_path / "keras_fracture" / "notebooks").mkdir(parents=True)

    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", run)
    for place in (tmp_path, tmp_path / "keras_fracture" / "notebooks", tmp_path):  # again; after a restart
        monkeypatch.chdir(place)
        exec(first, {})
        assert Path.cwd() == tmp_path / "keras_fracture" / "notebooks"
    assert [command[0] == "git" for command in commands] == [True, False, False, False], "cloned once"
    assert not any("tensorflow" in word for command in commands for word in command)


@each
def test_badges_lead_to_this_notebook(name):
    address = re.search(
        r'Repository = "https://github.com/(.+)"', (FOLDER.parent / "pyproject.toml").read_text()
    )[1]
    badges = sources(name, "markdown")[0].split("\n\n")[1]
    assert f"https://colab.research.google.com/github/{address}/blob/main/notebooks/{name}.ipynb)" in badges
    assert f"https://mybinder.org/v2/gh/{address}/main?labpath=notebooks/{name}.ipynb)" in badges
    assert f'https://github.com/{address}"' in sources(name, "code")[0]


def test_one_command_says_where_the_repository_is(tmp_path, capsys):
    for path in ("pyproject.toml", "README.md", f"notebooks/{NAMES[0]}.ipynb", f"notebooks/{NAMES[1]}.ipynb"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(FOLDER.parent / path, tmp_path / path)
    before = {path: path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert set_repository.main(["jane-doe/bones.2"], tmp_path) == 0
    changed = {path: path.read_text() for path in before}
    assert all("OWNER/keras_fracture" not in text for text in changed.values())
    notebook = json.loads(changed[tmp_path / f"notebooks/{NAMES[0]}.ipynb"])
    assert "github/jane-doe/bones.2/blob" in "".join(notebook["cells"][0]["source"])
    assert set_repository.main(["OWNER/keras_fracture"], tmp_path) == 0
    assert {path: path.read_text() for path in before} == before, "and back"
    for wrong in ([], ["doe"], ["https://x/y"], ["a/b", "c"]):
        assert set_repository.main(wrong, tmp_path) == 2
        assert capsys.readouterr().err.count("\n") == 1


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
