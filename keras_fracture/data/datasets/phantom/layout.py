"""What the embedded data set has instead of files: split policies, shares, and its table."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from tqdm import tqdm

from keras_fracture.data import phantom, tables
from keras_fracture.data.library_settings import one_opencv_thread

POLICIES = ("grouped", "paper")
SHARES = (0.7, 0.1, 0.2)


@functools.cache
def read(sources=phantom.SOURCES, test_sources=phantom.TEST_SOURCES, seed=0):
    """Draws all images.

    Args:
        sources: Number of limbs to learn from.
        test_sources: Number of limbs to test on.
        seed: Non-negative integer.

    Returns:
        The table of `tables.COLUMNS`, without paths on disk, and `image`, uint8 `(256, 256, 1)` a row.
    """
    records = phantom.records(seed=seed, sources=sources, test_sources=test_sources)
    with one_opencv_thread, ThreadPoolExecutor(os.cpu_count()) as pool:
        drawn = pool.map(records.__getitem__, range(len(records)))
        rows = list(tqdm(drawn, "draw phantom", len(records), unit=" images", delay=1))
    return tables.complete(pd.DataFrame(rows))
