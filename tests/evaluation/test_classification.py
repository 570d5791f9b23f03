import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import (
    METRICS,
    Predictions,
    best_threshold,
    bootstrap,
    by_seed,
    calibration,
    classification,
    confusion,
    gains,
    precision_recall,
    roc,
    scores,
)
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
    values = scores(predictions, resamples=50)
    auc = np.mean([metrics.roc_auc_score(predictions.labels, row) for row in predictions.probabilities])
    accuracy = np.mean((predictions.probabilities >= 0.5) == predictions.labels)
    assert values["auc"]["value"] == pytest.approx(auc, abs=1e-12)
    assert values["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-12)
    assert values["auc"]["low"] < values["auc"]["value"] < values["auc"]["high"]


def ece(labels, probabilities):
    """Expected calibration error by its definition: share of a bin times how far its mean is off."""
    total, edges = 0.0, np.arange(11) / 10
    for low, high in itertools.pairwise(edges):
        inside = (probabilities >= low) & ((probabilities < high) | (high == 1))
        if inside.any():
            total += inside.mean() * abs(labels[inside].mean() - probabilities[inside].mean())
    return total


def sensitivity_at(specificity, labels, probabilities):
    false, true, _ = metrics.roc_curve(labels, probabilities)
    return true[false <= 1 - specificity + 1e-9].max()


THEIRS = {
    "accuracy": lambda y, p: metrics.accuracy_score(y, p >= 0.5),
    "balanced_accuracy": lambda y, p: metrics.balanced_accuracy_score(y, p >= 0.5),
    "precision": lambda y, p: metrics.precision_score(y, p >= 0.5),
    "recall": lambda y, p: metrics.recall_score(y, p >= 0.5),
    "specificity": lambda y, p: metrics.recall_score(y, p >= 0.5, pos_label=0),
    "f1": lambda y, p: metrics.f1_score(y, p >= 0.5),
    "auc": metrics.roc_auc_score,
    "average_precision": metrics.average_precision_score,
    "sensitivity_at_90": lambda y, p: sensitivity_at(0.90, y, p),
    "sensitivity_at_95": lambda y, p: sensitivity_at(0.95, y, p),
    "brier": metrics.brier_score_loss,
    "ece": ece,
}


@pytest.mark.parametrize("metric", METRICS)
def test_weighted_metrics_are_scikit_learns_of_repeated_images(predictions, metric):
    weights = np.random.default_rng(1).integers(0, 4, len(predictions.labels))
    repeated = np.repeat(np.arange(len(weights)), weights)
    labels, probabilities = predictions.labels[repeated], predictions.probabilities[:, repeated]
    ours = predictions.statistic(metric)(weights.astype(float), np.array([0, 2]))
    theirs = np.mean([THEIRS[metric](labels, probabilities[run]) for run in (0, 2)])
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_the_best_threshold_has_the_highest_balanced_accuracy(predictions):
    labels, probabilities = predictions.labels, predictions.probabilities[0]
    chosen = best_threshold(labels, probabilities)
    reached = metrics.balanced_accuracy_score(labels, probabilities >= chosen)
    assert reached == max(
        metrics.balanced_accuracy_score(labels, probabilities >= t) for t in set(probabilities)
    )


def test_precision_at_each_recall_is_scikit_learns_averaged_over_runs(predictions):
    points = precision_recall(predictions, points=40, resamples=100)
    expected = []
    for row in predictions.probabilities:
        precision, recall, _ = metrics.precision_recall_curve(predictions.labels, row)
        # The highest threshold that finds enough has the least recall that is enough, and the last of its ties.
        places = [np.flatnonzero(recall >= level - 1e-9).max() for level in points["recall"]]
        expected.append(precision[places])
    np.testing.assert_allclose(points["value"], np.mean(expected, axis=0), atol=1e-12)
    assert points["recall"].iloc[[0, -1]].tolist() == [0.025, 1.0]
    assert (points["low"] <= points["value"]).all() and (points["value"] <= points["high"]).all()
    assert (points["low"] < points["high"]).mean() > 0.9


def test_the_area_below_precision_and_recall_is_the_average_precision(predictions):
    findings = int(predictions.labels.sum())
    points = precision_recall(
        predictions, points=findings, resamples=2
    )  # a point a finding: no step is left out
    expected = np.mean(
        [metrics.average_precision_score(predictions.labels, row) for row in predictions.probabilities]
    )
    assert points["value"].mean() == pytest.approx(expected, abs=1e-12)
    assert points["value"].iloc[-1] >= 0.5, (
        "all findings are found: no worse than calling all images findings"
    )


def test_the_band_of_precision_and_recall_resamples_sources_and_seeds(predictions):
    """Copies of an image make no band narrower, and seeds that differ make it wider."""
    one = Predictions(predictions.labels[::8], predictions.sources[::8], predictions.probabilities[:1, ::8])
    copies = Predictions(
        *(np.repeat(each, 8) for each in (one.labels, one.sources)), one.probabilities.repeat(8, 1)
    )
    alone, copied = (precision_recall(each, 10, 200) for each in (one, copies))
    np.testing.assert_allclose(copied, alone, atol=1e-12)
    right, wrong = one.labels.astype(float), 0.9 - 0.9 * one.labels
    apart = precision_recall(Predictions(one.labels, one.sources, np.stack([right, wrong])), 10, 200)
    assert (apart["low"] <= 0.5).all() and (apart["high"] == 1).any(), (
        "from two wrong seeds to two right ones"
    )


def test_each_run_may_have_a_threshold_of_its_own(predictions):
    labels, sources = predictions.labels, predictions.sources
    own = np.array([0.3, 0.5, 0.7])
    several = Predictions(labels, sources, predictions.probabilities, own)
    runs = [
        Predictions(labels, sources, row[None], limit)
        for row, limit in zip(predictions.probabilities, own, strict=True)
    ]
    for metric in ("accuracy", "recall", "specificity", "auc"):
        alone = np.mean([scores(run, [metric], 5)[metric]["value"] for run in runs])
        assert scores(several, [metric], 5)[metric]["value"] == pytest.approx(alone, abs=1e-12)
    assert np.abs(confusion(several) - np.mean([confusion(run) for run in runs], axis=0)).max() <= 0.5
    for odd in (own[:2], own[:, None], np.nan, [0.1, 0.2, np.inf], 2.0, -0.1, 50, None):
        with pytest.raises(
            EvaluationError, match="threshold must be one number from 0 to 1, or one for each of 3 runs"
        ):
            Predictions(labels, sources, predictions.probabilities, odd)


def test_a_paired_gain_is_of_the_same_images(predictions):
    labels, sources, probabilities = predictions.labels, predictions.sources, predictions.probabilities
    order = np.r_[8:16, 0:8, 16 : len(labels)]
    for name, other in (
        ("labels", Predictions(labels[order], sources, probabilities)),
        ("sources", Predictions(labels, np.roll(sources, 16), probabilities)),
    ):
        with pytest.raises(EvaluationError, match=f"same images in the same order: {name} differ. Received"):
            gains(other, predictions, resamples=5)


def test_the_interval_resamples_sources_and_not_files():
    # All 50 images of a source are right or wrong together: the interval is that of 20 coins, not of 1,000.
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


def test_the_curve_is_scikit_learns_inside_its_interval(predictions):
    curve = roc(predictions, points=5, resamples=50)
    assert curve["false_positive_rate"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    for rate, value in zip(curve["false_positive_rate"], curve["value"], strict=True):
        runs = [sensitivity_at(1 - rate, predictions.labels, row) for row in predictions.probabilities]
        assert value == pytest.approx(np.mean(runs))
    assert (curve["low"] <= curve["value"]).all() and (curve["value"] <= curve["high"]).all()
    assert curve["high"][1] - curve["low"][1] > 0.01


def test_the_interval_of_a_calibration_error_holds_it_and_reaches_below_it():
    rng = np.random.default_rng(0)
    for count in (60, 300):  # predictions that are right: the error is noise alone
        probabilities = rng.beta(1.2, 2.5, count)
        calibrated = Predictions(rng.random(count) < probabilities, np.arange(count), probabilities[None])
        found = scores(calibrated, ("ece", "auc"), 200)
        weigh = calibrated.statistics(("ece", "auc"))
        noisy, auc = Clusters(calibrated.sources, calibrated.labels).intervals(weigh, 1, 200)
        assert found["ece"]["low"] == max(2 * noisy["value"] - noisy["high"], 0) < noisy["low"]
        assert found["ece"]["high"] == max(2 * noisy["value"] - noisy["low"], noisy["value"]) < noisy["high"]
        assert found["ece"]["low"] <= found["ece"]["value"] == noisy["value"] <= found["ece"]["high"]
        assert found["auc"] == auc, "other metrics keep their percentiles"


def test_calibration_bins_add_up_to_the_error(predictions):
    alone = Predictions(predictions.labels, predictions.sources, predictions.probabilities[:1])
    bins = calibration(alone)
    off = (bins["images"] * (bins["observed"] - bins["probability"]).abs()).sum() / len(alone.labels)
    weights = np.ones(len(alone.labels))
    assert off == pytest.approx(alone.statistic("ece")(weights, np.array([0])))
    assert off == pytest.approx(ece(alone.labels, alone.probabilities[0]))
    assert calibration(predictions)["images"].sum() == 3 * len(alone.labels)  # runs are pooled


def test_calibration_bins_by_hand():
    labels, probabilities = np.array([0, 1, 1, 1]), np.array([[0.05, 0.31, 0.37, 1.0]])
    bins = calibration(Predictions(labels, np.array(list("abcd")), probabilities))
    assert bins["images"].tolist() == [1, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert bins.loc[[0, 3, 9], "observed"].tolist() == [0, 1, 1]
    assert bins.loc[[0, 3, 9], "probability"].tolist() == pytest.approx([0.05, 0.34, 1.0])
    assert bins.loc[1, ["observed", "probability"]].isna().all()
    assert (bins.loc[3, "low"], bins.loc[3, "high"]) == pytest.approx((0.3, 0.4))


def test_a_probability_of_one_decimal_lies_in_the_bin_that_it_begins():
    labels, sources = np.arange(10) % 2, np.arange(10).astype(str)
    bins = calibration(Predictions(labels, sources, np.arange(10)[None] / 10))
    assert bins["images"].tolist() == [1] * 10
    assert (bins["probability"] == bins["low"]).all() and (bins["high"] == np.arange(1, 11) / 10).all()
    # Float32 numbers, as networks give them, lie in the bins that linspace's edges had put them into.
    rng, edges = np.random.default_rng(0), np.linspace(0, 1, 11)
    near = np.nextafter(edges.astype("f4"), rng.integers(0, 2, (50, 11), dtype="i4").astype("f4"))
    given = np.concatenate([rng.random(100_000, "f4"), near.ravel(), edges.astype("f4")]).astype(float)
    np.testing.assert_array_equal(classification._binned(given), np.digitize(given, edges[1:-1]))


def test_confusion_counts_one_run_and_averages_several(predictions):
    labels, sources = predictions.labels, predictions.sources
    tables = []
    for row in predictions.probabilities:
        tables.append(metrics.confusion_matrix(labels, row >= 0.6))
        ours = confusion(Predictions(labels, sources, row[None], threshold=0.6))
        np.testing.assert_array_equal(ours, tables[-1])
    several = confusion(Predictions(labels, sources, predictions.probabilities, threshold=0.6))
    assert several.dtype.kind == "i"
    assert np.abs(several - np.mean(tables, 0)).max() <= 0.5
    assert several.sum(1).tolist() == [160, 160]


def test_an_interval_without_labels_resamples_all_sources():
    # Twenty coins of ten images: a standard error of 0.5 / sqrt(20).
    right = np.repeat(np.arange(20) % 2, 10).astype(float)
    values = Clusters(np.repeat(np.arange(20), 10)).interval(
        lambda w, _: (w @ right) / w.sum(), resamples=1000
    )
    assert values["value"] == 0.5
    assert values["high"] - values["low"] == pytest.approx(4 * 0.5 / np.sqrt(20), abs=0.07)


def test_many_sources_are_resampled_some_at_a_time(monkeypatch):
    labels = np.arange(40_000) % 2
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 400_000)  # ten of the resamples
    tracemalloc.start()
    try:
        ones = Clusters(np.arange(40_000), labels).interval(lambda w, _: (w @ labels) / w.sum(), resamples=95)
        (_, peak) = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ones == {"value": 0.5, "low": 0.5, "high": 0.5}, "as many of either class in each"
    assert peak < 20e6, "all 95 at once take 46 MB"


def test_several_metrics_have_the_intervals_that_each_has_alone(predictions):
    together = scores(predictions, METRICS, 100)
    assert together == {metric: scores(predictions, [metric], 100)[metric] for metric in METRICS}
    curve = roc(predictions, points=11, resamples=100)
    found = curve.loc[1, ["value", "low", "high"]].to_dict()
    assert found == pytest.approx(together["sensitivity_at_90"])


def test_what_is_not_defined_is_said(predictions):
    with pytest.raises(EvaluationError, match="both classes"):
        Predictions(np.ones(4, int), np.array(list("abcd")), np.ones((1, 4)))
    with pytest.raises(EvaluationError, match="finite"):
        Predictions(np.array([0, 1]), np.array(["a", "b"]), np.array([[0.5, np.nan]]))
    with pytest.raises(EvaluationError, match=r"sources must be one for each of 2 images\. Received: \(1,\)"):
        Predictions(np.array([0, 1]), np.array(["a"]), np.array([[0.5, 0.1]]))
    with pytest.raises(EvaluationError, match=r"probabilities must be \(runs, 2\)"):
        Predictions(np.array([0, 1]), np.array(["a", "b"]), np.array([0.5, 0.1]))
    with pytest.raises(EvaluationError, match=r"at least two sources.*Received: 1 and 2$"):
        Clusters(["a", "b", "c"], [0, 1, 1])
    with pytest.raises(EvaluationError, match=r"Received: 1 and 2, of which 2 show both$"):
        Clusters(list("abcbca"), [0, 0, 1, 1, 0, 0])
    with pytest.raises(EvaluationError, match=r"at least two sources. Received: 1"):
        Clusters(["a", "a"])
    with pytest.raises(EvaluationError, match="metric must be one of"):
        predictions.statistic("luck")


@pytest.mark.parametrize("dtype", ["uint8", bool, int, "float32"])
def test_hard_labels_of_any_dtype_are_ranked_as_what_they_are(predictions, dtype):
    """Unsigned numbers wrap around where they are negated: an AUC of 0.6 would be 0.4."""
    labels, sources = predictions.labels.tolist(), predictions.sources.tolist()
    hard = predictions.predicted_findings[:1]
    given = Predictions(labels, sources, hard.astype(dtype))
    expected = metrics.roc_auc_score(labels, hard[0])
    assert expected >= 0.6
    assert scores(given, ["auc"], 5)["auc"]["value"] == pytest.approx(expected, abs=1e-12)
    assert given.probabilities.dtype == np.float64 and scores(given, METRICS, 5) == scores(
        Predictions(np.array(labels), np.array(sources), hard.astype(float)), METRICS, 5
    )


def test_logits_percentages_and_unknown_sources_are_refused(predictions):
    labels, sources, probabilities = predictions.labels, predictions.sources, predictions.probabilities
    for odd, received in ((100 * probabilities, "0 to 100"), (probabilities * 4 - 2, "-2 to 2")):
        with pytest.raises(EvaluationError, match=f"from 0 to 1.*expit.*Received: {received}"):
            Predictions(labels, sources, odd)
    Predictions(labels, sources, probabilities + 2e-7)  # what float32 leaves of 1
    for unknown in (np.nan, None, "nan", "None", "", pd.NA):
        with pytest.raises(EvaluationError, match=r"a name of its own.*Received: 8 images without one"):
            Predictions(labels, np.where(sources == "3", unknown, sources.astype(object)), probabilities)
    with pytest.raises(EvaluationError, match=r"labels must be \(n,\).*Received: \(320, 1\)"):
        Predictions(labels[:, None], sources, probabilities)
    with pytest.raises(EvaluationError, match="probabilities must be an array of numbers"):
        Predictions(labels, sources, np.full((1, 320), "much"))
    with pytest.raises(EvaluationError, match=r"labels must be 0 or 1.*Received: 2 missing"):
        Predictions(np.where(np.arange(320) < 2, np.nan, labels), sources, probabilities)
    for ask, name, values in (
        (scores, "resamples", (0, 1, -1, 2.5, True, None)), (scores, "seed", (-1, 1.5)), (roc, "points", (0, 2.5)),
        (precision_recall, "points", (0, "9")),
    ):  # fmt: skip
        for odd in values:
            with pytest.raises(EvaluationError, match=f"{name} must be a whole number, .* Received: {odd!r}"):
                ask(predictions, **{name: odd})
    for ask in (scores, by_seed, lambda one, names: gains(one, one, names)):
        with pytest.raises(EvaluationError, match=r"a list of names: give \['auc'\]"):
            ask(predictions, "auc")


def test_each_seed_has_the_value_that_it_would_have_alone():
    rng = np.random.default_rng(0)
    labels, sources = np.arange(40) % 2, np.arange(40).astype(str)
    rows = np.clip(labels + rng.normal(0, [[0.3], [0.6], [3.0]], (3, 40)), 0, 1)
    several = Predictions(labels, sources, rows, np.array([0.5, 0.3, 0.7]))
    each = by_seed(several, ("accuracy", "auc"))
    for metric, numbers in each.items():
        alone = [scores(several.of_run(run), (metric,), 2)[metric]["value"] for run in range(3)]
        assert numbers == pytest.approx(alone) and len(set(numbers)) == 3
        assert np.mean(numbers) == pytest.approx(scores(several, (metric,), 2)[metric]["value"])


def test_probabilities_of_both_classes_are_not_two_models():
    labels, finding = np.tile([0, 1], 20), np.linspace(0, 1, 40)
    sources, both = np.arange(40).astype(str), np.stack([1 - finding, finding])
    with pytest.raises(EvaluationError, match=r"of the finding alone.* 2 rows that add up to 1"):
        Predictions(labels, sources, both)
    three = np.stack([0.7 * (1 - finding), finding, 0.3 * (1 - finding)])
    with pytest.raises(EvaluationError, match=r"Received: 3 rows .* as those of 3 classes do"):
        Predictions(labels, sources, three)
    Predictions(labels, sources, three[:2])
    assert len(Predictions(labels, sources, both[[1]]).probabilities) == 1
    Predictions(labels, sources, np.full((2, 40), 0.5))  # two networks that learnt nothing


def test_masked_values_are_not_taken_for_what_lies_below_the_mask():
    labels, sources = np.tile([0, 1], 20), np.arange(40).astype(str)
    masked = np.ma.masked_less(np.linspace(0, 1, 40)[None], 0.2)
    with pytest.raises(EvaluationError, match=r"a value for every image. Received: a masked array"):
        Predictions(labels, sources, masked)
