"""`python -m benchmarks.garcia_steps` on a few phantoms."""

import json

import numpy as np
import pytest

from benchmarks import garcia_steps
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.splits import load_splits
from keras_fracture.papers.garcia_inception import experiment
from tests.data import phantoms


@pytest.mark.slow
def test_both_libraries_are_measured_and_their_statistics_stay(monkeypatch, tmp_path, capsys):
    pytest.importorskip("torch")
    results = tmp_path / "steps.json"
    arguments = ["--data", "phantom", "--steps", "4", "--every", "2", "--image-size", "32"]
    with phantoms.few(60, 48, tmp_path / "cache"):
        assert garcia_steps.main([*arguments, "--results", str(results)]) == 0
        config = configure(
            garcia_steps.Config, "smoke", variant="published_code", policies=("paper",), image_size=32
        )
        sets = load_splits(config, experiment.preprocess(config), "paper")
    rows = json.loads(results.read_text())["rows"]
    assert [(row["library"], row["step"]) for row in rows] == [
        ("ours", 2), ("ours", 4), ("PyTorch", 2), ("PyTorch", 4)
    ]  # fmt: skip
    assert all(0 <= row[name] <= 1 for row in rows for name in ("validation", "test_anew"))
    monkeypatch.setattr(garcia_steps, "_PASSES", 2)
    for library in (garcia_steps.Ours, garcia_steps.Theirs):
        network = library(config, sets["train"])
        before = [np.array(one) for one in network.statistics()]
        garcia_steps.accuracies(network, sets, np.random.default_rng(0))
        for old, now in zip(before, network.statistics(), strict=True):
            np.testing.assert_array_equal(old, np.array(now))
        network.look(garcia_steps._scaled(sets["train"].images[:4]))
        moved = [
            np.abs(np.array(now) - old).max() for old, now in zip(before, network.statistics(), strict=True)
        ]
        assert max(moved) > 0
    with pytest.raises(SystemExit):
        garcia_steps.main(["--steps", "2", "--every", "4"])
    assert "--every must be 1 to --steps" in capsys.readouterr().err
