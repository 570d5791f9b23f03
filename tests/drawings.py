"""What a figure on disk shows, without looking at it."""

import itertools

import numpy as np
from PIL import Image


def ink(path):
    """The share of a figure's pixels that are not its white ground, and how many grey levels they have."""
    with Image.open(path) as figure:
        levels = np.asarray(figure.convert("L"))
    return float((levels < 250).mean()), len(np.unique(levels))


def assert_drawn(path, share=0.01, levels=20):
    """That a figure holds lines, bars or images, not an empty frame."""
    inked, different = ink(path)
    assert inked > share and different > levels, f"{path.name}: {inked:.1%} inked, {different} grey levels"


def tiles(path, side, gap=2):
    """The square images of a sheet that `data.sheets.tile` laid out, in rows: uint8 `(n, side, side)`."""
    with Image.open(path) as sheet:
        levels = np.asarray(sheet.convert("L"))
    rows, columns = ((length - gap) // (side + gap) for length in levels.shape)
    corners = itertools.product(*(gap + np.arange(count) * (side + gap) for count in (rows, columns)))
    return np.stack([levels[top : top + side, left : left + side] for top, left in corners])
