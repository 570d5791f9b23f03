"""`serve_bytes` as this package's own server carries it out: images prepared by OpenCV and Pillow, not in the graph."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from keras_fracture.data import decoding
from keras_fracture.data.levels import scaled
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.errors import ModelError, one_line
from keras_fracture.serving import graph
from keras_fracture.serving.metadata import preparation

_THREADS = min(4, os.cpu_count() or 1)  # of all models; an image on its way takes about 30 bytes a pixel
_POOL = ThreadPoolExecutor(_THREADS, thread_name_prefix="preparing")
_ROUNDING = 1e-3  # of a probability; on CPUs both answers are equal, GPUs may sum in another order


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

    # The SavedModel's own: what it refuses, such as a PNG damaged in the middle, OpenCV might fill up. (Of a JPEG
    # that is damaged so and has its end, libjpeg warns on stderr alone, and both go on with what it made of it.)
    @functools.partial(tf.function, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def decode(data):
        return graph.decode(data, preprocess)

    decode = decode.get_concrete_function()  # called itself, the function of a fifth model would be warned of

    def prepared(data):
        return scaled(preprocess(decode(data).numpy()), pixel_range)

    @one_opencv_thread
    def answer(bytes):  # the endpoint's name of its input
        return classify(images=tf.constant(np.stack(list(_POOL.map(prepared, tf.unstack(bytes))))))

    return answer


def check(version, own, graph):
    """Refuses a SavedModel whose metadata say of preprocessing what it does not do: servers would answer differently.

    Args:
        version: Path of the SavedModel's version.
        own: What `serve_bytes` above returns.
        graph: The SavedModel's own `serve_bytes`.

    Raises:
        ModelError: They differ in what they answer to a drawn image.
    """
    data = tf.constant([decoding.encode_png(_drawn())])
    try:
        given, wanted = (
            {name: each.numpy() for name, each in run(bytes=data).items()} for run in (own, graph)
        )
        apart = [name for name in wanted if not np.allclose(given[name], wanted[name], 0, _ROUNDING, True)]
    except tf.errors.ResourceExhaustedError:
        raise
    except Exception as error:  # such as images of another size than the network's
        raise ModelError(
            f"{version} and its metadata.json do not fit each other ({one_line(error)}): export it again"
        ) from None
    if apart:
        most = np.abs(given[apart[0]] - wanted[apart[0]]).max()
        raise ModelError(
            f"{version} prepares images otherwise than its metadata.json says: export it again. Received: "
            f"{apart[0]} {most:.4f} apart for one image"
        )


def _drawn():
    """Something like a bone, with a pattern and noise that other settings of preprocessing make something else of."""
    down, across = np.mgrid[:150, :100]
    bone = 200 * np.exp(-(((across - 50 - 10 * np.sin(down / 30)) / 18) ** 2))
    levels = (
        bone + 40 * ((down // 7 + across // 5) % 2) + np.random.default_rng(0).integers(0, 16, down.shape)
    )
    return np.clip(levels, 0, 255).astype(np.uint8)
