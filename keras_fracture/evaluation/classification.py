"""How good a classifier is: metrics of probabilities, each with a source-clustered interval."""

import dataclasses

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from keras_fracture.errors import EvaluationError, one_line
from keras_fracture.evaluation.bootstrap import Clusters
from keras_fracture.evaluation.checks import known_sources
from keras_fracture.evaluation.ranking import Ranked

# Of weighted counts: true and false positives, true and false negatives.
_COUNTED = {
    "accuracy": lambda tp, fp, tn, fn: (tp + tn) / (tp + fp + tn + fn),
    "balanced_accuracy": lambda tp, fp, tn, fn: (tp / (tp + fn) + tn / (tn + fp)) / 2,
    "precision": lambda tp, fp, tn, fn: tp / np.maximum(tp + fp, 1e-12),
    "recall": lambda tp, fp, tn, fn: tp / (tp + fn),
    "specificity": lambda tp, fp, tn, fn: tn / (tn + fp),
    "f1": lambda tp, fp, tn, fn: 2 * tp / (2 * tp + fp + fn),
}
_RANKED = Ranked.METRICS
_CALIBRATED = ("brier", "ece")
METRICS = (*_COUNTED, *_RANKED, *_CALIBRATED)
HEADLINE = ("accuracy", "auc")
_ROUNDING = 1e-6  # by which float32 probabilities may lie beside 0 to 1
_BELOW = 1e-4  # by which a threshold lies below the image it was chosen by: far more than rounding
_BINS = 10  # of equal width, for the expected calibration error
# Not by linspace, of which 0.3, 0.6 and 0.7 are larger than these numbers: they would lie in the bin below their own.
_EDGES = np.arange(_BINS + 1) / _BINS


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predictions of one or several trained models for one test set.

    Attributes:
        labels: int `(n,)`, 0 or 1.
        sources: str `(n,)`, the X-ray or patient that each image shows.
        probabilities: float64 `(runs, n)` of label 1, from 0 to 1, a row a trained model; other numbers are made
            float64.
        threshold: From which probability on an image counts as a finding: of all runs, or `(runs,)`, of each.

    Raises:
        EvaluationError: A shape differs, a class is missing, a source is not known, probabilities (logits, say) or a
            threshold are not from 0 to 1, or probabilities are of both classes.
    """

    labels: np.ndarray
    sources: np.ndarray
    probabilities: np.ndarray
    threshold: float | np.ndarray = 0.5

    def __post_init__(self):
        # float64: unsigned numbers wrap around where scores are negated.
        for name, dtype in (("labels", None), ("sources", None), ("probabilities", float)):
            object.__setattr__(self, name, _array(name, getattr(self, name), dtype))
        if self.labels.ndim != 1:
            raise EvaluationError(f"labels must be (n,), one for each image. Received: {self.labels.shape}")
        if self.probabilities.ndim != 2 or self.probabilities.shape[1] != len(self.labels):
            raise EvaluationError(
                f"probabilities must be (runs, {len(self.labels)}). Received: {self.probabilities.shape}"
            )
        if self.sources.shape != self.labels.shape:
            raise EvaluationError(
                f"sources must be one for each of {len(self.labels)} images. Received: {self.sources.shape}"
            )
        if unknown := int(pd.isna(self.labels).sum()):
            raise EvaluationError(
                f"labels must be 0 or 1 for every image: leave those out that have none. Received: {unknown} missing"
            )
        if (classes := set(self.labels.tolist())) != {0, 1}:
            raise EvaluationError(
                f"The test set must hold both classes: AUC is not defined otherwise. "
                f"Received: labels {sorted(classes, key=str)}"
            )
        known_sources(self.sources)
        _check_probabilities(self.probabilities)
        rows = len(self.probabilities)
        classes = rows > 1 and np.allclose(self.probabilities.sum(0), 1, atol=1e-3)
        # Two networks that learnt nothing may say 0.5 for all.
        if classes and np.ptp(self.probabilities[0]) > 1e-2:
            raise EvaluationError(
                "probabilities must be of the finding alone, a row a trained model: give `probabilities[[1]]`, if that "
                f"is its row. Received: {rows} rows that add up to 1 for every image, as those of {rows} classes do"
            )
        runs, threshold = len(self.probabilities), _array("threshold", self.threshold, float)
        if threshold.shape not in ((), (runs,)) or not _are_shares(threshold):
            raise EvaluationError(
                f"threshold must be one number from 0 to 1, or one for each of {runs} runs. Received: {self.threshold}"
            )

    @property
    def thresholds(self):
        """The threshold of each run, float `(runs,)`."""
        return np.broadcast_to(np.asarray(self.threshold, float), len(self.probabilities))

    def of_run(self, number):
        """Those of one trained model, as `Predictions` of a single run."""
        return dataclasses.replace(
            self, probabilities=self.probabilities[[number]], threshold=float(self.thresholds[number])
        )

    @property
    def predicted_findings(self):
        """What each run takes for a finding, bool `(runs, n)`."""
        return self.probabilities >= self.thresholds[:, None]

    def statistic(self, metric):
        """A function of image weights and run numbers, for `bootstrap.Clusters.interval`."""
        several = self.statistics([metric])
        return lambda weights, runs: float(several(weights, runs)[0])

    def statistics(self, metrics):
        """A function of image weights and run numbers that gives all these metrics, for `Clusters.intervals`."""
        if isinstance(metrics, str):
            raise EvaluationError(
                f"metrics must be a list of names: give [{metrics!r}]. Received: {metrics!r}"
            )
        for metric in metrics:
            if metric not in METRICS:
                raise EvaluationError(f"metric must be one of {', '.join(METRICS)}. Received: {metric!r}")
        of_kinds = [
            function(self, names)
            for function, kind in ((_counted, _COUNTED), (_ranked, _RANKED), (_calibrated, _CALIBRATED))
            if (names := [metric for metric in metrics if metric in kind])
        ]

        def of(weights, runs):
            means = {}
            for function in of_kinds:
                means |= function(weights, runs)
            return [means[metric] for metric in metrics]

        return of


def _array(name, values, dtype):
    if np.ma.is_masked(values):  # NumPy drops the mask and takes what lies below it
        raise EvaluationError(f"{name} must have a value for every image. Received: a masked array")
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{name} must be an array of numbers. Received: {one_line(error)}") from None


def _are_shares(values):
    return bool(((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all())  # NaN is neither


def _check_probabilities(values):
    if not np.isfinite(values).all():
        raise EvaluationError("probabilities must be finite. Received: NaN or infinity")
    if not _are_shares(values):
        raise EvaluationError(
            "probabilities must be from 0 to 1: turn logits into them with scipy.special.expit, and divide percentages "
            f"by 100. Received: {values.min():g} to {values.max():g}"
        )


def _counted(predictions, metrics):
    """Metrics of `_COUNTED` as a function of image weights and run numbers: a dict of means."""
    positive, predicted = predictions.labels == 1, predictions.predicted_findings
    cells = [predicted & positive, predicted & ~positive, ~predicted & ~positive, ~predicted & positive]
    cells = np.stack(cells).astype(float)

    def of(weights, runs):
        counts = (cells @ weights)[:, runs]
        return {metric: np.mean(_COUNTED[metric](*counts)) for metric in metrics}

    return of


def _ranked(predictions, metrics):
    """As `_counted`, of `_RANKED`."""
    ranked = [Ranked(predictions.labels, row) for row in predictions.probabilities]

    def of(weights, runs):
        values = {run: ranked[run].values(metrics, weights) for run in set(runs)}
        return dict(zip(metrics, np.mean([values[run] for run in runs], axis=0), strict=True))

    return of


def _calibrated(predictions, metrics):
    """As `_counted`, of `_CALIBRATED`."""
    bins, off = _binned(predictions.probabilities), predictions.labels - predictions.probabilities

    def ece(weights, runs):
        return np.mean([np.abs(np.bincount(bins[run], off[run] * weights)).sum() for run in runs])

    functions = {"brier": lambda weights, runs: (off[runs] ** 2 @ weights).mean(), "ece": ece}
    return lambda weights, runs: {name: functions[name](weights, runs) / weights.sum() for name in metrics}


def _binned(probabilities):
    """The bin, from 0 to `_BINS` - 1, of each probability."""
    return np.digitize(probabilities, _EDGES[1:-1])


def calibration(predictions):
    """The ten bins of the expected calibration error: what was predicted, and how often it was so.

    With several runs an image counts once for each: the bins pool the runs, while the metric `ece` averages
    each run's own error and so is at least theirs.

    Args:
        predictions: `Predictions`.

    Returns:
        A `pandas.DataFrame`, a row a bin of equal width: `low`, `high` (its edges), `probability` (mean
        predicted), `observed` (share of findings), `images`; NaN means where a bin is empty.
    """
    bins = _binned(predictions.probabilities).ravel()
    labels = np.broadcast_to(predictions.labels, predictions.probabilities.shape).ravel()
    images = np.bincount(bins, minlength=_BINS)
    counted = np.where(images, images, np.nan)
    return pd.DataFrame(
        {
            "low": _EDGES[:-1],
            "high": _EDGES[1:],
            "probability": np.bincount(bins, predictions.probabilities.ravel(), _BINS) / counted,
            "observed": np.bincount(bins, labels, _BINS) / counted,
            "images": images,
        }
    )


def confusion(predictions):
    """How many images of each class were predicted to be of which, at the threshold.

    Args:
        predictions: `Predictions`. With several runs the counts are means over them, rounded so that each row
            still sums to the images of its class.

    Returns:
        int `(2, 2)`: rows the true class, columns the predicted one, healthy before finding.
    """
    shares = predictions.predicted_findings.mean(0)
    table = []
    for label in (0, 1):
        members = predictions.labels == label
        findings = int(np.rint(shares[members].sum()))
        table.append([int(members.sum()) - findings, findings])
    return np.array(table)


def best_threshold(labels, probabilities):
    """The probability from which on to call a finding that gives the highest balanced accuracy (Youden's index).

    Args:
        labels: 0 or 1, of a validation set; never of the set that is reported.
        probabilities: Of label 1, from 0 to 1.

    Returns:
        A threshold a little, at most 1e-4, below one of `probabilities` and above the next lower one, as far as that
        leaves room: a model that was exported rounds otherwise, and that image must not fall on the other side of it.

    Raises:
        EvaluationError: A class is missing, the labels do not fit, or a probability is not from 0 to 1.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, float)
    if labels.ndim != 1 or labels.shape != probabilities.shape or set(np.unique(labels)) != {0, 1}:
        raise EvaluationError(
            f"A threshold is chosen on both classes: give a label 0 or 1 for each of {probabilities.shape} "
            f"probabilities. Received: {labels.shape} labels of {np.unique(labels).tolist()}"
        )
    _check_probabilities(probabilities)
    false, true, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    # The first threshold is infinite: nothing is called a finding.
    chosen = thresholds[1:][np.argmax((true - false)[1:])]
    lower = probabilities[probabilities < chosen].max(initial=0.0)
    if chosen <= lower:  # 0, or rounded to below that
        return float(chosen)
    return float(max(chosen - min((chosen - lower) / 2, _BELOW), np.nextafter(lower, 1.0)))


def scores(predictions, metrics=HEADLINE, resamples=2000, seed=0):
    """Metrics averaged over runs, with 95 % intervals over sources and runs.

    Args:
        predictions: `Predictions`.
        metrics: Names of metrics.
        resamples: Bootstrap resamples.
        seed: Of the resampling.

    Returns:
        A dict of metric to `value`, `low`, `high`: percentiles of resamples, those of `ece` mirrored at its value.
    """
    clusters = Clusters(predictions.sources, predictions.labels)
    statistic = predictions.statistics(metrics)
    found = clusters.intervals(statistic, len(predictions.probabilities), resamples, seed)
    found = dict(zip(metrics, found, strict=True))
    return found | ({"ece": _mirrored(found["ece"])} if "ece" in found else {})


def _mirrored(score):
    """The basic interval of a calibration error, not below 0 nor without its value.

    Noise makes this error larger: that of resamples lies above that of the images, as this one lies above the truth.
    """
    value, low, high = (score[name] for name in ("value", "low", "high"))
    return {"value": value, "low": max(2 * value - high, 0.0), "high": min(max(2 * value - low, value), 1.0)}


def by_seed(predictions, metrics=HEADLINE):
    """Metrics of each run by itself, whose mean is that of `scores`.

    Args:
        predictions: `Predictions`.
        metrics: Names of metrics.

    Returns:
        A dict of metric to a list of floats, one a run, in their order.
    """
    every, statistic = np.ones(len(predictions.labels)), predictions.statistics(metrics)
    runs = [statistic(every, np.array([run])) for run in range(len(predictions.probabilities))]
    return {metric: [float(run[column]) for run in runs] for column, metric in enumerate(metrics)}


def gains(predictions, baseline, metrics=HEADLINE, resamples=2000, seed=0):
    """Paired differences to a baseline on the same images, with 95 % intervals.

    Each resample draws the same sources for both, and the same runs (seeds) where both have equally many; otherwise
    the runs of each by themselves.

    Args:
        predictions: `Predictions`.
        baseline: `Predictions` of the same test set.
        metrics: Names of metrics.
        resamples: Bootstrap resamples.
        seed: Of the resampling.

    Returns:
        A dict of metric to `value`, `low`, `high`.

    Raises:
        EvaluationError: The images differ: their number, labels or sources.
    """
    runs, images = zip(predictions.probabilities.shape, baseline.probabilities.shape, strict=True)
    if images[0] != images[1]:
        raise EvaluationError(
            f"A paired difference needs the same images. Received: {images[0]} and {images[1]} images"
        )
    for name in ("labels", "sources"):
        ours, theirs = (np.asarray(getattr(one, name)) for one in (predictions, baseline))
        if (ours != theirs).any():
            row = int(np.argmax(ours != theirs))
            raise EvaluationError(
                f"A paired difference needs the same images in the same order: {name} differ. "
                f"Received: {ours[row]} and {theirs[row]} in row {row}"
            )
    clusters = Clusters(predictions.sources, predictions.labels)
    ours, theirs = (one.statistics(metrics) for one in (predictions, baseline))
    found = clusters.intervals(
        lambda weights, *drawn: np.subtract(ours(weights, drawn[0]), theirs(weights, drawn[-1])),
        runs[0] if runs[0] == runs[1] else runs,
        resamples,
        seed,
    )
    return dict(zip(metrics, found, strict=True))
