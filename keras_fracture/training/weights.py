"""Weights and Keras models on disk, whole or not at all."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from keras_fracture import files
from keras_fracture.errors import ModelError, one_line

_HDF5 = 4096  # bytes that it needs beside a variable's own, at most


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

    It computes by the dtype policy it was saved with, whatever the global one.

    Raises:
        ModelError: It is damaged, holds layers of others, or is a model of Keras's own and none of this package.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras checks little of what it finds in a damaged file
        raise ModelError(f"{path} is no model of this package: {one_line(error)}") from None
    if not keras.saving.get_registered_name(type(model)).startswith("keras_fracture>"):
        raise ModelError(
            f"{path} is no model of this package, whose size, pixel range and classes it would have to say: build one "
            f"by models.create and load weights into it. Received: {type(model).__name__} {model.name!r:.60}"
        )
    return model
