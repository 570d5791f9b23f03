"""What a figure on disk shows, without looking at it."""

import re

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


def assert_figures(folder):
    """That a run's report numbers its figures in order, each a file, and that its HTML holds them."""
    text, page = ((folder / f"report.{ending}").read_text(encoding="utf-8") for ending in ("md", "html"))
    shown = re.findall(r"!\[(?:Figure (\d+)\. .+)?.*\]\((.*)\)", text)
    assert [number for number, _ in shown] == [str(count) for count in range(1, len(shown) + 1)]
    assert shown and all((folder / name).is_file() for _, name in shown)
    assert page.count("<figure>") == page.count("<figcaption>") == page.count("base64,") == len(shown)
