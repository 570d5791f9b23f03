"""`python -m benchmarks baselines`: the table of all data sets, and recorded rows beside it."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import baselines as benchmark
from benchmarks.errors import BenchmarkError
from keras_fracture import data, evaluation, models, serving
from keras_fracture.data import Preprocess
from keras_fracture.data.datasets.phantom import layout
from keras_fracture.evaluation import baselines
from keras_fracture.inference import scoring
from keras_fracture.papers import tables
from keras_fracture.report import results


@pytest.fixture(autouse=True)
def few_phantoms(monkeypatch, tmp_path):
    monkeypatch.setattr(layout, "SOURCES", (60, 48))
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / "cache"))


def row(auc, **more):
    score = {"value": auc, "low": auc - 0.03, "high": auc + 0.04}
    common = {"model": "net", "data": "phantom", "split_policy": "grouped", "variant": "paper", "seeds": 1}
    return {
        **common,
        "command": "made by hand",
        "threshold": 0.4,
        "metrics": {"auc": score, "accuracy": score},
    } | more


def test_rows_with_a_shipped_model_are_paired_others_say_that_they_are_not(tmp_path):
    model = tmp_path / "models" / "cnn"
    serving.export(models.create("compact_cnn", image_size=32), model, preprocess=Preprocess(size=32),
                   metadata={"classes": ["finding"]})  # fmt: skip
    predictions = scoring.predictions(scoring.evaluate(model, data.load("phantom", "test")), 0.4)
    auc = evaluation.scores(predictions, ("auc",))["auc"]["value"]
    path = model / "1" / "metadata.json"
    facts = json.loads(path.read_text()) | {"command": "shipped", "metrics": {"auc": {"value": auc}}}
    path.write_text(json.dumps(facts))
    kept = {"paired": True, "strongest": "of the run itself"}
    runs = [row(auc, command="shipped"), row(0.6), row(0.7, baselines=kept), row(0.5, study="other")]
    written = tmp_path / "lisbon_resnet.json"
    written.write_text(json.dumps({"paper": "lisbon_resnet", "runs": runs}))

    done = benchmark.fill(tmp_path, tmp_path / "models")
    assert [how for _, _, how in done] == ["paired", "unpaired", "kept"]
    paired, unpaired, own, other = json.loads(written.read_text())["runs"]
    fitted = baselines.of_data("phantom", "grouped", seeds=3)
    assert paired["baselines"] == json.loads(json.dumps(baselines.compare(predictions, fitted)))
    assert 0 < paired["metrics"]["auc_within_body_part"]["value"] < 1
    name = unpaired["baselines"]["strongest"]["name"]
    theirs = fitted.scores[name]["auc"]
    difference = unpaired["baselines"]["strongest"]["auc_difference"]
    assert difference["value"] == pytest.approx(0.6 - theirs["value"])
    assert difference["high"] - difference["value"] == pytest.approx(
        np.sqrt(0.04**2 + (theirs["value"] - theirs["low"]) ** 2)
    )
    assert own["baselines"] == kept | {"fits": 1} and "baselines" not in other

    path.write_text(json.dumps(facts | {"metrics": {"auc": {"value": auc + 0.1}}}))
    wrong = row(auc + 0.1, command="shipped")
    written.write_text(json.dumps({"paper": "lisbon_resnet", "runs": [wrong]}))
    with pytest.raises(BenchmarkError, match="not the model of the recorded row"):
        benchmark.fill(tmp_path, tmp_path / "models")


def test_the_table_of_docs_follows_what_is_measured(tmp_path, monkeypatch):
    measured = pd.DataFrame({"policy": ["grouped"], "baseline": ["hog"], "validation_auc": [0.7]})
    measured = measured.assign(
        auc=0.71, auc_low=0.6, auc_high=0.8, accuracy=0.9, accuracy_low=0.8, accuracy_high=1.0
    )
    monkeypatch.setattr(baselines, "measure", lambda name, seeds, data_dir: measured)
    assert benchmark.measure(tmp_path, ["btxrd"], seeds=2) == tmp_path / "baselines.json"
    line = tables.generate(tmp_path, "baselines").splitlines()[2]
    assert line.startswith(
        "| btxrd | grouped | `hog` | histograms of oriented gradients | 0.700 | 0.710 (0.600 to 0.800) | "
        "90.0 (80.0 to 100.0) | 2, "
    )


def test_rows_of_earlier_versions_had_as_many_fits_as_networks(tmp_path):
    compared = {"paired": True}
    runs = [
        row(0.7, baselines=dict(compared)),
        row(0.7, baselines=dict(compared), seeds=5, other_settings={"ensemble": True}),
        row(0.7, baselines=dict(compared), seeds=5),
        row(0.7, baselines=compared | {"fits": 3}),
    ]
    path = tmp_path / "lisbon_resnet.json"
    path.write_text(json.dumps({"paper": "lisbon_resnet", "runs": runs}))
    assert [run["baselines"]["fits"] for run in results.read(path)["runs"]] == [1, 1, 5, 3]
