"""What must hold of committed notebooks: executed from top to bottom, on drawn images, on no particular machine."""

import re
from pathlib import Path

from keras_fracture import papers
from keras_fracture.report import results
from tests.notebooks.test_notebooks import NOTEBOOKS, OF_PAPERS, column_numbers, each, flat, sources

PATH = re.compile(r"(?<![\w./:])/(home|root|tmp|usr|work|opt|var|mnt|content|Users|private)/|[A-Z]:\\\\")


def outputs(name):
    return [output for cell in NOTEBOOKS[name]["cells"] for output in cell.get("outputs", [])]


@each
def test_cells_were_executed_in_order_without_errors_or_warnings_but_the_packages(name):
    cells = [cell for cell in NOTEBOOKS[name]["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [cell for cell in cells if "".join(cell["source"]).startswith("# Parameters")], "from outside"
    assert not [output for output in outputs(name) if output["output_type"] == "error"]
    warned = [line for one in outputs(name) if one.get("name") == "stderr" for line in one["text"]]
    assert all(re.fullmatch(r"UserWarning: .+\n", line) for line in warned)
    text = "".join("".join(one.get("text", "")) for one in outputs(name) if one.get("name") != "stderr")
    assert not re.search(r"warning|traceback|INFO:", text, re.I)


@each
def test_outputs_name_no_place_of_the_machine(name):
    for output in outputs(name):
        overrides = [output.get("text", "")] + [
            value for kind, value in output.get("data", {}).items() if kind.startswith("text/")
        ]
        for text in overrides:
            assert not PATH.search("".join(text))


@each
def test_it_shows_figures(name):
    assert (
        sum({"image/png", "image/jpeg"} & set(output.get("data", {})) != set() for output in outputs(name))
        >= 2
    )


@each
def test_the_papers_column_beside_ours_holds_the_papers_numbers(name):
    shown = re.findall(r'comparison\.beside\((?:KEY|"(\w+)")', "\n".join(sources(name, "code")))
    known = [
        number for key in shown for number in flat(papers.get(key or OF_PAPERS[name]).config.Config.REPORTED)
    ]
    tables = ["".join(output.get("data", {}).get("text/markdown", "")) for output in outputs(name)]
    written = [number for table in tables for number in column_numbers(table, lambda head: head == "paper")]
    assert bool(written) == bool(shown)
    assert set(written) <= set(known)


def test_the_figure_of_recorded_runs_shows_what_is_recorded_now():
    """A figure, unlike a table, is not made anew by `keras-fracture tables`."""
    said = [output.get("text", "") for output in outputs("06_are_the_numbers_real")]
    (line,) = (line for text in said for line in "".join(text).splitlines() if line.startswith("ours: "))
    path = Path(__file__).resolve().parents[2] / "results" / "garcia_inception.json"
    alike = {"data": "kaggle_fracture", "profile": "quick", "image_size": 64, "epochs": 4}
    runs = [run for run in results.read(path)["runs"] if alike.items() <= run.items()]
    metrics = {run["split_policy"]: run["metrics"] for run in runs}
    wanted = [("paper", "validation_accuracy"), ("paper", "accuracy"), ("grouped", "accuracy")]
    assert line.split()[1:] == [f"{metrics[policy][metric]['value']:.3f}" for policy, metric in wanted]
