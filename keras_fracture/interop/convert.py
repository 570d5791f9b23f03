"""Weights files from one framework to the other: `keras-fracture convert`."""

import tempfile
from pathlib import Path

import h5py
import numpy as np

from keras_fracture import files, models
from keras_fracture.errors import WeightsError
from keras_fracture.interop.layout import parameters_of
from keras_fracture.interop.torch import load_torch_weights, save_torch_weights

_KERAS = ".weights.h5"
_ENDINGS = (".pth", ".pt", ".safetensors", _KERAS)


def convert(weights, model, to, names=None, **overrides):
    """Reads weights into an architecture and writes them in another format, whole or not at all.

    Args:
        weights: `.pth`, `.pt`, `.safetensors` or `.weights.h5` file.
        model: Name of the architecture.
        to: File to write, with one of the same endings.
        names: Name map, see `load_torch_weights`.
        **overrides: Constructor arguments of the architecture, such as `num_classes`.

    Returns:
        The model.

    Raises:
        WeightsError: The file is absent, cannot be read, does not fit, or holds NaN or infinity; or one of
            the endings is unknown.
        OutputError: `to` cannot be written.
    """
    for path in (weights, to):  # before a large model is built for nothing
        if not str(path).endswith(_ENDINGS):
            raise WeightsError(f"Weights files end in {', '.join(_ENDINGS)}. Received: {path}")
    if not Path(weights).is_file():
        raise WeightsError(f"No such weights file. Received: {weights}")
    network = models.create(model, **overrides)
    if str(weights).endswith(_KERAS):
        _load_keras_weights(network, weights, model)
    else:
        load_torch_weights(network, weights, names)
    if str(to).endswith(_KERAS):
        _save_keras_weights(network, to)
    else:
        save_torch_weights(network, to, names)
    return network


def _load_keras_weights(network, path, model):
    """Loads a .weights.h5 file that holds just what the model does; Keras passes over what is too much."""
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / f"own{_KERAS}"
        network.save_weights(own)
        ours = _shapes(own)
    theirs = _shapes(path)
    for name, shape in ours.items():
        if theirs.get(name) != shape:
            raise WeightsError(
                f"Does not fit {model}: the first variable that does not fit is the model's {name} {shape}. "
                f"Received: {theirs.get(name, 'nothing')} in {path}"
            )
    layers = {name.partition("/")[0] for name in ours}  # the file may hold an optimizer's state as well
    for name, shape in theirs.items():
        if name not in ours and name.partition("/")[0] in layers and "seed_generator" not in name:
            raise WeightsError(
                f"Does not fit {model}: {name}, a variable the model lacks. Received: {shape} in {path}"
            )
    try:
        network.load_weights(path)
    except Exception as error:  # whatever the reader trips over in a damaged file
        raise WeightsError(f"Damaged, or not Keras weights: {_line(error)}. Received: {path}") from error
    for parameter in parameters_of(network):
        if not np.isfinite(parameter.to_torch()).all():
            raise WeightsError(
                f"{path}: weights must be finite. Received: NaN or infinity in {parameter.name}"
            )


def _shapes(path):
    """Returns the shape of every variable in a .weights.h5 file, by its path there."""
    shapes = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            shapes[name] = item.shape

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"Damaged, or not Keras weights: {_line(error)}. Received: {path}") from error
    return shapes


def _save_keras_weights(network, path):
    with files.writing(path) as beside:
        named = Path(f"{beside}{_KERAS}")  # Keras insists on the ending
        try:
            network.save_weights(named)
            named.replace(beside)
        finally:
            named.unlink(missing_ok=True)


def _line(error):
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
