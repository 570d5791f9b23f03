"""`python benchmarks/starts.py` on a few phantoms."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import starts
from keras_fracture import cli
from keras_fracture.errors import FractureError
from tests.data import phantoms


def test_few_images_are_drawn_by_source_and_no_test_image_is_left_out():
    rows = pd.DataFrame(
        {"filename": [f"{n:03}" for n in range(300)], "source": [str(n // 3) for n in range(300)]}
    )
    rows["split"] = np.repeat(["train", "validation", "test"], [180, 60, 60])
    chosen = starts.few(rows, 20)
    assert chosen["split"].value_counts().to_dict() == {"train": 21, "validation": 12, "test": 60}
    assert (chosen.groupby("source").size() == 3).all() and chosen["filename"].is_monotonic_increasing
    assert starts.few(rows, 20).equals(chosen)


@pytest.mark.slow
def test_every_start_is_measured_and_none_twice(monkeypatch, tmp_path):
    two = {"random weights": {"variant": "paper"}, "ImageNet": {"epochs": 2, "variant": "paper"}}
    monkeypatch.setattr(starts, "STARTS", two)
    small = {"models": ("resnet18",), "width": 4, "image_size": 32, "learning_rate": 1e-3}
    results, split = tmp_path / "starts.json", tmp_path / "splits.csv"
    arguments = ["--data", "phantom", "--images", "40", "--epochs", "1", "--seeds", "2"]
    arguments += ["--split", str(split), "--runs", str(tmp_path / "runs"), "--results", str(results)]
    with phantoms.few(60, 48, tmp_path / "cache"):
        assert cli.main(["data", "split", "phantom", "--out", str(split)]) == 0
        assert starts.main(arguments, **small) == 0
        first = json.loads(results.read_text())
        assert starts.main(arguments, **small) == 0  # what is trained already stays
        arguments[arguments.index("2")] = "3"
        with pytest.raises(FractureError, match="seeds"):  # and is not taken for another number of seeds
            starts.main(arguments, **small)
    assert json.loads(results.read_text()) == first
    recorded = first["phantom, 40 images"]
    assert [row["start"] for row in recorded["rows"]] == list(two)
    for row in recorded["rows"]:
        assert len(row["by_seed"]) == 2 and row["auc"]["value"] == pytest.approx(np.mean(row["by_seed"]))
    one, other = (row["auc"]["value"] for row in recorded["rows"])
    assert [row["gain"]["value"] for row in recorded["rows"]] == [pytest.approx(one - other), 0]
    assert recorded["images"]["test"] == len(pd.read_csv(split).query("split == 'test'"))
