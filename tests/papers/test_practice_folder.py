"""Who has no X-rays at hand writes the drawn ones as a folder, as the docs say."""

import re
from pathlib import Path

import pandas as pd

from keras_fracture import cli

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_on_own_xrays_has_a_folder_to_practise_on(few_phantoms, tmp_path, monkeypatch, capsys):
    text = (DOCS / "own_xrays.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    table = pd.read_csv("my_folder/labels.csv")
    assert set(table["label"]) == {"healthy", "fracture"} and table["patient"].nunique() < len(table)
    assert cli.main(["data", "check", "my_folder"]) == 0
    assert f"{table['patient'].nunique()} patients, named by the column 'patient'." in capsys.readouterr().out
