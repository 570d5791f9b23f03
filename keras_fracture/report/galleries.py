"""Figures of images, real and generated, and of how many there are of each kind."""

import io
import math
from pathlib import Path

import cv2
import numpy as np
from matplotlib import patheffects
from matplotlib.artist import setp
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageFont

from keras_fracture import files
from keras_fracture.data import sheets
from keras_fracture.report import figures
from keras_fracture.report.style import COLOURS, styled, subplots

_PLACE = 160  # pixels that an image of a gallery fills, about
_FRAMES, _BYTES = 30, 2_000_000  # of an animation, at most; bytes unless told otherwise
_WIDTH, _LINE = 480, 20  # of its frames, in pixels, and of the line above the images
_LEVELS = 32  # of grey


@styled
def gallery(images, path, suptitle, captions=None, boxes=None, columns=6):
    """Images in rows, with captions and boxes.

    Shows the images themselves: for the run's own folder, where data sets may not be passed on.

    Args:
        images: A sequence of uint8 `(height, width)` or `(height, width, 1 or 3)`, of any sizes.
        path: PNG to write.
        suptitle: Of the figure.
        captions: A title for each image, or None.
        boxes: For each image an array `(k, 4)` of ymin, xmin, ymax, xmax as fractions of it, k maybe 0; or None.
        columns: Images a row.

    Returns:
        The path.
    """
    count = len(images)
    columns = min(columns, count)
    rows = -(-count // columns)
    size = 1.75 * columns, (1.95 if captions else 1.75) * rows + 0.5
    figure, axes = subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, (axis, image) in enumerate(zip(axes.flat[:count], images, strict=True)):
        _show(axis, image)
        axis.set_title(captions[number] if captions else "", fontsize=9)
        height, width = image.shape[:2]
        for top, left, bottom, right in boxes[number] if boxes is not None else ():
            corner, sides = (
                (left * width - 0.5, top * height - 0.5),
                ((right - left) * width, (bottom - top) * height),
            )
            outline = Rectangle(corner, *sides, fill=False, ec=COLOURS[5], lw=1.4)
            outline.set_path_effects([patheffects.withStroke(linewidth=3, foreground="black")])
            axis.add_patch(outline)
    figure.suptitle(suptitle)
    return figures.save(figure, path)


def _show(axis, image):
    # What is smaller than its frame keeps its pixels: honest, and a fraction of the bytes.
    smooth = "antialiased" if max(image.shape[:2]) > _PLACE else "nearest"
    axis.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=255, interpolation=smooth)


@styled
def beside(columns, path, suptitle, side=6):
    """Grids of images side by side, such as real ones and those of two generators, a class below the other.

    Shows the images themselves: for the run's own folder, where data sets may not be passed on.

    Args:
        columns: Dict of title to a list of groups, each uint8 `(n, height, width, 1 or 3)`, drawn from above.
        path: PNG to write.
        suptitle: Of the figure.
        side: Images a row.

    Returns:
        The path.
    """
    groups = len(next(iter(columns.values())))
    figure, axes = subplots(
        groups, len(columns), figsize=(3.9 * len(columns), 2.1 * groups + 0.7), squeeze=False
    )
    for column, (title, parts) in enumerate(columns.items()):
        axes[0][column].set_title(title)
        for axis, images in zip(axes[:, column], parts, strict=True):
            axis.imshow(
                sheets.tile(images, side).squeeze(),
                cmap="gray",
                vmin=0,
                vmax=255,
                interpolation="antialiased",
            )
            axis.axis("off")
    figure.suptitle(suptitle)
    return figures.save(figure, path)


@styled
def neighbours(generated, real, path, titles, columns=6):
    """Generated images, and under each the real one nearest to it.

    Shows the images themselves: for the run's own folder, where data sets may not be passed on.

    Args:
        generated: uint8 `(n, height, width, 1 or 3)`.
        real: As `generated`, in the same order, such as `train[near.indices]` of `evaluation.NearCopies`.
        path: PNG to write.
        titles: What the generated images are called, and the real ones.
        columns: Pairs a row.

    Returns:
        The path.
    """
    count, height, width = generated.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.4 * columns + 0.3, (2.72 * height / width + 0.35) * rows))
    figure.get_layout_engine().set(h_pad=0.03)
    for number, part in enumerate(np.atleast_1d(figure.subfigures(rows, 1, hspace=0.1))):
        axes = part.subplots(2, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for line, images, title in zip(axes, (generated, real), titles, strict=True):
            shown = images[number * columns : (number + 1) * columns]
            for axis, image in zip(line, shown, strict=False):
                axis.set_axis_on()
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                _show(axis, image)
            line[0].set_ylabel(title, fontsize=9)
    return figures.save(figure, path)


@styled
def over_time(folder, path, suptitle, count=5):
    """The upper halves of some of a training's sample grids side by side, evenly spread over it.

    Args:
        folder: Where `training.SampleGrid` wrote `epoch-NNNN.png`.
        path: PNG to write.
        suptitle: Of the figure.
        count: Grids to show at most.

    Returns:
        The path.
    """
    chosen = _grids(folder, count)
    figure, axes = subplots(1, len(chosen), figsize=(3 * len(chosen), 2.1), squeeze=False)
    for axis, (epoch, grid) in zip(axes[0], chosen, strict=True):
        image = imread(grid)
        axis.imshow(image[: len(image) // 2], cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"epoch {epoch}")
        axis.axis("off")
    figure.suptitle(suptitle)
    return figures.save(figure, path)


def animation(folder, path, limit=_BYTES):
    """A training's sample grids one after another as an animated GIF, the same bytes from the same grids.

    The epoch stands above each, and the last stays for two seconds. Of many grids about 30 are taken, evenly
    spread; they are scaled down until the file is small enough.

    Args:
        folder: Where `training.SampleGrid` wrote `epoch-NNNN.png`.
        path: GIF to write.
        limit: Bytes it may have.

    Returns:
        The path; None, and nothing is written, where there are fewer than two grids.
    """
    chosen = _grids(folder, _FRAMES)
    if len(chosen) < 2:
        return None
    frames = [_frame(epoch, grid, _WIDTH) for epoch, grid in chosen]
    while len(data := _gif(frames)) > limit:
        width = int(0.97 * frames[0].width * math.sqrt(limit / len(data)))  # bytes grow with the area
        frames = [_frame(epoch, grid, width) for epoch, grid in chosen]
    with files.writing(path) as beside:
        beside.write_bytes(data)
    return Path(path)


def _grids(folder, count):
    """Epoch and path of up to `count` of a training's sample grids, evenly spread over it, in order."""
    grids = sorted((int(grid.stem.split("-")[1]), grid) for grid in Path(folder).glob("epoch-*.png"))
    places = np.linspace(0, len(grids) - 1, min(count, len(grids))).round().astype(int)
    return [grids[place] for place in places]


def _frame(epoch, grid, width):
    """A sample grid of at most `width` pixels under a line that names its epoch, in few grey levels."""
    with Image.open(grid) as opened:
        image = opened.convert("L")
    image.thumbnail((width, width * image.height), Image.Resampling.LANCZOS)
    frame = Image.new("L", (image.width, image.height + _LINE), 255)
    ImageDraw.Draw(frame).text((4, 2), f"epoch {epoch}", fill=0, font=ImageFont.load_default(14))
    frame.paste(image, (0, _LINE))
    return frame.quantize(_LEVELS, dither=Image.Dither.NONE)


def _gif(frames):
    data = io.BytesIO()
    seconds = [*[0.25] * (len(frames) - 1), 2]
    frames[0].save(
        data, "GIF", save_all=True, append_images=frames[1:], duration=[1000 * one for one in seconds], loop=0
    )
    return data.getvalue()


@styled
def stages(images, windows, patches, painted, path, suptitle, captions):
    """A finding painted into each image: original, translated and blended, whole and close up.

    Shows the images themselves: for the run's own folder, where data sets may not be passed on.

    Args:
        images: uint8 `(n, height, width, 1)`, healthy.
        windows: int `(n, 4)`, top, left, height, width in pixels.
        patches: uint8 `(n, size, size, 1)`, what the translator made of the windows.
        painted: uint8 as `images`, after blending.
        path: PNG to write.
        suptitle: Of the figure.
        captions: n words, beside the rows.
    """
    count = len(images)
    figure, axes = subplots(count, 6, figsize=(11.5, 2.05 * count + 0.5), squeeze=False)
    for row, (image, window, patch, blended) in enumerate(
        zip(images, windows, patches, painted, strict=True)
    ):
        top, left, height, width = window
        inside = slice(top, top + height), slice(left, left + width)
        hard = image.copy()
        hard[inside] = cv2.resize(patch[..., 0], (int(width), int(height)))[..., None]
        for column, whole in enumerate((image, hard, blended)):
            axes[row, column].imshow(whole[..., 0], cmap="gray", vmin=0, vmax=255)
            box = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, ec="white", ls=":", lw=1.4)
            axes[row, column].add_patch(box)
            axes[row, column + 3].imshow(whole[inside][..., 0], cmap="gray", vmin=0, vmax=255)
        axes[row, 0].set_ylabel(captions[row], fontsize=9)
    for column, title in enumerate(("original", "translated", "blended") * 2):
        axes[0, column].set_title(title + (", close up" if column > 2 else ""), fontsize=10)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.grid(visible=False)
    figure.suptitle(suptitle)
    return figures.save(figure, path)


@styled
def bars(table, path, ylabel, suptitle, xlabel=""):
    """Numbers as groups of bars, each with its number above it.

    Args:
        table: `pandas.DataFrame`: a group of bars for each row, a colour for each column; such as
            `pandas.crosstab` gives. Whole numbers are written as such, others with two digits.
        path: PNG to write.
        ylabel: With its unit.
        suptitle: Of the figure.
        xlabel: Of the groups.

    Returns:
        The path.
    """
    rows, columns = table.shape
    figure, axis = subplots(figsize=(min(11, max(7, 2.5 + 0.5 * rows * columns)), 3.8))
    width = 0.8 / columns
    for number, name in enumerate(table.columns):
        places = np.arange(rows) + (number - (columns - 1) / 2) * width
        drawn = axis.bar(places, table[name], width, color=COLOURS[number], label=str(name))
        whole = np.array_equal(table[name], np.round(table[name]))
        axis.bar_label(drawn, fmt="{:,.0f}" if whole else "{:.2f}", fontsize=8, padding=2)
    axis.set(xticks=range(rows), xticklabels=table.index, ylabel=ylabel, xlabel=xlabel)
    axis.margins(y=0.12)
    axis.grid(axis="x", visible=False)
    if max(map(len, map(str, table.index))) > 10:
        setp(axis.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor", fontsize=9)
    if columns > 1:
        figure.legend(fontsize=9, loc="outside lower center", ncols=columns)
    figure.suptitle(suptitle)
    return figures.save(figure, path)
