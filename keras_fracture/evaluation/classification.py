"""How good a classifier is: metrics of probabilities, each with a source-clustered interval."""

import dataclasses

import numpy as np

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation.bootstrap import Clusters

METRICS = ("accuracy", "auc")


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What one or several trained models said about one test set.

    Attributes:
        labels: int `(n,)`, 0 or 1.
        sources: str `(n,)`.
        probabilities: float `(runs, n)` of label 1, a row a trained model.
        threshold: From which probability on a picture counts as a finding.
    """

    labels: np.ndarray
    sources: np.ndarray
    probabilities: np.ndarray
    threshold: float = 0.5

    def __post_init__(self):
        if self.probabilities.ndim != 2 or self.probabilities.shape[1] != len(self.labels):
            raise EvaluationError(
                f"probabilities must be (runs, {len(self.labels)}). Received: {self.probabilities.shape}"
            )
        if set(np.unique(self.labels)) != {0, 1}:
            raise EvaluationError(
                f"The test set must hold both classes: AUC is not defined otherwise. "
                f"Received: labels {sorted(set(np.asarray(self.labels).tolist()))}"
            )
        if not np.isfinite(self.probabilities).all():
            raise EvaluationError("probabilities must be finite. Received: NaN or infinity")

    def statistic(self, metric):
        """A function of picture weights and run numbers, for `bootstrap.Clusters.interval`."""
        if metric == "accuracy":
            right = (self.probabilities >= self.threshold) == (self.labels == 1)
            return lambda weights, runs: float((right[runs] @ weights).mean() / weights.sum())
        if metric == "auc":
            ranked = [_Ranked(self.labels, row) for row in self.probabilities]
            return lambda weights, runs: float(np.mean([ranked[run].auc(weights) for run in runs]))
        raise EvaluationError(f"metric must be one of {', '.join(METRICS)}. Received: {metric!r}")


class _Ranked:
    """Scores sorted once, so that thousands of weighted AUCs cost one pass each."""

    def __init__(self, labels, scores):
        self.order = np.argsort(scores, kind="stable")
        ordered = scores[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.positive = labels[self.order] == 1

    def auc(self, weights):
        """Share of weighted (finding, healthy) pairs in the right order, ties counting half."""
        weights = weights[self.order]
        positive = np.add.reduceat(np.where(self.positive, weights, 0), self.starts)
        negative = np.add.reduceat(np.where(self.positive, 0, weights), self.starts)
        below = np.cumsum(negative) - negative
        return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def scores(predictions, metrics=METRICS, resamples=2000, seed=0):
    """Metrics averaged over runs, with 95 % intervals over sources and runs.

    Args:
        predictions: `Predictions`.
        metrics: Names of metrics.
        resamples: Bootstrap resamples.
        seed: Of the resampling.

    Returns:
        A dict of metric to `value`, `low`, `high`.
    """
    clusters = Clusters(predictions.sources, predictions.labels)
    runs = len(predictions.probabilities)
    return {
        metric: clusters.interval(predictions.statistic(metric), runs, resamples, seed=seed)
        for metric in metrics
    }


def gains(predictions, baseline, metrics=METRICS, resamples=2000, seed=0):
    """Paired differences to a baseline on the same pictures, with 95 % intervals.

    Each resample draws the same sources and the same runs (seeds) for both.

    Args:
        predictions: `Predictions`.
        baseline: `Predictions` of the same test set and number of runs.
        metrics: Names of metrics.
        resamples: Bootstrap resamples.
        seed: Of the resampling.

    Returns:
        A dict of metric to `value`, `low`, `high`.
    """
    if predictions.probabilities.shape != baseline.probabilities.shape:
        raise EvaluationError(
            f"A paired difference needs equal runs and pictures. Received: {predictions.probabilities.shape} "
            f"and {baseline.probabilities.shape}"
        )
    clusters = Clusters(predictions.sources, predictions.labels)
    runs = len(predictions.probabilities)
    result = {}
    for metric in metrics:
        ours, theirs = predictions.statistic(metric), baseline.statistic(metric)
        result[metric] = clusters.interval(
            lambda weights, chosen, ours=ours, theirs=theirs: ours(weights, chosen) - theirs(weights, chosen),
            runs,
            resamples,
            seed=seed,
        )
    return result
