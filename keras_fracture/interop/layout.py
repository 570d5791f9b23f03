"""How a Keras model's variables are named, ordered and laid out in PyTorch."""

import dataclasses

import keras
import numpy as np
from keras import layers

from keras_fracture.errors import WeightsError
from keras_fracture.interop.orders import children, orders

WORDS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One Keras variable and its PyTorch counterpart.

    Attributes:
        name: Path and PyTorch's word for it.
        kind: "convolution", "dense", "batchnorm" or "normalisation".
        variable: The `keras.Variable`.
        index: Integers of the PyTorch shape: the index of each value in the flattened Keras variable.
    """

    name: str
    kind: str
    variable: keras.Variable
    index: np.ndarray

    @property
    def shape(self):
        return self.index.shape

    def to_torch(self):
        """Returns the variable's value, laid out as in PyTorch."""
        return np.asarray(keras.ops.convert_to_numpy(self.variable), "float32").ravel()[self.index]

    def to_keras(self, array):
        """Returns a PyTorch array laid out as the variable."""
        flat = np.empty(array.size, array.dtype)
        flat[self.index.ravel()] = array.ravel()
        return flat.reshape(self.variable.shape)

    def __str__(self):
        return f"{self.name} ({self.kind}, {self.shape})"


def parameters_of(model):
    """Returns the `Parameter`s of a model, in the order of definition.

    Raises:
        WeightsError: The model is not built, a layer has no PyTorch counterpart, or in which order it holds the
            features of a flattened map cannot be known.
    """
    leaves = list(_leaves(model, "", set()))
    inward, outward = orders(model)
    parameters = []
    for name, layer in leaves:
        kind = _kind(layer)
        for word in ("kernel", "gamma", "bias", "beta", "moving_mean", "moving_variance"):
            variable = getattr(layer, word, None)
            if kind is None or variable is None:
                continue
            index = np.arange(int(np.prod(variable.shape))).reshape(variable.shape)
            index = _transposed(index, layer, word, inward.get(id(layer)), outward.get(id(layer)))
            parameters.append(Parameter(f"{name}.{WORDS[word]}", kind, variable, index))
    known = {id(parameter.variable) for parameter in parameters}
    for variable in model.weights:
        if id(variable) not in known:
            raise WeightsError(
                f"A weight has no PyTorch counterpart{_cause(model)}. Received: {variable.path}"
            )
    if not parameters:
        raise WeightsError(f"The model has no weights; build it first. Received: {model.name}")
    return parameters


def _cause(model):
    """What Keras did to a model so that its weights are no longer those of plain layers, in words."""
    if any(getattr(layer, "quantization_mode", None) for layer in model._flatten_layers()):
        return ", as the model was quantised: save it as it was before"
    if any(getattr(layer, "lora_enabled", False) for layer in model._flatten_layers()):
        return (
            ", as a layer has LoRA: load what save_weights writes of it into a model without, which merges them, and "
            "save that"
        )
    return ""


def _leaves(layer, path, seen):
    """Yields `(path, layer)` for every layer without layers, by attribute, by index into a Sequential."""
    inside = children(layer)
    if not inside and id(layer) not in seen:
        seen.add(id(layer))
        yield path, layer
    for name, child in inside:
        yield from _leaves(child, f"{path}.{name}".lstrip("."), seen)


def _kind(layer):
    if isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D)):
        return "convolution"
    if isinstance(layer, layers.Dense):
        return "dense"
    if isinstance(layer, layers.BatchNormalization):
        return "batchnorm"
    if isinstance(layer, (layers.GroupNormalization, layers.LayerNormalization)):
        return "normalisation"
    return None


def _transposed(index, layer, word, inward, outward):
    """Lays a Keras variable's `index` out as PyTorch does."""
    if word != "kernel":
        return index if outward is None else index[outward]
    if isinstance(layer, layers.DepthwiseConv2D):  # (h, w, in, multiplier) to (in * multiplier, 1, h, w)
        height, width, *_ = index.shape
        return index.transpose(2, 3, 0, 1).reshape(-1, 1, height, width)
    if index.ndim == 4:
        return index.transpose(3, 2, 0, 1)
    if inward is not None:
        index = index[inward]
    if outward is not None:
        index = index[:, outward]
    return index.T
