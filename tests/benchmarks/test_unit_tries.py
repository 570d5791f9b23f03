"""`python benchmarks/unit_tries.py` on a few phantoms."""

import json

import pytest

from benchmarks import unit_tries
from tests.data import phantoms


@pytest.mark.slow
def test_every_setting_is_measured_and_none_twice(monkeypatch, tmp_path):
    names = list(unit_tries.TRIES)[-2:]
    small = {"patches": 40, "patch_size": 64, "width": 4, "image_size": 64}
    monkeypatch.setattr(unit_tries, "TRIES", {name: unit_tries.TRIES[name] | small for name in names})
    monkeypatch.setattr(unit_tries, "STEPS", 1)
    results, runs = tmp_path / "tries.json", tmp_path / "runs"
    arguments = ["--data", "phantom", "--steps", "2", "--runs", str(runs), "--results", str(results)]
    with phantoms.few(60, 48, tmp_path / "cache"):
        assert unit_tries.main(arguments) == 0
        first = json.loads(results.read_text())["phantom"]
        assert unit_tries.main(arguments) == 0  # what is trained already stays
    assert json.loads(results.read_text())["phantom"] == first
    assert [row["try"] for row in first["rows"]] == names
    for row in first["rows"]:
        assert len(row["by_epoch"]) == 2 and row["kid"] == min(row["by_epoch"])
        assert row["last_kid"] == row["by_epoch"][-1]
    assert set(first["references"]) == {"healthy patches as they are", "lesion patches of other X-rays"}
