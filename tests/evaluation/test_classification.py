import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import Predictions, gains, scores
from keras_fracture.evaluation.bootstrap import Clusters


@pytest.fixture(scope="module")
def predictions():
    generator = np.random.default_rng(0)
    sources = np.repeat(np.arange(40), 8)
    labels = sources % 2
    noise = generator.standard_normal((3, len(labels)))
    # Rounded, so that there are ties.
    return Predictions(
        labels, sources.astype(str), np.clip(0.5 + 0.2 * (labels - 0.5) + 0.3 * noise, 0, 1).round(1)
    )


def test_values_are_scikit_learns_averaged_over_runs(predictions):
    found = scores(predictions, resamples=50)
    auc = np.mean([roc_auc_score(predictions.labels, row) for row in predictions.probabilities])
    accuracy = np.mean((predictions.probabilities >= 0.5) == predictions.labels)
    assert found["auc"]["value"] == pytest.approx(auc, abs=1e-12)
    assert found["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-12)
    assert found["auc"]["low"] < found["auc"]["value"] < found["auc"]["high"]


def test_weighted_auc_is_that_of_repeated_pictures(predictions):
    weights = np.random.default_rng(1).integers(0, 4, len(predictions.labels))
    ours = predictions.statistic("auc")(weights.astype(float), [0])
    repeated = np.repeat(np.arange(len(weights)), weights)
    theirs = roc_auc_score(predictions.labels[repeated], predictions.probabilities[0][repeated])
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_the_interval_resamples_sources_and_not_files():
    # All 50 pictures of a source are right or wrong together: the interval is that of 20 coins, not of 1,000.
    sources = np.repeat(np.arange(20), 50)
    labels = sources % 2
    right = np.repeat(np.arange(20) % 4 < 2, 50)
    probabilities = np.where(right, labels, 1 - labels)[None].astype(float)
    copies = scores(Predictions(labels, sources.astype(str), probabilities), ["accuracy"])["accuracy"]
    alone = np.arange(20) * 50
    single = scores(
        Predictions(labels[alone], sources[alone].astype(str), probabilities[:, alone]), ["accuracy"]
    )
    assert copies == pytest.approx(single["accuracy"])
    # Ten coins a class: standard error sqrt(0.25 / 20) = 0.11.
    assert copies["high"] - copies["low"] == pytest.approx(4 * np.sqrt(0.25 / 20), abs=0.06)


def test_a_paired_gain_cancels_what_both_share(predictions):
    same = gains(predictions, predictions, resamples=50)["auc"]
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0}
    # A monotone change of the probabilities leaves every AUC as it is, in every resample.
    squeezed = Predictions(predictions.labels, predictions.sources, predictions.probabilities / 2)
    assert gains(squeezed, predictions, resamples=50)["auc"]["high"] == pytest.approx(0, abs=1e-12)
    assert gains(squeezed, predictions, resamples=50)["accuracy"]["value"] < 0


def test_intervals_are_repeatable_and_depend_on_the_seed(predictions):
    assert scores(predictions, resamples=50) == scores(predictions, resamples=50)
    assert scores(predictions, resamples=50) != scores(predictions, resamples=50, seed=1)


def test_what_is_not_defined_is_said(predictions):
    with pytest.raises(EvaluationError, match="both classes"):
        Predictions(np.ones(4, int), np.array(list("abcd")), np.ones((1, 4)))
    with pytest.raises(EvaluationError, match="finite"):
        Predictions(np.array([0, 1]), np.array(["a", "b"]), np.array([[0.5, np.nan]]))
    with pytest.raises(EvaluationError, match=r"probabilities must be \(runs, 2\)"):
        Predictions(np.array([0, 1]), np.array(["a", "b"]), np.array([0.5, 0.1]))
    with pytest.raises(EvaluationError, match="at least two sources"):
        Clusters(["a", "b", "c"], [0, 1, 1])
    with pytest.raises(EvaluationError, match="metric must be one of"):
        predictions.statistic("luck")
