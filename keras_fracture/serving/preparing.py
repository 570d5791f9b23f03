"""`serve_bytes` as this package's own server carries it out: images prepared by OpenCV and Pillow, not in the graph."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from keras_fracture.data.levels import scaled
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.serving import graph
from keras_fracture.serving.metadata import preparation

_THREADS = min(4, os.cpu_count() or 1)  # of all models; an image on its way takes about 30 bytes a pixel
_POOL = ThreadPoolExecutor(_THREADS, thread_name_prefix="preparing")


def serve_bytes(version, classify):
    """A function that answers as the SavedModel's `serve_bytes` does, in less time.

    CLAHE and resampling are those of training, which the graph's equal level by level.

    Args:
        version: Path of the SavedModel's version.
        classify: Its `serving_default`, a function of `images`.

    Returns:
        A function of `bytes`, string tensor `(batch,)`, that returns what `classify` does. It raises
        `tf.errors.InvalidArgumentError` for what cannot be decoded.

    Raises:
        ModelError: Its metadata say nothing of preprocessing that can be used.
    """
    preprocess, pixel_range = preparation(version)

    # The SavedModel's own: what it refuses, such as a file damaged in the middle, OpenCV might fill up.
    @functools.partial(tf.function, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def decode(data):
        return graph.decode(data, preprocess)

    def prepared(data):
        return scaled(preprocess(decode(data).numpy()), pixel_range)

    @one_opencv_thread
    def answer(bytes):  # the endpoint's name of its input
        return classify(images=tf.constant(np.stack(list(_POOL.map(prepared, tf.unstack(bytes))))))

    return answer
