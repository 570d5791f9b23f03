"""Intervals by resampling sources, not files: images of one X-ray stand or fall together."""

import warnings

import numpy as np
from scipy import stats

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation.checks import check_numbers

_CONFIDENCE = 0.95  # share of resamples inside an interval
# Sources drawn before their statistics are computed: 0.5 GB, which are all 2,000 resamples of 16,000 sources.
_AT_ONCE = 2**25


def of_none_or_all(hit, count):
    """The 95 % interval of a share where no source was hit, or every one: resamples would all be alike.

    Source: Clopper and Pearson 1934.

    Args:
        hit: Whether every one was, else none.
        count: Sources.

    Returns:
        A dict of `low` and `high`.
    """
    reach = ((1 - _CONFIDENCE) / 2) ** (1 / count)
    return {"low": reach, "high": 1.0} if hit else {"low": 0.0, "high": 1 - reach}


class Clusters:
    """The sources of a test set, ready to be resampled.

    Args:
        sources: The source of each image.
        labels: 0 or 1 an image; sources are resampled within their class, so that no resample lacks one.
            None resamples all sources alike.

    Raises:
        EvaluationError: Fewer than two sources show label 0 alone, or label 1, or without labels there are fewer.
    """

    def __init__(self, sources, labels=None):
        names, self.codes = np.unique(np.asarray(sources), return_inverse=True)
        self.count = len(names)
        if labels is None:
            self.strata = [np.arange(self.count)]
            if self.count < 2:
                raise EvaluationError(f"An interval needs at least two sources. Received: {self.count}")
            return
        kind = np.zeros(self.count, int)
        np.maximum.at(kind, self.codes, np.asarray(labels, int))
        self.strata = [np.flatnonzero(kind == value) for value in (0, 1)]
        if min(map(len, self.strata)) < 2:
            healthy, finding = map(len, self.strata)
            both = len(np.intersect1d(*(self.codes[np.asarray(labels, int) == value] for value in (0, 1))))
            raise EvaluationError(
                "An interval needs at least two sources that show label 0 alone, and two that show label 1. "
                f"Received: {healthy} and {finding}" + (f", of which {both} show both" if both else "")
            )

    def interval(self, statistic, runs=1, resamples=2000, seed=0):
        """The 95 % percentile interval of a statistic, over sources and over runs.

        Args:
            statistic: Function of a weight for each image `(n,)` and of an array of run numbers; a number.
            runs: How many trained models (seeds) the statistic averages over; resampled too where there are
                at least two.
            resamples: Bootstrap resamples.
            seed: Of the resampling.

        Returns:
            A dict of `value` (on the whole test set), `low` and `high`.
        """
        return self.intervals(lambda weights, chosen: [statistic(weights, chosen)], runs, resamples, seed)[0]

    def intervals(self, statistic, runs=1, resamples=2000, seed=0):
        """The intervals of several numbers, over the same resamples, which are drawn once for all.

        Args:
            statistic: As of `interval`, but of a sequence of numbers.
            runs: As of `interval`, like the arguments that follow. Or several such numbers, if the statistic is of
                several sets of models: each is resampled by itself, and the statistic gets as many arrays of runs.
            resamples: Bootstrap resamples, 2 or more.
            seed: Of the resampling.

        Returns:
            A list of `interval`'s dicts, one for each number. A resample in which a number is NaN, since it is not
            defined there, does not count.

        Raises:
            EvaluationError: `resamples` is no whole number from 2, or `seed` none from 0.
        """
        check_numbers(seed, resamples=(resamples, 2))
        models = np.atleast_1d(runs)
        data = [*self.strata, *(np.arange(count) for count in models if count > 1)]

        def of(*drawn):
            several = iter(drawn[len(self.strata) :])
            chosen = [np.asarray(next(several) if count > 1 else (0,)) for count in models]
            times = np.bincount(np.concatenate(drawn[: len(self.strata)]), minlength=self.count)
            return statistic(times[self.codes].astype(float), *chosen)

        with warnings.catch_warnings(
            action="ignore", category=stats.DegenerateDataWarning
        ):  # of NaN, see below
            result = stats.bootstrap(
                data,
                lambda *drawn, axis: np.transpose([of(*one) for one in zip(*drawn, strict=True)]),
                n_resamples=resamples,
                confidence_level=_CONFIDENCE,
                batch=max(1, _AT_ONCE // self.count),
                vectorized=True,
                method="percentile",
                rng=seed,
            )
        ends = np.transpose(result.confidence_interval)
        if np.isnan(result.bootstrap_distribution).any():
            outside = 50 * (1 - _CONFIDENCE)
            ends = np.nanpercentile(result.bootstrap_distribution, (outside, 100 - outside), axis=-1).T
        return [
            {"value": float(value), "low": float(low), "high": float(high)}
            for value, (low, high) in zip(of(*data), ends, strict=True)
        ]
