"""Checks that several metrics share."""

import numpy as np
import pandas as pd

from keras_fracture.data.counts import check_whole
from keras_fracture.errors import EvaluationError

_UNKNOWN = ("", "nan", "NaN", "None", "<NA>", "NaT")  # what a missing source becomes as str


def known_sources(sources):
    """The source of each image as an array.

    Raises:
        EvaluationError: One is not known, or they are not `(n,)`.
    """
    values = np.asarray(sources)
    if values.ndim != 1:
        raise EvaluationError(f"sources must be (n,), one for each image. Received: {values.shape}")
    masked = isinstance(sources, np.ma.MaskedArray) and np.ma.getmaskarray(sources)
    missing = pd.isna(values) | np.isin(values.astype(str), _UNKNOWN) | masked
    if unknown := int(missing.sum()):
        raise EvaluationError(
            "sources must name the patient or X-ray of every image: give one that is not known a name of its own, "
            f"or all of these count as one. Received: {unknown} images without one"
        )
    return values


def check_numbers(seed, **least):
    """Refuses what is no whole number.

    Args:
        seed: 0 or more, or None or a generator of NumPy's, from which numbers can be drawn, too.
        **least: Pairs as of `data.counts.check_whole`.

    Raises:
        EvaluationError: One is none, or too small.
    """
    drawn = seed is None or isinstance(seed, np.random.Generator)
    check_whole(EvaluationError, **least | ({} if drawn else {"seed": (seed, 0)}))
