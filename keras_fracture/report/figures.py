"""Figures: titles, units, colours that colour-blind readers can tell apart."""

import numpy as np
from matplotlib import patheffects
from matplotlib.artist import setp
from matplotlib.cm import ScalarMappable
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from keras_fracture import files
from keras_fracture.data import sheets
from keras_fracture.report.style import COLOURS, HEAT, MARKERS, styled, subplots

_DASHES = ("-", "--", ":", "-.")
_LEAST_SHARE = 0.02  # up to which an axis of shares reaches, where all of them are near 0


def save(figure, path, text=None):
    """Writes a figure as PNG, whose text fields hold the dict `text`; returns the path."""
    with files.writing(path) as beside:
        figure.savefig(beside, metadata=text)
    return path


@styled
def side_by_side(left, right, path, titles, suptitle, side=6):
    """A grid of images beside another, such as real beside generated.

    Args:
        left: uint8 `(n, height, width, channels)`; the first side x side are shown.
        right: As `left`.
        path: PNG to write.
        titles: Of the two grids.
        suptitle: Of the figure.
        side: Images a row and rows.
    """
    figure, axes = subplots(1, 2, figsize=(11, 5.9))
    for axis, images, title in zip(axes, (left, right), titles, strict=True):
        sheet = sheets.tile(images[: side * side], side)
        axis.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255)
        axis.set_title(title)
        axis.axis("off")
    figure.suptitle(suptitle)
    return save(figure, path)


@styled
def columns_of(columns, path, suptitle):
    """Steps of a preprocessing side by side, a row an image.

    Args:
        columns: Dict of step name to a list of uint8 images `(height, width)` of any size.
        path: PNG to write.
        suptitle: Of the figure.
    """
    rows = len(next(iter(columns.values())))
    figure, axes = subplots(rows, len(columns), figsize=(3.2 * len(columns), 3.0 * rows + 0.5), squeeze=False)
    for column, (name, images) in enumerate(columns.items()):
        for row, image in enumerate(images):
            axes[row][column].imshow(image, cmap="gray", vmin=0, vmax=255)
            axes[row][column].axis("off")
        axes[0][column].set_title(name)
    figure.suptitle(suptitle)
    return save(figure, path)


@styled
def curves(panels, path, ylabel, suptitle, xlabel="epoch", scale="linear", joined=True):
    """Lines over epochs, a panel each.

    Args:
        panels: Dict of panel title to dict of line name to values, or to (values, lowest, highest) to shade.
        path: PNG to write.
        ylabel: Of the first panel, with its unit.
        suptitle: Of the figure.
        xlabel: Of all panels.
        scale: Of the y axis, as matplotlib calls it: "log" where a line would flatten the others.
        joined: Whether lines join the values, which are points alone where their order says nothing.
    """
    figure, axes = subplots(
        1, len(panels), figsize=(5.6 * len(panels), 4.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for index, (name, values) in enumerate(lines.items()):
            middle, low, high = values if isinstance(values, tuple) else (values, None, None)
            epochs = np.arange(1, len(middle) + 1)
            colour = COLOURS[index % len(COLOURS)]
            style = {"color": colour, "marker": MARKERS[index % len(MARKERS)], "markersize": 3.5}
            dashes = _DASHES[index % len(_DASHES)] if joined else "none"
            axis.plot(epochs, middle, label=name, ls=dashes, **style)
            if low is not None:
                axis.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(title=title, xlabel=xlabel, yscale=scale)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0][0].set_ylabel(ylabel)
    # Below: inside, it lies on curves.
    handles, names = axes[0][-1].get_legend_handles_labels()
    beside = min(2 * len(panels), 4, max(1, len(names)))  # two long names are as wide as a panel
    figure.legend(handles, names, fontsize=9, loc="outside lower center", ncols=beside)
    figure.suptitle(suptitle)
    return save(figure, path)


@styled
def losses(histories, reported, path, suptitle, unit=" (nats)"):
    """Both losses of a GAN over epochs, with what a paper reports drawn in.

    Args:
        histories: One `pandas.DataFrame` a seed with `epoch` and the losses.
        reported: Dict of loss name to a list of (epoch or range of epochs, value or range of values), empty of none.
        path: PNG to write.
        suptitle: Of the figure.
        unit: Of the losses, behind their name: only cross-entropies are in nats.
    """
    figure, axes = subplots(1, len(reported), figsize=(5.6 * len(reported), 4.2))
    for axis, (name, points) in zip(axes, reported.items(), strict=True):
        for number, history in enumerate(histories):
            axis.plot(
                history["epoch"], history[name], color=COLOURS[0], alpha=0.8, label="" if number else "ours"
            )
        for number, (epoch, value) in enumerate(points):
            (first, last), (low, high) = (np.broadcast_to(given, 2) for given in (epoch, value))
            style = {"color": COLOURS[1], "label": "" if number else "reported in the paper"}
            if first == last:
                axis.plot([first], [low], MARKERS[3], **style)
            elif low == high:
                axis.plot([first, last], [low, high], lw=4, alpha=0.5, **style)
            else:
                axis.fill_between([first, last], low, high, alpha=0.25, lw=0, **style)
        axis.set(title=name.replace("d_loss", "discriminator").replace("g_loss", "generator"), xlabel="epoch")
        axis.set(xscale="log", ylabel=f"loss{unit}, mean of the epoch")
        axis.xaxis.set_major_formatter("{x:g}")
    axes[-1].legend(fontsize=9)
    figure.suptitle(suptitle)
    return save(figure, path)


@styled
def metrics_over_epochs(histories, real_vs_real, path, suptitle, seed=0, generated=None):
    """KID and the share of near copies over epochs, with what real images reach.

    Args:
        histories: One `pandas.DataFrame` a seed with `epoch`, `kid` and `near_copies`, empty where not measured.
        real_vs_real: Dict of the two names to the number of real images against real ones.
        path: PNG to write.
        suptitle: Of the figure.
        seed: The first history's; the others' follow.
        generated: How many images each epoch was measured by, or None where that is not known.
    """
    of = "" if generated is None else f" ({generated:,} generated)"
    labels = {"kid": f"KID to the training images{of}", "near_copies": f"share of near copies{of}"}
    figure, axes = subplots(1, 2, figsize=(11.2, 4.2))
    for axis, (name, label) in zip(axes, labels.items(), strict=True):
        for number, history in enumerate(histories):
            measured = history.dropna(subset=[name])
            style = {
                "color": COLOURS[number % len(COLOURS)],
                "marker": MARKERS[number // len(COLOURS) % len(MARKERS)],
                "clip_on": False,  # a share of 0 lies on the axis
            }
            axis.plot(measured["epoch"], measured[name], ms=3.5, label=f"seed {seed + number}", **style)
        axis.axhline(real_vs_real[name], ls="--", color="grey", label="real against real")
        axis.set(xlabel="epoch", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].set_ylim(0, max(_LEAST_SHARE, axes[1].get_ylim()[1]))  # no share is negative
    axes[0].legend(fontsize=9)
    figure.suptitle(suptitle)
    return save(figure, path)


@styled
def learning_curve(curves, path, xlabel, ylabel, title, reference=None):
    """What is reached with how much, a line and a band an arm, the amounts on a log axis.

    Of more than two arms, whose bands would mix to grey, and of one amount only, which makes no line, each arm's values
    and intervals stand side by side.

    Args:
        curves: Dict of arm to a list of (amount, value, lowest, highest), the amounts above 0 and not the same for
            all arms perhaps.
        path: PNG to write.
        xlabel: Of the amounts, with their unit.
        ylabel: Of the values, with their unit.
        title: Of the figure.
        reference: (words, value) of a level to hold them against, or None.

    Returns:
        The path.
    """
    figure, axis = subplots(figsize=(7.6, 5.2))
    if reference is not None:
        words, level = reference
        axis.axhline(level, ls="--", lw=1.4, color="grey", label=words)
    ticks = sorted({amount for points in curves.values() for amount, *_ in points})
    middle, gaps = (len(curves) - 1) / 2, np.diff(np.log(ticks))
    banded = len(curves) < 3 and len(ticks) > 1
    # Arms of one amount lie nearer to each other than to those of the next.
    step = min(0.09, 0.25 * gaps.min(initial=np.inf) / len(curves))
    for index, (name, points) in enumerate(curves.items()):
        amounts, values, low, high = np.transpose(sorted(points))
        colour = COLOURS[index % len(COLOURS)]
        style = {"color": colour, "marker": MARKERS[index % len(MARKERS)], "markersize": 7, "mec": "white"}
        if banded:
            axis.fill_between(amounts, low, high, color=colour, alpha=0.13, linewidth=0)
        else:
            amounts = amounts * np.exp(step * (index - middle))
            axis.vlines(amounts, low, high, color=colour, linewidth=1.8)
        axis.plot(amounts, values, label=name, lw=1.8, zorder=3, **style)
    axis.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.set_xticks([], minor=True)
    if len(ticks) == 1:  # the arms next to its tick, not spread over the axis as if they had other amounts
        axis.set_xlim(ticks[0] / 2, ticks[0] * 2)
    if gaps.min(initial=np.inf) < 0.07 * gaps.sum():  # labels would run into each other
        axis.tick_params(axis="x", labelrotation=60)
    figure.legend(fontsize=9, loc="outside lower center", ncols=min(3, len(axis.lines)))
    figure.suptitle(title)
    return save(figure, path)


@styled
def intervals(
    groups, path, xlabels, ylabel, suptitle, reported=None, source="reported in the paper", slant=False
):
    """Values with 95 % intervals, one group of markers for each x label.

    Args:
        groups: Dict of group name to a list, parallel to `xlabels`, of dicts `value`, `low`, `high`.
        path: PNG to write.
        xlabels: Names along the x axis.
        ylabel: With its unit.
        suptitle: Of the figure.
        reported: The paper's numbers, parallel to `xlabels`, NaN where it has none, or None.
        source: What these are called.
        slant: Whether the labels are long.
    """
    figure, axis = subplots(figsize=(9, 4.6))
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
        axis.plot(places, reported, "x", color="black", markersize=9, mew=2, label=source)
    axis.set(xticks=places, xticklabels=xlabels, ylabel=ylabel, xlim=(-0.6, len(xlabels) - 0.4))
    axis.grid(axis="x", visible=False)
    if slant:
        axis.tick_params(axis="x", labelrotation=30)
        setp(axis.get_xticklabels(), ha="right", rotation_mode="anchor", fontsize=9)
    figure.legend(fontsize=9, loc="outside lower center", ncols=3)
    figure.suptitle(suptitle)
    return save(figure, path)


def heated(images, heats, strength=0.7):
    """Colours images where they are hot; where they are cold they stay as they are.

    Args:
        images: uint8 `(n, height, width, 1 or 3)`.
        heats: `(n, height, width)`, 0 to 1.
        strength: Opacity of the colour where heat is 1.

    Returns:
        uint8 `(n, height, width, 3)`.
    """
    heats = np.asarray(heats)
    opacity = strength * heats[..., None]
    return np.rint((1 - opacity) * images + opacity * 255 * HEAT(heats)[..., :3]).astype(np.uint8)


@styled
def overlays(images, heats, path, boxes=None, captions=None, columns=3):
    """Each image beside itself under its heat, with the boxes outlined.

    Shows the images themselves: for the run's own folder, where data sets may not be passed on.

    Args:
        images: uint8 `(n, height, width, 1 or 3)`.
        heats: `(n, height, width)` from `evaluation.gradcam`.
        path: PNG to write.
        boxes: n arrays `(k, 4)` of ymin, xmin, ymax, xmax as fractions of the image, k maybe 0, or None.
        captions: n titles, or None.
        columns: Pairs a row.
    """
    count, height, width = np.shape(heats)
    boxes = [()] * count if boxes is None else boxes
    captions = [""] * count if captions is None else captions
    columns = min(columns, count)
    rows = -(-count // columns)
    size = 4.2 * columns + 0.9, (2.1 * height / width + 0.45) * rows + 0.5
    figure, axes = subplots(rows, columns, figsize=size, squeeze=False)
    plain = np.broadcast_to(images, (count, height, width, 3))
    between = np.full((count, height, 4, 3), 255, np.uint8)
    pairs = np.concatenate([plain, between, heated(images, heats)], 2)
    for axis in axes.flat:
        axis.axis("off")
    for axis, pair, of_one, caption in zip(axes.flat[:count], pairs, boxes, captions, strict=True):
        axis.imshow(pair)
        axis.set_title(caption, fontsize=13)
        for top, left, bottom, right in of_one:
            for start in (0, width + 4):
                corner = start + left * width - 0.5, top * height - 0.5
                sides = (right - left) * width, (bottom - top) * height
                outline = Rectangle(corner, *sides, fill=False, ec=COLOURS[5], lw=1.4)
                # A dark rim, so that the outline shows on bright bone too.
                outline.set_path_effects([patheffects.withStroke(linewidth=3, foreground="black")])
                axis.add_patch(outline)
    bar = figure.colorbar(ScalarMappable(cmap=HEAT), ax=axes, aspect=12 * rows)
    bar.ax.tick_params(labelsize=12)
    bar.set_label("heat over its maximum", fontsize=13)
    marked = "; boxes mark findings" if any(len(of_one) for of_one in boxes) else ""
    figure.suptitle(f"Left the image, right its Grad-CAM heat{marked}", fontsize=14)
    return save(figure, path)
