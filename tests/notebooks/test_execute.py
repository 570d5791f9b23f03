import importlib.util
import itertools
import json
from pathlib import Path

import pytest

_PATH = Path(__file__).resolve().parents[2] / "notebooks" / "execute.py"
_SPEC = importlib.util.spec_from_file_location("execute_notebooks", _PATH)
execute = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(execute)

_IDS = itertools.count()


def code(text, **more):
    return {
        "cell_type": "code",
        "id": f"cell-{next(_IDS)}",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": [text],
    } | more


def notebook(*cells):
    about = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": list(cells), "metadata": about, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of notebooks for the command; what it sets in the environment is undone."""
    monkeypatch.setattr(execute, "HERE", tmp_path)
    for name in ("TMPDIR", "TQDM_DISABLE"):
        monkeypatch.setenv(name, "")

    def write(name, *cells):
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook(*cells)))
        return tmp_path / f"{name}.ipynb"

    return write


def test_tidying_keeps_outputs_and_parameters_but_no_traces_of_the_machine():
    streams = [
        {"output_type": "stream", "name": name, "text": f"{name} of /home/me/x\n"}
        for name in ("stdout", "stderr")
    ]
    cell = code(
        "1", metadata={"tags": ["parameters", "other"], "papermill": {"duration": 3}}, outputs=streams
    )
    cell |= {"execution_count": 7}
    made = notebook(cell, code("2", metadata={"execution": {"iopub.execute_input": "2026"}}))
    made["metadata"]["papermill"] = {"input_path": "/home/me/a.ipynb"}
    tidied = execute.tidy(made, ["/home/me", "/home"])
    assert [output["text"] for output in tidied["cells"][0]["outputs"]] == ["stdout of x\n"]
    assert tidied["cells"][0]["metadata"] == {"tags": ["parameters"]} and tidied["cells"][1]["metadata"] == {}
    assert tidied["cells"][0]["execution_count"] == 7
    assert "papermill" not in tidied["metadata"] and "/home" not in json.dumps(tidied)


def test_of_stderr_what_the_package_warns_of_stays_without_its_place():
    said = "/home/me/site-packages/keras/x.py:3: UserWarning: no\n/home/me/keras_fracture/a.py:9: UserWarning: few\n"
    said += "  compare(real)\nWARNING:tensorflow:retracing\n"
    streams = [{"output_type": "stream", "name": "stderr", "text": text} for text in (said, "W0000 oneDNN\n")]
    shown = {"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": {}}
    tidied = execute.tidy(notebook(code("1", outputs=[*streams, shown])), ["/home/me"])
    assert tidied["cells"][0]["outputs"] == [streams[0] | {"text": ["UserWarning: few\n"]}, shown]


@pytest.mark.slow
def test_a_failing_notebook_is_named_and_the_others_still_run(folder, capsys):
    folder("0_fails", code("raise ValueError('no such bone')"))
    folder(
        "1_runs",
        code("PROFILE = 'quick'", metadata={"tags": ["parameters"]}),
        code("assert PROFILE == 'smoke'"),
    )
    assert execute.main([]) == 1
    said = capsys.readouterr()
    assert "0_fails" in said.out and "FAILED: ValueError: no such bone" in said.out
    assert "1_runs" in said.out and said.out.count("FAILED") == 1


@pytest.mark.slow
def test_writing_puts_outputs_into_the_notebook_itself(folder):
    path = folder(
        "0_runs", code("PROFILE = 'quick'", metadata={"tags": ["parameters"]}), code("print(PROFILE * 2)")
    )
    assert execute.main(["--profile", "quick", "--write"]) == 0
    written = json.loads(path.read_text())
    assert len(written["cells"]) == 2, "no cell of injected parameters"
    assert written["cells"][1]["outputs"][0]["text"] == ["quickquick\n"]
    assert [cell["execution_count"] for cell in written["cells"]] == [1, 2]


def test_smoke_outputs_cannot_be_committed(folder, capsys):
    folder("0_runs", code("1"))
    with pytest.raises(SystemExit):
        execute.main(["--write"])
    assert "--profile quick" in capsys.readouterr().err


def test_a_notebook_whose_library_is_missing_is_left_out(folder, monkeypatch, capsys):
    folder("0_needs", code("1/0"))
    monkeypatch.setitem(execute.NEEDS, "0_needs", "no_such_library")
    assert execute.main([]) == 0
    assert "no_such_library is not installed" in capsys.readouterr().out


def test_solutions_become_cells_before_what_was_started_is_stopped():
    folded = "**1.** Why?\n\n<details><summary>Solution</summary>\n\n```python\nfirst = 1\n```\n\nSo.\n\n</details>\n"
    folded += "<details><summary>Solution</summary>\n```bash\nls\n```\n```python\nsecond = 2\n```\n</details>"
    text = {
        "cell_type": "markdown",
        "id": "a",
        "metadata": {},
        "source": ["```python\nshown = 0\n```\n", folded],
    }
    for last, place in (("stop.close()\n", 1), ("print(1)", 2)):
        made, count = execute.with_solutions(notebook(text, code(last)))
        sources = ["".join(cell["source"]) for cell in made["cells"]]
        assert count == 2 and sources[place : place + 2] == ["first = 1\n", "second = 2\n"]
        assert len(sources) == 4


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(_PATH.parent.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_solution_runs(path, monkeypatch):
    for name in ("TMPDIR", "TQDM_DISABLE"):
        monkeypatch.setenv(name, "")
    if not execute.runnable(path):
        pytest.skip(f"{execute.NEEDS[path.stem]} is not installed")
    assert execute.with_solutions(json.loads(path.read_text(encoding="utf-8")))[1] >= 2
    assert execute.main([path.stem, "--solutions"]) == 0
