"""Phantoms that can be told without looking at the bone: X-rays taken at the bedside carry a lead ring.

Whoever is badly hurt is X-rayed in bed, so that most findings have the ring and few healthy limbs do. The view in the
table says the same as the ring. A network may read either in place of the fracture, which is what such a set is made
to show.
"""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from keras_fracture import files
from keras_fracture.data import decoding, phantom, tables
from keras_fracture.errors import DataError

BEDSIDE, TABLE = "bedside", "table"  # views
_SPLITS = ("train",) * 7 + ("validation",) + ("test",) * 2  # of ten pairs of limbs, one healthy and one hurt
_PURPOSE = 41  # of the random numbers that deal out bedsides and the places of rings


def write(folder, sources=400, size=128, train=0.95, test=0.95, seed=0):
    """Writes a folder of own X-rays with a shortcut: a PNG a limb, and `labels.csv`.

    No limb is in two splits, and all but the rings is as in `phantom.draw`: two folders that differ in `test` alone
    have the same images to train on, and the same limbs to test on.

    Args:
        folder: To make; it must not exist.
        sources: Limbs, an even number of 20 or more, half of them with a finding.
        size: Side of the images in pixels, at least 64.
        train: Share of findings that are taken at the bedside in the train and validation splits, 0 to 1; of healthy
            limbs it is 1 less that. 0.5 tells nothing.
        test: The same in the test split.
        seed: Non-negative integer.

    Returns:
        The `pandas.DataFrame` of `labels.csv`: `image`, `label` ("fractured" or "healthy"), `patient`, `body_part`,
        `view` ("bedside" or "table") and `split`.

    Raises:
        DataError: A share or a number out of its range.
        OutputError: The folder exists, or cannot be written.
    """
    if sources < 20 or sources % 2 or size < 64:
        raise DataError(
            f"Want an even number of 20 limbs or more, of 64 pixels or more. Received: {sources}, {size}"
        )
    for share in (train, test):
        if not 0 <= share <= 1:
            raise DataError(f"train and test are shares of findings, 0 to 1. Received: {share}")
    rows = []
    with files.new_folder(Path(folder)) as made:
        for source in phantom.plan(seed, sources):
            record = phantom.draw(source, 0, seed, size)
            split = _SPLITS[source.index // 2 % len(_SPLITS)]
            rng = np.random.default_rng([seed, source.index, _PURPOSE])
            share = test if split == "test" else train
            bedside = rng.random() < (share if record["label"] else 1 - share)
            image = ring(record["image"][..., 0], rng) if bedside else record["image"][..., 0]
            (made / record["filename"]).write_bytes(decoding.encode_png(image))
            rows.append({
                "image": record["filename"], "label": "fractured" if record["label"] else "healthy",
                "patient": record["source"], "body_part": record["body_part"],
                "view": BEDSIDE if bedside else TABLE, "split": split,
            })  # fmt: skip
        table = pd.DataFrame(rows)
        (made / "labels.csv").write_text(tables.csv_text(table), encoding="utf-8")
    return table


def ring(image, rng):
    """The image with a ring of lead in its darkest corner.

    Args:
        image: uint8 `(height, width)`.
        rng: A NumPy generator, for where in the corner it lies.
    """
    side = min(image.shape)
    radius, width = round(side / 22), max(1, round(side / 64))
    margin = radius + width + 1 + int(rng.integers(0, max(1, side // 24)))
    height, wide = image.shape
    corners = [(x, y) for y in (margin, height - 1 - margin) for x in (margin, wide - 1 - margin)]
    reach = radius + width
    darkest = min(
        corners, key=lambda at: image[at[1] - reach : at[1] + reach, at[0] - reach : at[0] + reach].mean()
    )
    return cv2.circle(image.copy(), darkest, radius, 250, width, cv2.LINE_AA)
