"""Figures of what a classifier's probabilities are worth."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from keras_fracture.report import figures
from keras_fracture.report.style import COLOURS, MARKERS, styled, subplots

_LINES = ("--", ":", "-.")


@styled
def roc(points, auc, path, suptitle, at=None):
    """A receiver operating characteristic with the band of its interval.

    Args:
        points: `pandas.DataFrame` from `evaluation.roc`.
        auc: The area in words, such as "0.80 (0.74 to 0.86)".
        path: PNG to write.
        suptitle: Of the figure.
        at: (false-positive rate, sensitivity) at the model's threshold, to be marked, or None.

    Returns:
        The path.
    """
    figure, axis = subplots(figsize=(5, 5.4))
    axis.plot([0, 1], [0, 1], "--", color="grey", label="chance")
    _banded(axis, points["false_positive_rate"], points, f"area {auc}", at)
    axis.set(xlabel="false-positive rate", ylabel="sensitivity")
    return _finished(figure, path, suptitle)


@styled
def precision_recall(points, average, prevalence, path, suptitle, at=None):
    """Precision against recall with the band of its interval, and what chance would reach.

    Args:
        points: `pandas.DataFrame` from `evaluation.precision_recall`.
        average: The average precision in words, such as "0.60 (0.51 to 0.68)".
        prevalence: The share of findings, which is the precision by chance.
        path: PNG to write.
        suptitle: Of the figure.
        at: (recall, precision) at the model's threshold, to be marked, or None.

    Returns:
        The path.
    """
    figure, axis = subplots(figsize=(5, 5.4))
    axis.axhline(prevalence, ls="--", color="grey", label=f"chance: the share of findings, {prevalence:.2f}")
    _banded(axis, points["recall"], points, f"average precision {average}", at)
    axis.set(xlabel="recall (sensitivity)", ylabel="precision")
    return _finished(figure, path, suptitle)


def _banded(axis, places, points, label, at):
    """A curve, its band, and a marker at the threshold."""
    axis.plot(places, points["value"], color=COLOURS[0], label=label)
    axis.fill_between(
        places,
        points["low"],
        points["high"],
        color=COLOURS[0],
        alpha=0.2,
        linewidth=0,
        label="95 % interval",
    )
    if at is not None:
        style = {"color": COLOURS[1], "mec": "white", "ms": 10, "zorder": 3, "clip_on": False}
        axis.plot(*at, MARKERS[3], label="at the model's threshold", **style)
    axis.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")


def _finished(figure, path, suptitle):
    # Below the axes: no corner is free of every curve and band.
    figure.legend(fontsize=9, loc="outside lower center")
    figure.suptitle(suptitle)
    return figures.save(figure, path)


@styled
def reliability(bins, path, suptitle):
    """How far probabilities can be taken at their word: predicted against observed, over how often.

    Args:
        bins: `pandas.DataFrame` from `evaluation.calibration`.
        path: PNG to write.
        suptitle: Of the figure.
    """
    figure, (axis, below) = subplots(2, 1, figsize=(5.6, 6.8), height_ratios=(3, 1), sharex=True)
    filled = bins[bins["images"] > 0]
    axis.plot([0, 1], [0, 1], "--", color="grey", label="perfectly calibrated")
    predicted, observed = filled["probability"], filled["observed"]
    axis.vlines(predicted, predicted, observed, color=COLOURS[1], label="how far it is off")
    axis.plot(predicted, observed, "o-", color=COLOURS[0], label="the model")
    axis.set(ylabel="observed share of findings", xlim=(0, 1), ylim=(-0.03, 1.03))
    axis.legend(fontsize=9, loc="upper left")
    widths = bins["high"] - bins["low"]
    below.bar(bins["low"], bins["images"], widths, align="edge", color=COLOURS[0], edgecolor="white")
    below.set(xlabel="predicted probability of a finding", ylabel="images")
    below.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.suptitle(suptitle)
    return figures.save(figure, path)


@styled
def confusion(matrix, path, class_names, suptitle):
    """A table of true against predicted classes: counts, and shares of the true class.

    Args:
        matrix: int `(classes, classes)`, rows the true class, such as `evaluation.confusion` gives.
        path: PNG to write.
        class_names: In the order of the rows.
        suptitle: Of the figure.
    """
    matrix = np.asarray(matrix)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, axis = subplots(figsize=(5, 4.4))
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        share = shares[row, column]
        words = f"{count:,}\n{100 * share:.1f} %"
        axis.text(
            column, row, words, ha="center", va="center", color="white" if share > 0.7 else "black", size=14
        )
    places = range(len(class_names))
    axis.set(xticks=places, yticks=places, xticklabels=class_names, xlabel="predicted", ylabel="true")
    axis.set_yticklabels(class_names, rotation=90, va="center")
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    figure.colorbar(image, label="share of the true class", shrink=0.85)
    figure.suptitle(suptitle)
    return figures.save(figure, path)


@styled
def seeds(values, scores, levels, path, suptitle):
    """Each seed's own result, their mean, and what to hold them against: a panel a metric.

    Args:
        values: Dict of the metric in words to one number a seed, each a share from 0 to 1.
        scores: Dict of the same words to the mean's `value`, `low` and `high`.
        levels: Dict of the same words to a dict of what else is known, in words, to its number.
        path: PNG to write.
        suptitle: Of the figure.
    """
    # A line looks alike in all panels.
    known = list(dict.fromkeys(words for numbers in levels.values() for words in numbers))
    figure, axes = subplots(1, len(values), figsize=(4.6 * len(values), 5.2), squeeze=False)
    for axis, (metric, numbers) in zip(axes[0], values.items(), strict=True):
        # Side by side in their order, so that equal ones do not hide each other.
        places = np.linspace(-0.3, 0.3, len(numbers))
        axis.plot(places, numbers, "o", color=COLOURS[0], ms=9, mec="white", label="a seed", zorder=3)
        score = scores[metric]
        axis.errorbar(
            0.65, score["value"], [[score["value"] - score["low"]], [score["high"] - score["value"]]],
            fmt=MARKERS[3], color=COLOURS[1], capsize=4, ms=8, label="mean, 95 % interval", zorder=3,
        )  # fmt: skip
        for words, level in levels.get(metric, {}).items():
            place = known.index(words)
            axis.axhline(
                level,
                color=COLOURS[2 + place % 5],
                ls=_LINES[place % len(_LINES)],
                label=f"{words}: {level:.3f}",
            )
        axis.set(
            xlim=(-0.5, 0.9), xticks=[], ylabel=metric, ylim=_around(numbers, score, levels.get(metric, {}))
        )
        axis.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.03))
    figure.suptitle(suptitle)
    return figures.save(figure, path)


def _around(numbers, score, levels):
    """Limits that leave all of them visible, and their differences legible."""
    shown = [*numbers, score["low"], score["high"], *levels.values()]
    return max(0.0, min(shown) - 0.05), min(1.0, max(shown) + 0.05)
