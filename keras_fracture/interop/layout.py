"""How a Keras model's variables are named, ordered and laid out in PyTorch."""

import dataclasses

import keras
import numpy as np
from keras import layers

from keras_fracture.errors import WeightsError

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
        WeightsError: The model is not built, or a layer has no PyTorch counterpart.
    """
    leaves = list(_leaves(model, "", set()))
    inward, outward = _orders([layer for _, layer in leaves])
    parameters = []
    for number, (name, layer) in enumerate(leaves):
        kind = _kind(layer)
        for word in ("kernel", "gamma", "bias", "beta", "moving_mean", "moving_variance"):
            variable = getattr(layer, word, None)
            if kind is None or variable is None:
                continue
            index = np.arange(int(np.prod(variable.shape))).reshape(variable.shape)
            index = _transposed(index, layer, word, inward.get(number), outward.get(number))
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
    children = []
    for name, value in vars(layer).items():
        if name.startswith("_"):
            continue
        if isinstance(value, layers.Layer):
            children.append((name, value))
        elif isinstance(value, (list, tuple)):
            children += [
                (f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, layers.Layer)
            ]
    if not children:
        children = [(str(i), item) for i, item in enumerate(getattr(layer, "layers", []))]
    if not children and id(layer) not in seen:
        seen.add(id(layer))
        yield path, layer
    for name, child in children:
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


def _orders(chain):
    """Finds the layers on flattened maps, which PyTorch orders channels first and Keras channels last.

    Returns:
        Two dicts from a layer's index in `chain` to an array, the Keras index of each PyTorch feature: of the
        features a dense layer takes, and of those a dense layer or a normalisation gives.
    """
    inward, outward, order = {}, {}, None
    for number, layer in enumerate(chain):
        if isinstance(layer, layers.Flatten):
            order = _channels_first(layer.get_build_config()["input_shape"][1:])
        elif isinstance(layer, layers.Dense):
            inward[number], order = order, None
        elif isinstance(layer, layers.BatchNormalization) and order is not None:
            outward[number] = order
        elif isinstance(layer, layers.Reshape) and len(layer.target_shape) == 3:
            before = number - 1
            while before >= 0 and _kind(chain[before]) in (None, "batchnorm"):
                before -= 1
            if before >= 0 and isinstance(chain[before], layers.Dense):
                target = layer.compute_output_shape((None, chain[before].units))[1:]
                flat = [p for p in range(before, number) if _kind(chain[p]) is not None]
                outward |= dict.fromkeys(flat, _channels_first(target))
    return inward, outward


def _channels_first(shape):
    if len(shape) != 3:
        return None
    return np.arange(int(np.prod(shape))).reshape(shape).transpose(2, 0, 1).ravel()
