"""Weights and Keras models on disk, whole or not at all."""

import contextlib
import io
import json
import math
import threading
import zipfile

import h5py
import keras
import numpy as np
import tensorflow as tf

from keras_fracture import files
from keras_fracture.errors import ModelError, one_line

_HDF5 = 4096  # bytes that it needs beside a variable's own, at most
# What a `.keras` file may make of itself. Keras packs nothing, and what a network is told adds up to some thousands.
_UNPACKED = 4, 2**26  # times its own size, and bytes beside
_CONFIG = 2**20  # bytes of config.json
_NUMBERS = 100_000  # the sum of those in it
_UNSAVED = 2**20  # weights that a network may have beside those in the file
_ONE_AT_A_TIME = threading.Lock()


def save_weights(model, path):
    """`keras.Model.save_weights`, whole or not at all.

    HDF5 ends the process when the disk fills while it writes, so room for the file is looked for first.

    Args:
        model: Built; of a compiled one the states of its optimizers are saved, too.
        path: Ends in `.weights.h5`.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    parts = [one for one in vars(model).values() if isinstance(one, keras.optimizers.Optimizer)]
    variables = [*model.variables, *(variable for part in parts for variable in part.variables)]
    size = sum(int(np.prod(one.shape)) * tf.as_dtype(one.dtype).size for one in variables)
    with files.writing(path, reserve=size + _HDF5 * (len(variables) + 16)) as beside:
        _spare_optimizers()
        model.save_weights(beside)


def _spare_optimizers():
    """Lets Keras find the list of attributes that it does not save of an optimizer.

    Keras 3.15 keeps it under one name and looks for it under another, and so makes an optimizer anew to list its
    attributes each time one is saved. About 70 KiB of its memory are never given back.
    """
    with contextlib.suppress(ImportError):  # where a later version keeps it elsewhere
        from keras.src.backend.common import global_state
        from keras.src.saving.saving_lib import get_attr_skipset

        global_state.set_global_attribute("saving_attr_skiplist_Optimizer", get_attr_skipset("Optimizer"))


def load_keras(path):
    """A `.keras` file as a Keras model, not compiled. Code in it, such as that of a `Lambda` layer, is never run.

    It computes by the dtype policy it was saved with, whatever the global one. A network is built no larger than the
    weights in the file are many.

    Raises:
        ModelError: It is damaged, asks for more than it holds, holds layers of others, or is a model of Keras's own and
            none of this package.
    """
    try:
        with _ONE_AT_A_TIME, _no_more_weights(_checked(path) + _UNSAVED):
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras checks little of what it finds in a damaged file
        raise ModelError(f"{path} is no model of this package: {one_line(error)}") from None
    if not keras.saving.get_registered_name(type(model)).startswith("keras_fracture>"):
        raise ModelError(
            f"{path} is no model of this package, whose size, pixel range and classes it would have to say: build one "
            f"by models.create and load weights into it. Received: {type(model).__name__} {model.name!r:.60}"
        )
    return model


def _checked(path):
    """How many weights a `.keras` file holds; of these nothing is read.

    Raises:
        ValueError: It would take far more memory than it has bytes.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(member.compress_size for member in archive.infolist())
        unpacked = sum(member.file_size for member in archive.infolist())
        _at_most(unpacked, _UNPACKED[0] * size + _UNPACKED[1], "bytes unpacked")
        _at_most(archive.getinfo("config.json").file_size, _CONFIG, "bytes of config.json")
        _at_most(
            _sum(json.loads(archive.read("config.json"))["config"]), _NUMBERS, "as the sum of its settings"
        )
        weights = archive.read("model.weights.h5")
    found = []
    with h5py.File(io.BytesIO(weights)) as file:
        file.visititems(
            lambda _, item: found.append((item.size, item.nbytes)) if hasattr(item, "nbytes") else None
        )
    _at_most(sum(size for _, size in found), _UNPACKED[0] * len(weights) + _UNPACKED[1], "bytes of weights")
    return sum(count for count, _ in found)


def _at_most(number, most, what):
    if not number <= most:  # NaN is not
        raise ValueError(f"{most:,} {what} are plenty. Received: {number:,}")


def _sum(content):
    """Of all numbers in what JSON holds, but seeds and Keras's own numbers of objects."""
    if isinstance(content, dict):
        return sum(_sum(one) for name, one in content.items() if not name.endswith(("seed", "_id")))
    if isinstance(content, list):
        return sum(map(_sum, content))
    return abs(content) if isinstance(content, int | float) else 0


@contextlib.contextmanager
def _no_more_weights(most):
    """Lets this thread make layers with so many weights in all, and refuses the next with a `ValueError`."""
    add_weight, thread, made = keras.Layer.add_weight, threading.get_ident(), 0

    def counted(self, shape=None, *arguments, **options):
        nonlocal made
        if threading.get_ident() == thread:
            made += math.prod(shape or ())
            _at_most(made, most, "weights, as many as it holds,")
        return add_weight(self, shape, *arguments, **options)

    keras.Layer.add_weight = counted
    try:
        yield
    finally:
        keras.Layer.add_weight = add_weight
