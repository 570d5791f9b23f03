"""Synthetic images as files: each can be told from a real one, and traced to where it came from."""

import itertools
from pathlib import Path

import numpy as np
from PIL import Image

from keras_fracture import files
from keras_fracture.data import decoding
from keras_fracture.data.tables import csv_text, from_csv, read_csv
from keras_fracture.errors import DataError, SynthesisError
from keras_fracture.synthesis.resampling import check_levels

TABLE = "images.csv"
_EARLIER_TABLE = "pictures.csv"  # what it was called before
# Never numbers, whatever they look like.
_TEXT = ("file", "filename", "source", "body_part", "model", "weights")


def describe(table, rows, windows, shape, *, n, seed, scores, model, weights):
    """Says what each painted image is, in one row for `write`.

    Args:
        table: `pandas.DataFrame` of the real images, with filename, source and body_part.
        rows: int `(n,)`, the row of `table` each one was painted into.
        windows: int `(n, 4)`, top, left, height, width in pixels.
        shape: Height and width of the painted images in pixels.
        n: Exponent of the blending.
        seed: Of the drawing of windows (and patches).
        scores: float `(n,)`, what the filtering classifier says.
        model: Name of the translator.
        weights: Hash of its weights.

    Returns:
        A `pandas.DataFrame`: filename, source and body_part of the real image; ymin, xmin, ymax, xmax, the box
        in which the patch outweighs the image along both axes, as fractions; top, left, height, width of the
        window; seed, score, model, weights, n.

    Raises:
        SynthesisError: `shape` is that of several images.
    """
    if len(shape) not in (2, 3):
        raise SynthesisError(
            f"shape must be one image's height and width, such as images[0].shape. Received: {tuple(shape)}"
        )
    windows = np.asarray(windows, np.int64)
    made = table.iloc[rows][["filename", "source", "body_part"]].reset_index(drop=True)
    # cos(|i|^n pi/2) is a half at |i|^n = 2/3; i goes from the middle of the first pixel to that of the last.
    reach = (2 / 3) ** (1 / n) / 2 * (windows[:, 2:] - 1)
    centres = windows[:, :2] + windows[:, 2:] / 2
    corners = np.concatenate([centres - reach, centres + reach], axis=1)
    made[["ymin", "xmin", "ymax", "xmax"]] = corners / np.tile(shape[:2], 2)
    made[["top", "left", "height", "width"]] = windows
    return made.assign(
        seed=seed, score=np.asarray(scores, float), model=str(model), weights=str(weights), n=float(n)
    )


def write(images, table, out, marks=("seed", "filename", "source")):
    """Writes images as PNG, and `images.csv` that says what each one is; the whole folder or nothing.

    Args:
        images: uint8 `(height, width, 1 or 3)` each, an array or any iterable.
        table: `pandas.DataFrame` with a row for each; `file` is put before its columns, `synthetic` added; what
            they said before, as in what `read` gives, is dropped.
        out: Folder to write, which must not exist yet.
        marks: Columns that every PNG carries in its text fields, beside `synthetic=true`.

    Returns:
        The `pandas.DataFrame` of `images.csv`.

    Raises:
        SynthesisError: Other numbers of rows than images, an image that is not uint8 or has other channels, or a mark
            that is no column.
        OutputError: `out` exists, or cannot be written.
    """
    if hasattr(images, "__len__") and len(images) != len(table):
        raise SynthesisError(
            f"There must be a row for every image. Received: {len(images)} images, {len(table)} rows"
        )
    table = table.drop(columns=["file", "synthetic"], errors="ignore").reset_index(drop=True)
    table.insert(0, "file", [file_name(number) for number in range(len(table))])
    table["synthetic"] = True
    if missing := [name for name in marks if name not in table]:
        raise SynthesisError(
            f"marks must be columns of the table: add them, or pass marks. Received: {missing}"
        )
    with files.new_folder(out) as folder:
        pairs = itertools.zip_longest(images, table.to_dict("records"))
        for number, (image, row) in enumerate(pairs):
            if image is None or row is None:
                received = f"{number} images" if image is None else f"more than {number} images"
                raise SynthesisError(
                    f"There must be a row for every image. Received: {received}, {len(table)} rows"
                )
            (folder / row["file"]).write_bytes(encode(image, row, marks))
        (folder / TABLE).write_text(csv_text(table), encoding="utf-8")
    return table


def file_name(number):
    """Of the image of a number, from 0."""
    return f"{number:06d}.png"


def encode(image, row, marks):
    """The bytes of a PNG of an image uint8 `(height, width, 1 or 3)`, with `marks` of its `row` in its text fields.

    Raises:
        SynthesisError: The image is not uint8, or has another shape.
    """
    check_levels(image)
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise SynthesisError(f"Images must be (height, width, 1 or 3). Received: {image.shape}")
    text = {name: str(row[name]) for name in marks} | {"synthetic": "true"}
    return decoding.encode_png(image[..., 0] if image.shape[-1] == 1 else image, text)


def class_of(path):
    """The class that an image of `encode` carries in its text fields; "" where it has none, or is no such image."""
    try:
        if not decoding.is_synthetic(path):
            return ""
        with Image.open(path) as image:
            return image.info.get("class", "")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # reported where it is decoded
        return ""


def table_of(folder):
    """The path of the table of a folder's images, which earlier versions called by another name."""
    path, earlier = Path(folder) / TABLE, Path(folder) / _EARLIER_TABLE
    return earlier if earlier.is_file() and not path.is_file() else path


def read(folder):
    """Reads what `write` wrote.

    Args:
        folder: The folder.

    Returns:
        uint8 images `(n, height, width, channels)`, and the `pandas.DataFrame` of `images.csv`.

    Raises:
        DataError: No such folder, an image that is missing, one without the mark `synthetic=true`
            or that is not uint8, images of several sizes, or none.
    """
    path = table_of(folder)
    try:
        table = from_csv(
            read_csv(
                path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, float_precision="round_trip"
            )
        )
        images = [_read(path.parent / name) for name in table["file"]]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path.parent} holds no synthetic images of this package: {' '.join(str(error).split())}"
        ) from None
    if len(shapes := sorted({image.shape for image in images})) != 1:
        raise DataError(
            f"{path.parent}: images must have one shape to be read. Received: {', '.join(map(str, shapes)) or 'none'}"
        )
    return np.stack(images), table


def _read(path):
    with Image.open(path) as image:
        if image.info.get("synthetic") != "true":
            raise ValueError(f"{path.name} is not marked as synthetic")
        pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise ValueError(f"{path.name} must be uint8, not {pixels.dtype}")
    return pixels if pixels.ndim == 3 else pixels[..., None]
