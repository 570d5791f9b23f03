"""What the numbers in files' names tell of labels: views of one patient are often numbered one after another."""

import numpy as np
import pandas as pd

_NEIGHBOURS = 2
_REACH = 8  # files to either side among which those of another source are looked for
_DISTINCT = 0.9  # of the numbers, or they number something else than the files


def labels_beside(table):
    """The mean label of the two images with the nearest file numbers that belong to other sources.

    Args:
        table: At least `filename`, `label` and `source` of `tables.COLUMNS`.

    Returns:
        Array, one a row, 0 to 1; NaN where a name has no number or no such neighbour. All NaN unless nearly every image
        has a number of its own.
    """
    numbers = table["filename"].str.extract(r"(\d+)\D*$", expand=False).astype(float).to_numpy()
    result = np.full(len(table), np.nan)
    known = np.flatnonzero(np.isfinite(numbers))
    if len(known) < 2 or len(np.unique(numbers)) < _DISTINCT * len(table):
        return result
    order = known[np.argsort(numbers[known], kind="stable")]
    number, label = numbers[order], table["label"].to_numpy(float)[order]
    source = pd.factorize(table["source"])[0][order]
    steps = np.array([step * side for step in range(1, _REACH + 1) for side in (-1, 1)])[:, None]
    places = np.arange(len(order)) + steps
    inside = (places >= 0) & (places < len(order))
    places = places.clip(0, len(order) - 1)
    away = np.where(inside & (source[places] != source), np.abs(number[places] - number), np.inf)
    nearest = np.argsort(away, axis=0, kind="stable")[:_NEIGHBOURS]
    counted = np.isfinite(np.take_along_axis(away, nearest, 0))
    labels = label[np.take_along_axis(places, nearest, 0)]
    many = counted.sum(axis=0)
    result[order] = np.where(many > 0, (labels * counted).sum(axis=0) / np.maximum(many, 1), np.nan)
    return result
