"""What a figure on disk shows, without looking at it."""

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
