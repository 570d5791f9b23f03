"""Where a classifier fails: its scores by group, and its most confident errors."""

import numpy as np
import pandas as pd

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation.bootstrap import Clusters
from keras_fracture.evaluation.classification import HEADLINE, Predictions, scores
from keras_fracture.evaluation.ranking import Ranked

COLUMNS = ("body_part", "view", "hardware", "multiscan")


def by_group(predictions, table, columns=COLUMNS, resamples=500):
    """Accuracy and AUC in every group of images, with 95 % intervals over sources and runs.

    A group with fewer than two sources of either class has no AUC; the interval of its accuracy resamples all
    its sources alike, and is NaN where there is only one.

    Args:
        predictions: `Predictions`.
        table: `pandas.DataFrame`, a row an image in the order of `predictions.labels`, such as
            `data.Records.table`.
        columns: Names of columns that make groups; those `table` lacks are passed over, if it has any of them.
        resamples: Bootstrap resamples.

    Returns:
        A `pandas.DataFrame`, a row a group: `column`, `value`, `images`, `sources`, `finding_sources` (those with a
        finding), `findings`, then `accuracy` and `auc`, each with `_low` and `_high`. Within a column the group of the
        lowest AUC is first; behind them come those without one, the least accurate first, and last those of a single
        source.

    Raises:
        EvaluationError: The table's rows are not the images predicted, or it has none of the columns.
    """
    if isinstance(columns, str) or (len(columns) and not any(name in table for name in columns)):
        raise EvaluationError(
            f"columns must be a list of names, one of them a column of the table: {', '.join(map(str, table))}. "
            f"Received: {columns!r}"
        )
    if len(table) != len(predictions.labels):
        raise EvaluationError(
            f"The table must have a row for each of {len(predictions.labels)} images. Received: {len(table)}"
        )
    for column, expected in (("label", predictions.labels), ("source", predictions.sources)):
        if column in table and (table[column].to_numpy(str) != np.asarray(expected, str)).any():
            raise EvaluationError(
                f"The table's rows must be in the order of the images. Received: other {column}s"
            )
    rows = []
    for column in (name for name in columns if name in table):
        values = table[column].astype(str).to_numpy()
        groups = [
            {"column": column, "value": value} | _group(predictions, values == value, resamples)
            for value in np.unique(values)
        ]
        rows += sorted(groups, key=_badness)
    ends = [metric + end for metric in HEADLINE for end in ("", "_low", "_high")]
    return pd.DataFrame(
        rows, columns=["column", "value", "images", "sources", "finding_sources", "findings", *ends]
    )


def _badness(group):
    """Sorts the worst group first."""
    return group["sources"] < 2, "auc" not in group, group.get("auc", group["accuracy"])


def least_sources(predictions):
    """How many sources the rarer class has: those with a finding, or those without any.

    Args:
        predictions: `Predictions`, or a split: anything with `labels` and `sources`.
    """
    sources = np.asarray(predictions.sources)
    findings = len(set(sources[np.asarray(predictions.labels) == 1]))
    return min(findings, len(set(sources)) - findings)


def within(predictions, groups, resamples=2000, seed=0):
    """AUC among images of one group alone, weighted by pairs: what is left where the group itself tells nothing.

    Args:
        predictions: `Predictions`.
        groups: The group of each image `(n,)`, such as its body part.
        resamples: Bootstrap resamples.
        seed: Of the resampling.

    Returns:
        A dict of `value`, `low` and `high`: the share of pairs of a finding and a healthy image of the same group that
        are in the right order, mean over runs. Resamples without any such pair do not count. None where there is one
        group only, or the groups that have both classes hold fewer than two sources with, or without, a finding.

    Raises:
        EvaluationError: A class has fewer than two sources, or an image has no group.
    """
    codes, _ = pd.factorize(np.asarray(groups))
    if len(codes) != len(predictions.labels) or (codes < 0).any():
        raise EvaluationError(
            f"groups must name one for each of {len(predictions.labels)} images: call those that are not known "
            f"'unknown'. Received: {len(codes)}, {int((codes < 0).sum())} of them missing"
        )
    members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    both = [rows for rows in members if set(predictions.labels[rows]) == {0, 1}]
    inside = np.concatenate([np.empty(0, int), *both])
    paired = [set(predictions.sources[inside][predictions.labels[inside] == label]) for label in (0, 1)]
    if min(map(len, paired)) < 2 or len(members) < 2:
        return None
    ranked = [
        [(rows, Ranked(predictions.labels[rows], probabilities[rows])) for rows in both]
        for probabilities in predictions.probabilities
    ]

    def statistic(weights, runs):
        counts = [np.sum([one.pairs(weights[rows]) for rows, one in ranked[run]], axis=0) for run in runs]
        return float(np.mean([right / pairs if pairs else np.nan for right, pairs in counts]))

    return Clusters(predictions.sources, predictions.labels).interval(
        statistic, len(ranked), resamples, seed=seed
    )


def _group(predictions, inside, resamples):
    """One row of `by_group`: the images where `inside` is true."""
    labels, sources = predictions.labels[inside], np.asarray(predictions.sources)[inside]
    probabilities = predictions.probabilities[:, inside]
    row = {
        "images": len(labels),
        "sources": len(set(sources)),
        "finding_sources": len(set(sources[labels == 1])),
        "findings": int(labels.sum()),
    }
    try:
        group = Predictions(labels, sources, probabilities, predictions.threshold)
        group_scores = scores(group, HEADLINE, resamples)
    except EvaluationError:  # one class, or too few sources of it
        group_scores = {
            "accuracy": _accuracy(labels, sources, predictions.predicted_findings[:, inside], resamples)
        }
    for metric, score in group_scores.items():
        row |= {metric: score["value"], f"{metric}_low": score["low"], f"{metric}_high": score["high"]}
    return row


def _accuracy(labels, sources, predicted, resamples):
    """Accuracy that needs no second class."""
    right = (predicted == labels).astype(float)
    if len(set(sources)) < 2:
        return {"value": float(right.mean()), "low": np.nan, "high": np.nan}

    def statistic(weights, runs):
        return float((right[runs] @ weights).mean() / weights.sum())

    return Clusters(sources).interval(statistic, len(right), resamples)


def most_confident_errors(predictions, count=16):
    """The images a model is most sure of, and wrong.

    Args:
        predictions: `Predictions`; probabilities are averaged over runs.
        count: How many at most.

    Returns:
        int array of indices into `predictions.labels`, the most confident error first. Confidence is how far
        the mean probability lies on the wrong side of the runs' mean threshold, as a share of how far it could,
        so that missed findings and false alarms compare whatever the threshold.
    """
    mean, threshold = predictions.probabilities.mean(0), predictions.thresholds.mean()
    predicted = mean >= threshold
    room = np.where(predicted, 1 - threshold, threshold)
    confidence = np.abs(mean - threshold) / np.maximum(room, 1e-12)
    wrong = np.flatnonzero(predicted != (predictions.labels == 1))
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
