"""In which order PyTorch holds the features of flattened maps: channels first, where Keras has channels last.

Functional and Sequential models are followed along their graph. The layers of other models are taken for a chain, in
the order of definition, but for what their shapes rule out.
"""

import dataclasses
import math

import keras
import numpy as np
from keras import layers

from keras_fracture.errors import WeightsError

_UNKNOWN = "unknown"
_NORMALISATIONS = (layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization)
# After these layers and operations a map is no longer laid out as before; after convolutions any map is as Keras's are.
_MOVES = ("Permute", "Reshape", "Transpose", "Moveaxis", "Swapaxes", "Einsum", "Lambda")
_CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D, layers.SeparableConv2D)
_POOLING = (
    layers.MaxPooling2D, layers.AveragePooling2D, layers.GlobalMaxPooling2D, layers.GlobalAveragePooling2D,
    layers.ZeroPadding2D, layers.Cropping2D, layers.UpSampling2D,
)  # fmt: skip


def orders(model):
    """Finds the layers on flattened maps.

    Returns:
        Two dicts from a layer's `id` to an array, the Keras index of each PyTorch feature, or None for the same order:
        of the features a dense layer takes, and of those a dense layer or a normalisation gives.

    Raises:
        WeightsError: The order cannot be known.
    """
    flow = _Flow(model)
    wanted, inward, outward, order = _wanted(flow.values), {}, {}, {}
    for value in flow.values:
        layer, given = value.layer, [order[one] for one in value.inputs]
        order[value] = _UNKNOWN if value in flow.unknown else _order(value, given)
        if len(value.inputs) != 1 or len(value.inputs[0].shape or ()) != 1:
            continue
        if isinstance(layer, layers.Dense):
            order[value] = wanted.get(id(layer))
            _put(inward, layer, given[0])
            _put(outward, layer, order[value])
        elif isinstance(layer, _NORMALISATIONS):
            grouped = isinstance(layer, layers.GroupNormalization) and given[0] is not None
            _put(outward, layer, _UNKNOWN if grouped else given[0])
    return inward, outward


def interchangeable(model):
    """Two layers of a functional model whose weights have equal shapes, and neither of which is behind the other.

    Returns:
        The two layers, or None.
    """
    behind, alike = {}, {}
    for value in _Flow(model).values:
        layer = value.layer
        if isinstance(layer, layers.Layer) and layer.weights:
            if id(layer) not in behind:
                shapes = tuple(tuple(weight.shape) for weight in layer.weights)
                alike.setdefault((type(layer), shapes), []).append(layer)
            behind[id(layer)] = behind.get(id(layer), frozenset()) | value.behind
    for group in alike.values():
        for number, one in enumerate(group):
            for other in group[:number]:
                if id(other) not in behind[id(one)] and id(one) not in behind[id(other)]:
                    return other, one
    return None


def children(layer):
    """Pairs of path and layer that lie in a layer: by attribute, or by index into a Sequential."""
    found = []
    for name, value in vars(layer).items():
        if name.startswith("_"):
            continue
        if isinstance(value, layers.Layer):
            found.append((name, value))
        elif isinstance(value, (list, tuple)):
            found += [(f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, layers.Layer)]
    return found or [(str(i), item) for i, item in enumerate(getattr(layer, "layers", []))]


@dataclasses.dataclass(eq=False)
class _Value:
    """What a layer or operation gives, from `inputs`, and the `id`s of all layers before it."""

    shape: tuple | None  # without the batch
    layer: object
    inputs: tuple
    behind: frozenset


class _Flow:
    """All values of a model, each after its inputs; of those `unknown` one cannot say what they come from."""

    def __init__(self, model):
        self.values, self.unknown = [], set()
        self._through(model, [], [])

    def _make(self, shape, layer=None, inputs=(), behind=frozenset()):
        behind = behind.union([id(layer)], *(one.behind for one in inputs))
        self.values.append(_Value(shape, layer, tuple(inputs), behind))
        return self.values[-1]

    def _shaped(self, value, shape):
        return value if value.shape == shape else self._make(shape, None, [value])

    def _through(self, layer, inputs, shapes, seen=None):
        """The values that a layer gives, of `shapes`; in a chain, those it has `seen` are passed over."""
        inside = [child for _, child in children(layer)] if isinstance(layer, layers.Layer) else []
        if (graph := _graph(layer)) is not None:
            return self._along(graph, inputs)
        if inside:
            last = self._chain(inside, inputs, set() if seen is None else seen)
            return [last] if seen is not None else [self._shaped(last, shape) for shape in shapes]
        return [self._make(shape, layer, inputs) for shape in shapes]

    def _along(self, graph, inputs):
        known = {}
        for number, tensor in enumerate(graph.inputs):
            shape = tuple(tensor.shape[1:])
            alone = len(inputs) == len(graph.inputs)
            known[id(tensor)] = (
                self._shaped(inputs[number], shape) if alone else self._make(shape, None, inputs)
            )
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if not node.is_input:
                    given = [known[id(tensor)] for tensor in node.input_tensors]
                    made = self._through(
                        node.operation, given, [tuple(one.shape[1:]) for one in node.outputs]
                    )
                    known |= zip(map(id, node.outputs), made, strict=True)
        return [known[id(tensor)] for tensor in graph.outputs]

    def _chain(self, inside, inputs, seen):
        value = inputs[0] if len(inputs) == 1 else self._make(None, None, inputs)
        made, before = [value], value.behind
        for number, layer in enumerate(inside):
            if id(layer) in seen or id(layer) in value.behind - before:
                continue
            seen.add(id(layer))
            shape = _taken(layer)
            if isinstance(layer, layers.Reshape) and -1 not in layer.target_shape:
                size = math.prod(layer.target_shape)
                shape = value.shape if _size(value.shape) == size else (size,)
            if shape is not None and value.shape != shape:
                later = [_taken(one) for one in inside[number:] if isinstance(one, layers.Flatten)]
                value = self._linked(made, shape, [_size(one) for one in later])
            results = self._through(layer, [value], [_given(layer, value.shape)], seen)
            value = results[0] if len(results) == 1 else self._make(None, None, results)
            made.append(value)
        return value

    def _linked(self, made, shape, later):
        """What a layer of a chain takes that does not fit what the one before it gives, the last of `made`."""
        if len(shape) != 1:
            return self._make(shape, None, [], made[-1].behind)
        source = next((one for one in reversed(made) if one.shape == shape), made[-1])
        value = self._make(shape, None, [source], made[-1].behind)
        if _size(source.shape) != shape[0] and shape[0] in later:
            self.unknown.add(value)
        return value


def _graph(layer):
    """The graph of a functional or Sequential model, or None."""
    layer = getattr(layer, "_functional", None) if isinstance(layer, keras.Sequential) else layer
    return layer if hasattr(layer, "_nodes_by_depth") else None


def _taken(layer):
    """The shape of a layer's input, without the batch, or None where it has none or several."""
    if (graph := _graph(layer)) is not None:
        return tuple(graph.inputs[0].shape[1:]) if len(graph.inputs) == 1 else None
    shape = (layer.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (list, tuple)) or not all(isinstance(side, int | None) for side in shape):
        return None
    return tuple(shape[1:])


def _given(layer, shape):
    """The shape of what a layer of a chain gives, as far as orders need it."""
    changing = (layers.Dense, layers.Flatten, layers.Reshape, *_CONVOLUTIONS, *_POOLING)
    if shape is None or not isinstance(layer, changing):
        return shape
    try:
        return tuple(layer.compute_output_shape((None, *shape))[1:])
    except ValueError:  # it does not take what is defined before it
        return None


def _size(shape):
    return None if shape is None or None in shape else math.prod(shape)


def _reshaped(value, before, after):
    """Whether a value is another of the same size, which had `before` dimensions and has `after`."""
    if len(value.inputs) != 1 or None in (value.shape, size := _size(value.inputs[0].shape)):
        return False
    ranks = len(value.inputs[0].shape), len(value.shape)
    return ranks == (before, after) and size == _size(value.shape)


def _channels_first(shape):
    index = np.arange(math.prod(shape))
    order = index.reshape(shape).transpose(2, 0, 1).ravel()
    return None if (order == index).all() else order


def _wanted(values):
    """By the `id` of a dense layer, the order in which a map is made of what it gives."""
    wanted = {}
    for value in values:
        if not _reshaped(value, 1, 3) or (order := _channels_first(value.shape)) is None:
            continue
        found, seen = [value.inputs[0]], set()
        while found:
            one = found.pop()
            if one in seen:
                continue
            seen.add(one)
            if isinstance(one.layer, layers.Dense):
                _put(wanted, one.layer, order)
            elif one.inputs and not _reshaped(one, 3, 1):
                before = [given for given in one.inputs if given.shape == one.shape]
                if not before:
                    raise _error(value.layer or one.layer)
                found += before
    return wanted


def _order(value, given):
    """The order of a value's features, from that of its inputs; None where it is Keras's."""
    shapes = [one.shape for one in value.inputs]
    if _reshaped(value, 3, 1):
        return given[0] if given[0] is _UNKNOWN else _channels_first(shapes[0])
    if _reshaped(value, 4, 1):  # of maps in rows, such as views or times
        return _UNKNOWN
    if _reshaped(value, 1, 3):
        if given[0] is not None and not _same(given[0], _channels_first(value.shape)):
            raise _error(value.layer)
        return None
    if value.shape is not None and len(value.shape) == 3:
        if getattr(value.layer, "data_format", None) == "channels_first":
            return _UNKNOWN
        if isinstance(value.layer, _CONVOLUTIONS):
            return None
        moved = type(value.layer).__name__ in _MOVES and not _keeps_channels(value, shapes)
        return _UNKNOWN if moved or any(one is _UNKNOWN for one in given) else None
    flat = all(_size(shape) is not None and len(shape) == 1 for shape in [value.shape, *shapes])
    if flat and len(given) > 1 and sum(_size(shape) for shape in shapes) == _size(value.shape):
        if all(one is None for one in given) or any(one is _UNKNOWN for one in given):
            return next((one for one in given if one is not None), None)
        sizes = [_size(shape) for shape in shapes]
        parts = [np.arange(size) if one is None else one for one, size in zip(given, sizes, strict=True)]
        return np.concatenate(
            [part + start for part, start in zip(parts, np.cumsum([0, *sizes]), strict=False)]
        )
    if flat and value.shape in shapes:
        alike = [one for one, shape in zip(given, shapes, strict=True) if shape == value.shape]
        return alike[0] if all(_same(one, alike[0]) for one in alike) else _UNKNOWN
    lost = (
        one is not None and (shape is None or len(shape) != 3)
        for one, shape in zip(given, shapes, strict=True)
    )
    return _UNKNOWN if any(lost) else None


def _keeps_channels(value, shapes):
    """Whether pixels alone get other places, which PyTorch's channels-first maps follow, or none do."""
    if type(value.layer).__name__ == "Reshape":
        return len(shapes) == 1 and len(shapes[0] or ()) == 3 and shapes[0][-1] == value.shape[-1]
    return type(value.layer).__name__ == "Lambda" and shapes == [value.shape]


def _same(one, other):
    return one is other or np.array_equal(one, other)


def _put(found, layer, order):
    if order is _UNKNOWN or not _same(found.setdefault(id(layer), order), order):
        raise _error(layer)


def _error(layer):
    name = getattr(layer, "path", None) or getattr(layer, "name", "a reshape in a layer's call")
    return WeightsError(
        "In which order PyTorch holds the features of a flattened map cannot be known: build a functional model, in "
        f"which Flatten, Concatenate and Reshape alone stand between maps and dense layers. Received: {name}"
    )
