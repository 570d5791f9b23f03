"""Figures: titles, units, colours that colour-blind readers can tell apart."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from keras_fracture import files
from keras_fracture.data import sheets

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
plt.rcParams |= {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 110,
    "legend.frameon": False,
}


def save(figure, path):
    """Writes a figure as PNG and closes it; returns the path."""
    with files.writing(path) as beside:
        figure.savefig(beside)
    plt.close(figure)
    return path


def side_by_side(left, right, path, titles, suptitle, side=6):
    """A grid of pictures beside another, such as real beside generated.

    Args:
        left: uint8 `(n, height, width, channels)`; the first side x side are shown.
        right: As `left`.
        path: PNG to write.
        titles: Of the two grids.
        suptitle: Of the figure.
        side: Pictures a row and rows.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.9))
    for axis, pictures, title in zip(axes, (left, right), titles, strict=True):
        sheet = sheets.tile(pictures[: side * side], side)
        axis.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255)
        axis.set_title(title)
        axis.axis("off")
    figure.suptitle(suptitle)
    return save(figure, path)


def columns_of(columns, path, suptitle):
    """Steps of a preprocessing side by side, a row a picture.

    Args:
        columns: Dict of step name to a list of uint8 pictures `(height, width)` of any size.
        path: PNG to write.
        suptitle: Of the figure.
    """
    rows = len(next(iter(columns.values())))
    figure, axes = plt.subplots(
        rows, len(columns), figsize=(3.2 * len(columns), 3.0 * rows + 0.5), squeeze=False
    )
    for column, (name, pictures) in enumerate(columns.items()):
        for row, picture in enumerate(pictures):
            axes[row][column].imshow(picture, cmap="gray", vmin=0, vmax=255)
            axes[row][column].axis("off")
        axes[0][column].set_title(name)
    figure.suptitle(suptitle)
    return save(figure, path)


def curves(panels, path, ylabel, suptitle, xlabel="epoch"):
    """Lines over epochs, a panel each.

    Args:
        panels: Dict of panel title to dict of line name to values, or to (values, lowest, highest) to shade.
        path: PNG to write.
        ylabel: Of the first panel, with its unit.
        suptitle: Of the figure.
        xlabel: Of all panels.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.6 * len(panels), 4.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for index, (name, values) in enumerate(lines.items()):
            middle, low, high = values if isinstance(values, tuple) else (values, None, None)
            epochs = np.arange(1, len(middle) + 1)
            colour = COLOURS[index % len(COLOURS)]
            style = {"color": colour, "marker": MARKERS[index % len(MARKERS)], "markersize": 3.5}
            axis.plot(epochs, middle, label=name, **style)
            if low is not None:
                axis.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(title=title, xlabel=xlabel)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0][0].set_ylabel(ylabel)
    axes[0][-1].legend(fontsize=9)
    figure.suptitle(suptitle)
    return save(figure, path)


def intervals(groups, path, xlabels, ylabel, suptitle, reported=None):
    """Values with 95 % intervals, one group of markers for each x label.

    Args:
        groups: Dict of group name to a list, parallel to `xlabels`, of dicts `value`, `low`, `high`.
        path: PNG to write.
        xlabels: Names along the x axis.
        ylabel: With its unit.
        suptitle: Of the figure.
        reported: The paper's numbers, parallel to `xlabels`, or None.
    """
    figure, axis = plt.subplots(figsize=(9, 4.6))
    places = np.arange(len(xlabels))
    step = 0.22
    for index, (name, points) in enumerate(groups.items()):
        middle = np.array([point["value"] for point in points])
        error = np.array([[p["value"] - p["low"] for p in points], [p["high"] - p["value"] for p in points]])
        axis.errorbar(
            places + (index - (len(groups) - 1) / 2) * step, middle, np.maximum(error, 0), label=name,
            fmt=MARKERS[index], color=COLOURS[index], capsize=4, linewidth=1.6,
        )  # fmt: skip
    if reported is not None:
        axis.plot(places, reported, "x", color="black", markersize=9, mew=2, label="reported in the paper")
    axis.set(xticks=places, xticklabels=xlabels, ylabel=ylabel, xlim=(-0.6, len(xlabels) - 0.4))
    axis.grid(axis="x", visible=False)
    figure.legend(fontsize=9, loc="outside lower center", ncols=3)
    figure.suptitle(suptitle)
    return save(figure, path)
