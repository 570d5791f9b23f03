"""CONTRIBUTING's own paper: a folder is all that it takes."""

import json
import re
import sys
from pathlib import Path

import pytest

from keras_fracture import cli, papers
from keras_fracture.papers import comparison, tables

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# papers/(doe_cnn/\w+\.py)\n(.*?)```", TEXT, re.S))


@pytest.fixture
def doe(tmp_path, monkeypatch):
    """The paper's folder, beside those of the package."""
    for name, code in FILES.items():
        (tmp_path / "papers" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "papers" / name).write_text(code)
    monkeypatch.setattr(papers, "__path__", [*papers.__path__, str(tmp_path / "papers")])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("keras_fracture.papers.doe_cnn")]:
        del sys.modules[name]


def test_the_example_has_all_files_and_is_short():
    assert set(FILES) == {f"doe_cnn/{name}.py" for name in ("__init__", "config", "experiment", "report")}
    assert sum(len(code.splitlines()) for code in FILES.values()) < 100


def test_a_folder_is_a_paper(doe, few_phantoms, capsys):
    assert "doe_cnn" in papers.names() and len(papers.names()) == 6
    with pytest.raises(SystemExit):
        cli.main(["reproduce", "--help"])
    assert "doe_cnn" in capsys.readouterr().out
    words = ["reproduce", "doe_cnn", "--profile", "smoke", "--set", "policies=grouped"]
    assert cli.main([*words, "--out", str(doe / "run"), "--results", str(doe)]) == 0
    (run,) = json.loads((doe / "run" / "metrics.json").read_text())["runs"]
    assert run["reported"] == {"accuracy": 0.8} and 0 < run["metrics"]["auc"]["value"] < 1
    accuracy = f"{run['metrics']['accuracy']['value']:.3f}"
    assert f"| `doe_cnn` | compact CNN: accuracy | 0.800 | {accuracy}" in tables.generate(doe, "papers")
    assert "| phantom, grouped | 80 |" in tables.generate(doe, "doe_cnn")
    assert f"| accuracy | 0.8 | {accuracy}" in comparison.beside("doe_cnn", doe / "run", doe)
    assert (
        doe / "run" / "grouped" / "compact_cnn" / "run-0" / "saved_model" / "1" / "metadata.json"
    ).is_file()
