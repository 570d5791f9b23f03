"""Runs whose seeds are tested and exported as one model."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from keras_fracture import cli, evaluation, models
from keras_fracture.errors import FractureError
from keras_fracture.evaluation.predicting import predictor, probabilities
from keras_fracture.experiment.splits import load_splits
from keras_fracture.papers.lisbon_resnet import experiment as lisbon_resnet
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonResNet


def test_an_ensemble_is_exported_with_its_own_numbers(smoke_run, tmp_path):
    folder, _ = smoke_run("lisbon_resnet", width=8, seeds=2, flips=True, ensemble=True, learning_rate=1e-4)
    (row,) = json.loads((folder / "metrics.json").read_text())["runs"]
    assert row["saved_model"] == "grouped/resnet18/ensemble/saved_model"
    assert not (folder / "grouped/resnet18/run-0/saved_model").exists()
    assert cli.main(["export", str(folder), "--to", str(tmp_path / "net")]) == 0
    model = models.load(tmp_path / "net")
    assert model.flips and len(model.members) == 2
    settings = LisbonResNet(data="phantom", image_size=32)
    test = load_splits(settings, lisbon_resnet.preprocess(settings), "grouped")["test"]
    members = [one(test.images, flips=True) for one in map(predictor, model.members)]
    mean = np.mean(members, axis=0)
    assert np.ptp(members, axis=0).max() > 1e-3, "seeds that agree show nothing"
    np.testing.assert_allclose(probabilities(model, test.images), mean, atol=1e-5)
    said = pd.read_csv(folder / "grouped" / "resnet18" / "predictions.csv").set_index("filename")
    np.testing.assert_allclose(said["probability"][test.table["filename"]], mean, atol=1e-5)
    right = roc_auc_score(test.labels, mean)
    facts = json.loads((tmp_path / "net" / "1" / "metadata.json").read_text())
    for told in (facts, row):
        assert told["metrics"]["auc"]["value"] == pytest.approx(right, abs=1e-6)
    validation = load_splits(settings, lisbon_resnet.preprocess(settings), "grouped")["validation"]
    threshold = evaluation.best_threshold(validation.labels, probabilities(model, validation.images))
    assert facts["threshold"]["value"] == row["threshold"] == pytest.approx(threshold, abs=1e-6)
    assert models.load(folder / row["saved_model"]).threshold == row["threshold"]
    assert facts["limits"].startswith("Metrics are this model's.")
    card = (tmp_path / "net" / "1" / "model_card.md").read_text()
    assert "Profile `smoke`, seeds 0 to 1." in card
    assert (
        "Ensemble of 2 ResNet, the mean of their probabilities, of images and their mirror images, " in card
    )
    text = (folder / "report.md").read_text()
    assert "one ensemble, so that they do not cover training again." in text
    assert "averages the probabilities of 2 seeds, for each image and its mirror image." in text


def test_an_ensemble_of_one_prediction_is_refused():
    with pytest.raises(FractureError, match="averages over several seeds"):
        LisbonResNet(ensemble=True)
