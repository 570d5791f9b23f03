"""`python benchmarks/studies.py`: how far views of one patient tell FracAtlas's test images."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import studies
from keras_fracture import evaluation


@pytest.fixture
def table():
    """300 studies of two images, numbered one after another."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "filename": [f"images/IMG{number:04d}.jpg" for number in range(600)],
            "study": np.repeat([f"s{number}" for number in range(300)], 2),
            "source": [f"x{number}" for number in range(600)],
            "label": np.repeat(rng.random(300) < 0.3, 2).astype(int),
            "body_part": "hand",
            "published_split": "",
        }
    )


def test_the_look_up_takes_the_labels_of_the_two_nearest_numbers(table):
    side = np.where(np.arange(600) % 2, "test", "train")
    few = table.iloc[:8].assign(label=[0, 0, 1, 1, 0, 1, 1, 0])
    # Of the test images 1, 3, 5, 7 the neighbours have labels (0, 1), (1, 0), (0, 1) and (1, 0).
    assert studies.look_up(few, side[:8]) == 0.5
    assert studies.look_up(few.assign(label=[0, 0, 0, 0, 1, 1, 1, 1]), side[:8]) == 1.0


def test_studies_are_divided_by_grouped_alone_and_a_look_up_profits(table):
    grouped, whole = (studies.of_split(table, policy) for policy in ("grouped", "studies"))
    assert whole["divided_studies"] == whole["test_findings_with_a_view_elsewhere"] == 0
    assert 80 < grouped["divided_studies"] < 180 and grouped["test_findings_with_a_view_elsewhere"] > 10
    assert np.mean(grouped["look_up_auc"]) > 0.75 > 0.6 > np.mean(whole["look_up_auc"])
    assert sum(grouped["images"].values()) == 600


def test_submissions_are_scored_with_studies_as_sources(table, tmp_path):
    rng = np.random.default_rng(1)
    side = studies.splits.assign(table, "grouped", studies.layout.SHARES, 0, "fracatlas")
    test = table[side == "test"]
    rows = pd.concat(
        test[["filename", "label"]].assign(seed=seed, probability=rng.random(len(test))) for seed in (0, 1)
    )
    rows.sample(frac=1, random_state=0).to_csv(tmp_path / "net.csv", index=False)
    entry = {"data": "fracatlas", "split_policy": "grouped"}
    (tmp_path / "net.json").write_text(json.dumps(entry))
    (tmp_path / "other.csv").write_text("filename,seed,label,probability\n")
    (tmp_path / "other.json").write_text(json.dumps(entry | {"data": "btxrd"}))
    found = studies.of_board(table, tmp_path)
    assert list(found) == ["net"]
    wide = rows.pivot_table("probability", "seed", "filename").loc[:, sorted(test["filename"])]
    ordered = test.sort_values("filename")
    first = ordered.index // 2 * 2  # whose source gives a study its name
    expected = evaluation.Predictions(ordered["label"], table["source"][first].to_numpy(str), wide.to_numpy())
    for metric, value in evaluation.scores(expected, ("auc",))["auc"].items():
        assert found["net"]["all"][metric] == pytest.approx(value)
    parts = found["net"]["with a view elsewhere"], found["net"]["without"]
    assert sum(part["images"] for part in parts) == len(test)
    assert sum(part["findings"] for part in parts) == test["label"].sum() and "value" in parts[0]
