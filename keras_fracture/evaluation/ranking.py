"""How well scores rank findings before healthy images, under weights of the images."""

import numpy as np


class Ranked:
    """Scores sorted once, highest first, so that thousands of weighted resamples cost one pass each.

    Args:
        labels: 0 or 1 an image.
        scores: A number an image, the higher the more likely a finding.
    """

    METRICS = ("auc", "average_precision", "sensitivity_at_90", "sensitivity_at_95")

    def __init__(self, labels, scores):
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.positive = labels[self.order] == 1

    def _counts(self, weights):
        """Weights of findings and of healthy images at each score, highest first."""
        weights = weights[self.order]
        return (
            np.add.reduceat(np.where(members, weights, 0), self.starts)
            for members in (self.positive, ~self.positive)
        )

    def values(self, metrics, weights):
        """Some of `METRICS` under image weights; ties share a threshold."""
        positive, negative = self._counts(weights)
        hits, alarms = np.cumsum(positive), np.cumsum(negative)
        found = []
        for metric in metrics:
            if metric == "auc":
                right, pairs = _pairs(positive, negative, alarms)
                found.append(right / pairs)
            elif metric == "average_precision":
                found.append((positive * hits / np.maximum(hits + alarms, 1e-12)).sum() / hits[-1])
            else:
                found.append(_sensitivity(int(metric[-2:]) / 100, hits, alarms))
        return found

    def pairs(self, weights):
        """How many pairs of a finding and a healthy image are in the right order, ties half, and how many there are."""
        positive, negative = self._counts(weights)
        return _pairs(positive, negative, np.cumsum(negative))

    def sensitivity(self, specificity, weights):
        """The highest sensitivity at no less than this specificity, or at each of several."""
        return _sensitivity(specificity, *map(np.cumsum, self._counts(weights)))

    def precision(self, recall, weights):
        """The precision at the highest score from which on at least this share of the findings, above 0, is found."""
        hits, alarms = map(np.cumsum, self._counts(weights))
        place = np.searchsorted(hits, recall * hits[-1] - 1e-9)
        return hits[place] / (hits[place] + alarms[place])


def _pairs(positive, negative, alarms):
    above = alarms[-1] - alarms + negative / 2
    return (positive * above).sum(), positive.sum() * alarms[-1]


def _sensitivity(specificity, hits, alarms):
    allowed = np.searchsorted(alarms, (1 - specificity) * alarms[-1] + 1e-9, side="right")
    return np.r_[0.0, hits][allowed] / hits[-1]
