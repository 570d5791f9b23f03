"""Sheets of images as PNG: grids of generated ones, contact sheets of files."""

import math
from pathlib import Path

import cv2
import numpy as np

from keras_fracture import files
from keras_fracture.data import decoding
from keras_fracture.errors import ImageError

_GAP = 2


def tile(images, columns=None):
    """Lays images of one size out in rows on white.

    Args:
        images: uint8 `(n, height, width, channels)`.
        columns: Images a row; default makes the sheet about square.

    Returns:
        uint8 `(height, width, channels)`.
    """
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    shape = rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, channels
    sheet = np.full(shape, 255, np.uint8)
    for index, image in enumerate(images):
        top = _GAP + index // columns * (height + _GAP)
        left = _GAP + index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = image
    return sheet


def write_png(image, path):
    """Writes a uint8 image `(height, width, 1 or 3)` as PNG; returns the path."""
    image = image[..., 0] if image.shape[-1] == 1 else image
    with files.writing(path) as beside:
        beside.write_bytes(decoding.encode_png(image))
    return Path(path)


def grid(images, path, columns=None):
    """Writes images as one grid; returns the path."""
    return write_png(tile(images, columns), path)


def contact_sheet(rows, path, title, size=128):
    """Writes a sheet of image files, a heading and one row of thumbnails each.

    Args:
        rows: List of (heading, list of image paths).
        path: PNG to write.
        title: Above everything.
        size: Side of a thumbnail in pixels.

    Returns:
        The path.
    """
    columns = max(len(paths) for _, paths in rows)
    width, head = max(columns * (size + _GAP) + _GAP, 900), 26
    parts = [_text(title, width, 34, 0.7)]
    for heading, paths in rows:
        parts.append(_text(heading, width, head, 0.5))
        line = np.full((size + _GAP, width), 255, np.uint8)
        for index, file in enumerate(paths):
            left = _GAP + index * (size + _GAP)
            line[:size, left : left + size] = _thumbnail(file, size)
        parts.append(line)
    return write_png(np.concatenate(parts)[..., None], path)


def _thumbnail(file, size):
    try:
        return decoding.fit_and_pad(decoding.decode(file.read_bytes(), file.name).image, size)
    except ImageError:
        blank = np.full((size, size), 230, np.uint8)
        cv2.putText(blank, "unreadable", (8, size // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0, 1, cv2.LINE_AA)
        return blank


def _text(words, width, height, scale):
    line = np.full((height, width), 255, np.uint8)
    origin = (6, int(height * 0.72))
    cv2.putText(line, words[:110], origin, cv2.FONT_HERSHEY_SIMPLEX, scale, 0, 1, cv2.LINE_AA)
    return line
