"""The input pipeline: `keras-fracture benchmark data`."""

import time

import cv2
import numpy as np

from keras_fracture import data
from keras_fracture.data import Preprocess, images, phantom


def measure_data(name="phantom", count=3000, data_dir=None):
    """Times the input pipeline: drawing, a plain loop, `tf.data` on all cores, and a cached epoch.

    Loop and pipeline do the same calls on the same bytes: decode, CLAHE, Lanczos fit and pad to 224.

    Args:
        name: Data set.
        count: Pictures of its training split.
        data_dir: Where real data lie.

    Returns:
        A dict of name to number.
    """
    preprocess = Preprocess(size=224, clahe=(2.0, 8))
    start = time.perf_counter()
    drawn = phantom.records(seed=1)[:100]
    for record in drawn:
        record["image"].sum()
    drawing = 10 * (time.perf_counter() - start)

    records = data.load(name, "train", data_dir=data_dir)
    encoded = [record["image"] for record in records.raw().take(count).as_numpy_iterator()]
    threads = cv2.getNumThreads()
    loops, pipelines = [], []
    for _ in range(5):  # alternating, so that a slow moment meets both
        start = time.perf_counter()
        for content in encoded:
            preprocess(images.decode(content).image)
        loops.append(time.perf_counter() - start)
        dataset = records.preprocessed(preprocess).take(len(encoded)).batch(32)
        start = time.perf_counter()
        for _ in dataset:
            pass
        pipelines.append(time.perf_counter() - start)
    cached = records.preprocessed(preprocess).take(len(encoded)).cache()
    cached = data.batches(cached, len(encoded), 32)
    epochs = []
    for _ in range(12):
        start = time.perf_counter()
        for _ in cached:
            pass
        epochs.append(time.perf_counter() - start)
    loop, pipeline = float(np.median(loops)), float(np.median(pipelines))
    return {
        "phantom: seconds for 1,000 pictures of 256x256, one thread": drawing,
        f"{name}: pictures": len(encoded),
        "OpenCV threads a call": threads,
        "plain loop, pictures a second": len(encoded) / loop,
        "pipeline, pictures a second": len(encoded) / pipeline,
        "pipeline over loop": loop / pipeline,
        "first epoch, seconds": epochs[0],
        "cached epoch, seconds": float(np.median(epochs[1:])),
        "first over cached epoch": epochs[0] / float(np.median(epochs[1:])),
    }
