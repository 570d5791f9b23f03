"""Weights files from one framework to the other: `keras-fracture convert`."""

import tempfile
import warnings
from pathlib import Path

import h5py
import numpy as np

from keras_fracture import models
from keras_fracture.errors import WeightsError
from keras_fracture.interop.layout import parameters_of
from keras_fracture.interop.torch import load_torch_weights, save_torch_weights
from keras_fracture.models.saved import save_weights

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
        load_keras_weights(network, weights)
    else:
        load_torch_weights(network, weights, names)
    if str(to).endswith(_KERAS):
        save_weights(network, to)
    else:
        save_torch_weights(network, to, names)
    return network


def load_keras_weights(network, path, any_head=False):
    """Loads a `.weights.h5` file that holds just what the model does; Keras passes over what is too much.

    Args:
        network: A built classifier of this package.
        path: The file.
        any_head: Whether the file may be for another number of classes; the head then keeps its weights.

    Raises:
        WeightsError: The file is absent, damaged or no `.weights.h5`, does not fit, or holds NaN or infinity.
            Unless it was damaged the model is then as it was.
    """
    if not str(path).endswith(_KERAS) or not Path(path).is_file():
        raise WeightsError(
            f"Expected an existing {_KERAS} file (see keras-fracture convert). Received: {path}"
        )
    kind = type(network).__name__
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / f"own{_KERAS}"
        network.save_weights(own)
        ours = _shapes(own)
    theirs = _shapes(path)
    classes = (getattr(network, "num_classes", None),)
    heads = set()  # layers that differ in nothing but the number of classes
    for name, shape in ours.items():
        received = theirs.get(name)
        if (
            any_head
            and received
            and received[:-1] == shape[:-1]
            and received != shape
            and shape[-1:] == classes
        ):
            heads.add(name.rpartition("/")[0])
        elif received != shape:
            raise WeightsError(
                f"Does not fit {kind}: the first variable that does not fit is the model's {name} {shape}. "
                f"Received: {theirs.get(name, 'nothing')} in {path}"
            )
    if len(heads) > 1:
        raise WeightsError(f"Does not fit {kind}: {' and '.join(sorted(heads))} differ. Received: {path}")
    layers = {name.partition("/")[0] for name in ours}  # the file may hold an optimizer's state as well
    for name, shape in theirs.items():
        if name not in ours and name.partition("/")[0] in layers and "seed_generator" not in name:
            raise WeightsError(
                f"Does not fit {kind}: {name}, a variable the model lacks. Received: {shape} in {path}"
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Keras, that it skips the head
            network.load_weights(path, skip_mismatch=bool(heads))
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


def _line(error):
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
