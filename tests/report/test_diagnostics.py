import cv2
import numpy as np
import pandas as pd
import pytest

from keras_fracture import evaluation
from keras_fracture.evaluation import Predictions, calibration
from keras_fracture.report import captions, diagnostics, groups, scored
from tests.drawings import assert_drawn


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_confusion_shows_counts_and_shares_of_the_true_class(drawn, tmp_path):
    path = diagnostics.confusion([[90, 10], [30, 20]], tmp_path / "c.png", ("healthy", "finding"), "Title")
    axis = drawn[0].axes[0]
    assert words(axis) == ["90\n90.0 %", "10\n10.0 %", "30\n60.0 %", "20\n40.0 %"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["healthy", "finding"]
    assert cv2.imread(str(path)).std() > 20


def test_confusion_of_a_class_without_images(drawn, tmp_path):
    diagnostics.confusion([[5, 0], [0, 0]], tmp_path / "c.png", ("healthy", "finding"), "Title")
    assert words(drawn[0].axes[0])[3] == "0\n0.0 %"


def test_reliability_draws_the_bins_that_hold_images(drawn, tmp_path):
    labels, probabilities = np.array([0, 1, 1, 1]), np.array([[0.05, 0.31, 0.37, 1.0]])
    bins = calibration(Predictions(labels, np.array(list("abcd")), probabilities))
    path = diagnostics.reliability(bins, tmp_path / "r.png", "Title")
    above, below = drawn[0].axes
    np.testing.assert_allclose(above.lines[-1].get_xydata(), [[0.05, 0], [0.34, 1], [1, 1]])
    assert [bar.get_height() for bar in below.patches] == bins["images"].tolist()
    assert cv2.imread(str(path)).std() > 20


def test_a_roc_curve_lies_in_its_band(drawn, tmp_path):
    points = pd.DataFrame(
        {"false_positive_rate": [0, 0.5, 1], "value": [0, 0.8, 1], "low": [0, 0.7, 1], "high": [0.1, 0.9, 1]}
    )
    diagnostics.roc(points, "0.800 (0.700 to 0.900)", tmp_path / "roc.png", "Title", (0.25, 0.6))
    axis, legend = drawn[0].axes[0], drawn[0].legends[0]
    assert axis.lines[1].get_xydata().tolist() == [[0, 0], [0.5, 0.8], [1, 1]]
    assert axis.lines[2].get_xydata().tolist() == [[0.25, 0.6]]
    assert axis.collections[0].get_paths()[0].get_extents().ymax == 1
    assert [text.get_text() for text in legend.get_texts()][:2] == ["chance", "area 0.800 (0.700 to 0.900)"]
    assert not legend.get_window_extent().overlaps(axis.get_tightbbox()), "the legend hides no data"


def test_precision_lies_in_its_band_over_what_chance_reaches(drawn, tmp_path):
    points = pd.DataFrame({"recall": [0.5, 1], "value": [0.9, 0.4], "low": [0.7, 0.3], "high": [1, 0.5]})
    path = diagnostics.precision_recall(points, "0.700", 0.3, tmp_path / "pr.png", "Title", (0.6, 0.8))
    axis = drawn[0].axes[0]
    chance, curve, marker = axis.lines
    assert set(chance.get_ydata()) == {0.3} and chance.get_label().startswith("chance: ")
    assert curve.get_xydata().tolist() == [[0.5, 0.9], [1, 0.4]]
    assert marker.get_xydata().tolist() == [[0.6, 0.8]]
    np.testing.assert_allclose(
        axis.collections[0].get_datalim(axis.transData).get_points(), [[0.5, 0.3], [1, 1]]
    )
    assert_drawn(path)


def test_bins_without_images_make_an_empty_figure(tmp_path):
    bins = pd.DataFrame(
        {"low": [0.0], "high": [1.0], "probability": [np.nan], "observed": [np.nan], "images": [0]}
    )
    assert diagnostics.reliability(bins, tmp_path / "r.png", "Title").exists()


@pytest.fixture(scope="module")
def predictions():
    """Twenty findings, fifteen of them found at 0.5, and sixty healthy images with twelve false alarms."""
    labels = np.repeat([1, 0], [20, 60])
    called = np.r_[np.arange(20) < 15, np.arange(60) < 12]
    return Predictions(labels, np.arange(80).astype(str), np.where(called, 0.9, 0.2)[None])


def test_captions_say_what_the_numbers_say(predictions):
    scores = evaluation.scores(predictions, evaluation.METRICS, 50)
    at = captions.at_threshold(predictions, "fixed beforehand")
    assert at == "at the threshold 0.5 (fixed beforehand)"
    roc = captions.roc(predictions, scores, at)
    assert "75.0 % of the findings are found and 20.0 % of the healthy images are false alarms" in roc
    assert "resamples of whole X-rays, at" in roc and "lies above that with all of its interval" in roc
    assert "55.6 % of the alarms are right" in captions.precision_recall(predictions, scores, at)
    matrix = evaluation.confusion(predictions)
    assert captions.confusion(matrix, predictions, at) == (
        "at the threshold 0.5 (fixed beforehand), 15 of 20 findings are found and 5 missed (lower row); "
        "12 of 60 healthy images are false alarms (upper right)."
    )
    # 27 images of 0.9 and 53 of 0.2, where a quarter shows a finding.
    assert "is 43.6 %, and 25.0 % of these images show a finding: on the whole too high by 19 points" in (
        captions.reliability(predictions, scores)
    )
    assert "1 missed finding, 2 false alarms" in captions.failures(np.array([0, 1, 0]))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.51, 0.9, "lies above that"),
        (0.3, 0.49, "lies below that"),
        (0.4, 0.6, "no difference that can be shown"),
    ],
)
def test_a_caption_claims_no_more_than_its_interval(predictions, low, high, words):
    scores = evaluation.scores(predictions, evaluation.METRICS, 5) | {
        "auc": {"value": 0.5, "low": low, "high": high}
    }
    assert captions.roc(predictions, scores, "at").split("0.5; this one")[1].count(words) == 1


def test_captions_of_several_seeds_name_each_threshold(predictions):
    several = Predictions(
        predictions.labels,
        predictions.sources,
        predictions.probabilities.repeat(2, 0),
        np.array([0.5, 0.123]),
    )
    assert captions.at_threshold(several) == "at the seeds' thresholds 0.5, 0.123"
    scores = evaluation.scores(several, evaluation.METRICS, 5)
    assert "whole X-rays and seeds" in captions.precision_recall(several, scores, "at")
    assert "means of 2 seeds" in captions.confusion(evaluation.confusion(several), several, "at")


def test_a_loss_says_what_else_it_holds():
    lowest = {"resnet18": (3, 20)}
    assert captions.loss(lowest) == (
        "A validation loss that rises again means overfitting. Lowest validation loss: resnet18: epoch 3 of 20."
    )
    assert "The losses hold weight decay and that of body parts, too: a fall" in captions.loss(
        lowest, ["weight decay", "that of body parts"]
    )


def test_the_worst_group_is_first_and_the_small_ones_are_last_and_named():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    part = np.repeat(["arm", "leg", "toe"], [56, 56, 8])  # of the toe, four X-rays a class
    view = np.where(np.arange(120) % 4 < 2, "frontal", "lateral")
    noise = np.where(part == "leg", 3.0, 0.5)
    right = np.where(part == "toe", 1 - labels, labels)  # the small group is the worst of all
    probabilities = 1 / (1 + np.exp(-(2 * right - 1) - noise * rng.standard_normal(120)))
    table = pd.DataFrame({"body_part": part, "view": view, "hardware": "no"})
    measured = evaluation.by_group(
        Predictions(labels, np.arange(120).astype(str), probabilities[None]), table, resamples=50
    )
    text = groups.table(measured)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")][2:]
    assert [row[1] for row in rows[:1] + rows[-1:]] == ["leg", "toe"] and len(rows) == 5
    aucs = [float(row[5].split()[0]) for row in rows[:-1]]
    assert aucs == sorted(aucs)
    assert rows[-1][:6] == ["body part", "toe", "8", "8", "4", "too few sources"]
    assert "fewer than 5 sources (X-rays or patients) of either class" in text and "hardware" not in text
    assert (
        groups.table(measured[measured["column"] == "hardware"])
        == "No body parts or views are known, so there is no breakdown.\n"
    )


def test_long_titles_and_legends_fit_on_their_figures(drawn, predictions, tmp_path):
    scores = evaluation.scores(predictions, evaluation.METRICS, 5)
    images = "a data set of a rather long name, grouped split, test images"
    told = scored.plots(tmp_path, "efficientnet_lite0_" * 4, images, predictions, scores)
    assert len(told) == len(drawn) == 4 and all((tmp_path / name).is_file() for name in told)
    for figure in drawn:
        for part in (figure._suptitle, *figure.legends):
            box, frame = part.get_window_extent(), figure.bbox
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
    assert "at the threshold 0.5" in drawn[3].get_suptitle()


def test_each_of_several_seeds_is_a_dot_beside_what_else_is_known(drawn, predictions, tmp_path):
    rows = np.stack([predictions.probabilities[0], 0.9 * (1 - predictions.probabilities[0])])
    several = Predictions(predictions.labels, predictions.sources, rows)
    scores = evaluation.scores(several, evaluation.METRICS, 5)
    levels = {"accuracy": {"the paper": 0.81, "trees": 0.65}, "auc": {"trees": 0.6}}
    told = scored.plots(tmp_path, "net", "images", several, scores, levels=levels)
    each = evaluation.by_seed(several)
    axes = drawn[-1].axes
    assert next(iter(told)) == "seeds.png" and len(drawn) == 5
    for axis, metric in zip(axes, ("accuracy", "auc"), strict=True):
        assert axis.lines[0].get_ydata().tolist() == each[metric]
        assert {line.get_ydata()[0] for line in axis.lines} >= set(levels[metric].values())
        low, high = axis.get_ylim()
        assert low < min(each[metric]) and max(each[metric]) <= high
    trees = [next(line for line in axis.lines if line.get_label().startswith("trees")) for axis in axes]
    assert len({(line.get_color(), line.get_linestyle()) for line in trees}) == 1, "alike in both panels"
    assert f"AUC {each['auc'][0]:.3f}, {each['auc'][1]:.3f} (standard deviation" in told["seeds.png"]
    assert_drawn(tmp_path / "seeds.png")
