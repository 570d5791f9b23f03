"""Curves of a classifier over its thresholds, each point with a source-clustered interval."""

import numpy as np
import pandas as pd

from keras_fracture.evaluation.bootstrap import Clusters
from keras_fracture.evaluation.checks import check_numbers
from keras_fracture.evaluation.ranking import Ranked


def roc(predictions, points=41, resamples=500, seed=0):
    """The receiver operating characteristic, averaged over runs, with a 95 % interval at each point.

    Args:
        predictions: `Predictions`.
        points: How many false-positive rates from 0 to 1.
        resamples: Bootstrap resamples of each point.
        seed: Of the resampling.

    Returns:
        A `pandas.DataFrame`, a row a point: `false_positive_rate`, and of the sensitivity `value`, `low`, `high`.
    """
    check_numbers(seed, points=(points, 1))
    rates = np.linspace(0, 1, points)
    sensitivities = _along(
        predictions, lambda one, weights: one.sensitivity(1 - rates, weights), resamples, seed
    )
    return sensitivities.assign(false_positive_rate=rates)


def precision_recall(predictions, points=40, resamples=500, seed=0):
    """Precision against recall, averaged over runs, with a 95 % interval at each point.

    The area below is the metric `average_precision`, but for the steps between the points.

    Args:
        predictions: `Predictions`.
        points: How many recalls above 0, the last is 1.
        resamples: Bootstrap resamples of each point.
        seed: Of the resampling.

    Returns:
        A `pandas.DataFrame`, a row a point: `recall`, and of the precision `value`, `low`, `high`.
    """
    check_numbers(seed, points=(points, 1))
    recalls = np.linspace(0, 1, points + 1)[1:]
    precisions = _along(predictions, lambda one, weights: one.precision(recalls, weights), resamples, seed)
    return precisions.assign(recall=recalls)


def _along(predictions, curve, resamples, seed):
    """A curve, a function of a `Ranked` and weights, as `value`, `low` and `high` of its points over all runs."""
    clusters = Clusters(predictions.sources, predictions.labels)
    ranked = [Ranked(predictions.labels, row) for row in predictions.probabilities]
    return pd.DataFrame(
        clusters.intervals(
            lambda weights, runs: np.mean([curve(ranked[run], weights) for run in runs], axis=0),
            len(ranked),
            resamples,
            seed,
        )
    )
