import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import Predictions, by_group, most_confident_errors, scores, within


@pytest.fixture(scope="module")
def predictions():
    generator = np.random.default_rng(0)
    sources = np.repeat(np.arange(30), 4)
    labels = sources % 2
    noise = generator.standard_normal((2, len(labels)))
    return Predictions(labels, sources.astype(str), np.clip(0.5 + 0.3 * (labels - 0.5) + 0.3 * noise, 0, 1))


@pytest.fixture(scope="module")
def table(predictions):
    source = predictions.sources.astype(int)
    parts = np.select([source < 14, source < 27, source < 28], ["hand", "leg", "hip"], "shoulder")
    return pd.DataFrame({
        "label": predictions.labels,
        "body_part": parts,
        # Sources 1, 3 and 5: findings all.
        "hardware": np.isin(source, (1, 3, 5)),
        "age": 30,
    })  # fmt: skip


@pytest.fixture(scope="module")
def groups(predictions, table):
    return by_group(predictions, table, resamples=200)


def test_every_value_of_every_column_there_is_has_a_row(groups):
    assert groups["column"].unique().tolist() == ["body_part", "hardware"]
    counted = groups.set_index("value")[["images", "sources", "finding_sources", "findings"]]
    assert counted.loc["hand"].tolist() == [56, 14, 7, 28]
    assert counted.loc["leg"].tolist() == [52, 13, 6, 24]
    assert counted.loc["hip"].tolist() == [4, 1, 1, 4]
    assert counted.loc["shoulder"].tolist() == [8, 2, 1, 4]
    assert counted.loc["True"].tolist() == [12, 3, 3, 12]
    assert groups.groupby("column")["images"].sum().tolist() == [120, 120]


def test_a_groups_scores_are_those_of_its_images_alone(predictions, table, groups):
    inside = (table["body_part"] == "leg").to_numpy()
    labels, probabilities = predictions.labels[inside], predictions.probabilities[:, inside]
    row = groups.set_index("value").loc["leg"]
    assert row["auc"] == pytest.approx(np.mean([metrics.roc_auc_score(labels, p) for p in probabilities]))
    assert row["accuracy"] == pytest.approx(((probabilities >= 0.5) == labels).mean())
    alone = scores(Predictions(labels, predictions.sources[inside], probabilities), resamples=200)
    for metric in ("accuracy", "auc"):
        ends = row[f"{metric}_low"], row[f"{metric}_high"]
        assert ends == (alone[metric]["low"], alone[metric]["high"])


def test_a_group_without_enough_of_both_classes_has_accuracy_only(predictions, table, groups):
    rows = groups.set_index("value")
    for value in ("True", "hip", "shoulder"):  # one class; one source; one source a class
        assert rows.loc[value, ["auc", "auc_low", "auc_high"]].isna().all()
        inside = (table["body_part"] == value) | (table["hardware"].astype(str) == value)
        right = (predictions.probabilities >= 0.5) == predictions.labels
        assert rows.loc[value, "accuracy"] == pytest.approx(right[:, inside].mean())
    for value in ("True", "shoulder"):
        low, middle, high = rows.loc[value, ["accuracy_low", "accuracy", "accuracy_high"]]
        assert low <= middle <= high and low < high
    assert rows.loc["hip", ["accuracy_low", "accuracy_high"]].isna().all()


def test_the_worst_group_comes_first_and_single_sources_last(predictions):
    table = pd.DataFrame({"body_part": np.select([predictions.sources == "4"], ["single"], "rest")})
    right = ((predictions.probabilities >= 0.5) == predictions.labels).mean(0)
    easy = right >= np.median(right)
    table.loc[table["body_part"] == "rest", "body_part"] = np.where(easy, "b easy", "c hard")[
        table["body_part"] == "rest"
    ]
    groups = by_group(predictions, table, resamples=20)
    assert groups["value"].tolist() == ["c hard", "b easy", "single"]
    assert groups["accuracy"].iloc[0] < groups["accuracy"].iloc[1]


@pytest.mark.parametrize("columns", [("view",), "hardware"])
def test_columns_that_are_not_there_are_said(predictions, table, columns):
    with pytest.raises(
        EvaluationError, match="one of them a column of the table: label, body_part, hardware, age"
    ):
        by_group(predictions, table, columns=columns)
    groups = by_group(predictions, table, columns=())
    assert len(groups) == 0 and "accuracy_low" in groups


def test_a_table_of_other_images_is_refused(predictions, table):
    with pytest.raises(EvaluationError, match=r"each of 120 images. Received: 119"):
        by_group(predictions, table[:-1])
    with pytest.raises(EvaluationError, match="other labels"):
        by_group(predictions, table[::-1])


def test_errors_are_ranked_by_how_far_they_are_from_the_threshold():
    labels = np.array([0, 0, 0, 1, 1, 1])
    # At a threshold of 0.2: false alarms by 0.5, 0.25 and missed by 0.75, 0.25 (then equal: in order).
    probabilities = np.array([[0.6, 0.1, 0.4, 0.9, 0.05, 0.15]])
    predictions = Predictions(labels, np.array(list("abcdef")), probabilities, threshold=0.2)
    assert most_confident_errors(predictions).tolist() in ([4, 0, 2, 5], [4, 0, 5, 2])
    assert most_confident_errors(predictions, count=2).tolist() == [4, 0]


def test_errors_are_those_of_the_mean_over_runs():
    labels, sources = np.array([0, 1]), np.array(["a", "b"])
    once_wrong = np.array([[0.6, 0.9], [0.2, 0.9]])
    assert most_confident_errors(Predictions(labels, sources, once_wrong)).tolist() == []
    mostly_wrong = np.array([[0.9, 0.9], [0.2, 0.9]])
    assert most_confident_errors(Predictions(labels, sources, mostly_wrong)).tolist() == [0]


def test_resamples_without_a_pair_do_not_count_as_wrong():
    """One in eight leaves out both findings of the hand: the low end was 0 for a classifier without a mistake."""
    labels = np.r_[np.ones(2, int), np.zeros(20, int), np.ones(28, int)]
    groups = np.repeat(["hand", "hip"], [22, 28])
    perfect = Predictions(labels, np.arange(50).astype(str), np.where(labels == 1, 0.9, 0.1)[None])
    with warnings.catch_warnings(action="error"):
        found = within(perfect, groups, resamples=300)
    assert found == {"value": 1.0, "low": 1.0, "high": 1.0}
    one_missed = np.where(labels == 1, 0.9, 0.1)
    one_missed[0] = 0.0
    missing = within(Predictions(labels, perfect.sources, one_missed[None]), groups, resamples=300)
    assert missing == {"value": 0.5, "low": 0.0, "high": 1.0}, "either finding alone is drawn, too"


def test_pairs_of_a_single_finding_have_no_interval():
    labels = np.r_[1, np.zeros(20, int), np.ones(10, int)]
    groups = np.repeat(["hand", "hip"], [21, 10])
    predictions = Predictions(labels, np.arange(31).astype(str), labels[None].astype(float))
    assert within(predictions, groups, resamples=50) is None
    assert within(predictions, ["hand"] * 2 + ["hip"] * 29, resamples=50) is not None


@pytest.mark.parametrize("groups", [["hand"] * 30, ["hand", None] * 20], ids=["few", "none"])
def test_every_image_has_a_group(groups):
    labels = np.tile([0, 1], 20)
    predictions = Predictions(labels, np.arange(40).astype(str), np.linspace(0, 1, 40)[None])
    with pytest.raises(EvaluationError, match="groups must name one for each of 40 images"):
        within(predictions, groups)
