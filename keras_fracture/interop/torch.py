"""PyTorch weights in and out: state dicts, `.pth`, `.pt` and `.safetensors`.

A parameter's name here is the path to its layer, by attribute or by index into a `Sequential`, and PyTorch's
word for the variable: `layer1.0.conv1.weight`. For `ResNet` and `DRN` these are torchvision's and the DRN
authors' own names.
"""

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from keras_fracture import files
from keras_fracture.errors import OutputError, WeightsError
from keras_fracture.interop.layout import WORDS, parameters_of
from keras_fracture.models import DRN, DCGANDiscriminator, DCGANGenerator, ResNet

BATCHES = "num_batches_tracked"
NOTHING = r"(?!)"  # matches no name

# Each canonical name map: the classes whose own names are those names, and what a file may hold beyond them.
NAME_MAPS = {
    "torchvision_resnet": (ResNet, NOTHING),
    # DRN-C-58's unused projection: see models/drn.py.
    "dcgan": ((DCGANGenerator, DCGANDiscriminator), NOTHING),  # of pytorch/examples
    "drn": ((DRN, ResNet), r"layer[78]\.\d+\.downsample\."),
}


def load_torch_weights(model, source, names=None):
    """Loads PyTorch weights into a built Keras model: all of them, or none.

    `.pth` and `.pt` are read with `weights_only=True`, so a file cannot run code. Kernels are transposed;
    a dense layer behind a `Flatten`, or before a `Reshape`, is permuted from channels-first to channels-last.
    `num_batches_tracked` is ignored.

    Args:
        model: A built `keras.Model`.
        source: Path of a `.pth`, `.pt` (PyTorch needed) or `.safetensors` file, or a state dict of tensors
            or arrays.
        names: How parameters meet. None: by name where the file has the model's own names, otherwise one
            by one in the order of definition. "torchvision_resnet", "drn" or "dcgan": by those names. A dict: from
            the model's parameter or layer names (`to_torch_state_dict(model)` lists them) to the file's.

    Raises:
        WeightsError: The file is absent, damaged, holds code, or its kind is unknown; a parameter differs in
            kind or shape, or is NaN or infinite. The model is then as it was.
    """
    where = "state dict" if isinstance(source, Mapping) else str(source)
    state, ordered = _read(source)
    parameters = parameters_of(model)
    wanted = _renamed(model, parameters, names)
    spare = re.compile(
        "|".join(rule for classes, rule in NAME_MAPS.values() if isinstance(model, classes)) or NOTHING
    )
    by_name = {name for name in state if name in wanted or not spare.match(name)}
    if names is None and by_name != set(wanted):
        if not ordered:
            raise WeightsError(
                f"{where}: a .safetensors file keeps no order and its names are not the model's: pass names. "
                f"Received: {next(iter(state), 'no parameters')} where the model has {wanted[0]}"
            )
        wanted, by_name = list(state), set(state)
    arrays = []
    for number, parameter in enumerate(parameters):
        name = wanted[number] if number < len(wanted) else None
        if name not in state:
            raise WeightsError(
                f"{where}: nothing for the model's {parameter}. Received: {name or 'end of file'}"
            )
        _check(where, parameter, name, state)
        arrays.append(parameter.to_keras(state[name]))
    beyond = by_name - set(wanted[: len(parameters)])
    if beyond:
        name = next(name for name in state if name in beyond)
        raise WeightsError(f"{where}: a parameter the model lacks. Received: {name}, {state[name].shape}")
    for parameter, array in zip(parameters, arrays, strict=True):
        parameter.variable.assign(array)


def to_torch_state_dict(model, names=None):
    """Returns the model's weights as a PyTorch state dict of CPU tensors.

    Args:
        model: A built `keras.Model`.
        names: None for the model's own names, or as for `load_torch_weights`.

    Raises:
        WeightsError: PyTorch is not installed, or a layer has no PyTorch counterpart.
    """
    torch = _torch()
    return {name: torch.from_numpy(array) for name, array in _arrays(model, names).items()}


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
    kind = _extension(path)
    with files.writing(path) as beside:
        try:
            if kind == ".safetensors":
                arrays = _arrays(model, names)
                # The format sorts its entries; the order of definition goes into the header.
                safetensors.numpy.save_file(
                    arrays, beside, metadata={"format": "pt", "order": json.dumps(list(arrays))}
                )
            else:
                _torch().save(to_torch_state_dict(model, names), beside)
        except (RuntimeError, SafetensorError) as error:
            raise OutputError(f"{path} cannot be written: {_line(error)}") from error


def _arrays(model, names):
    parameters = parameters_of(model)
    renamed = _renamed(model, parameters, names)
    arrays = {}
    for parameter, name in zip(parameters, renamed, strict=True):
        arrays[name] = np.ascontiguousarray(parameter.to_torch())
        if name.endswith(".running_var"):
            arrays[name.removesuffix("running_var") + BATCHES] = np.zeros((), "int64")
    return arrays


def _renamed(model, parameters, names):
    """Returns the PyTorch name of every parameter under a name map."""
    own = [parameter.name for parameter in parameters]
    if names is None:
        return own
    if isinstance(names, str):
        if names not in NAME_MAPS:
            raise WeightsError(f"names must be a dict or one of {', '.join(NAME_MAPS)}. Received: {names!r}")
        if not isinstance(model, NAME_MAPS[names][0]):
            raise WeightsError(
                f"The name map {names!r} is not for this model. Received: {type(model).__name__}"
            )
        return own
    renamed = []
    for name in own:
        layer, _, word = name.rpartition(".")
        if name not in names and layer not in names:
            raise WeightsError(f"names has no entry for {name} or its layer. Received: {len(names)} entries")
        renamed.append(names[name] if name in names else f"{names[layer]}.{word}")
    if len(set(renamed)) < len(renamed):
        twice = next(name for name in renamed if renamed.count(name) > 1)
        raise WeightsError(f"names must lead to distinct parameters. Received: {twice} twice")
    return renamed


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


def _read(source):
    """Returns `({name: float32 array}, whether the order is that of definition)`."""
    if isinstance(source, Mapping):
        return _tidy(source, "state dict"), True
    path = Path(source)
    kind = _extension(path)
    if not path.is_file():
        raise WeightsError(f"No such weights file. Received: {path}")
    if kind == ".safetensors":
        return _read_safetensors(path)
    torch = _torch()
    try:
        with warnings.catch_warnings(action="ignore"):  # about the pickle protocol of what is then refused
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"Holds code or objects, or no PyTorch weights at all; save model.state_dict(). Received: {path}"
        ) from error
    except Exception as error:  # whatever the reader trips over in a damaged file
        raise WeightsError(f"Damaged, or not PyTorch weights: {_line(error)}. Received: {path}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path}: not a state dict. Received: {type(state).__name__}")
    return _tidy(state, path), True


def _read_safetensors(path):
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            order = json.loads((file.metadata() or {}).get("order", "null"))
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise WeightsError(f"Damaged .safetensors file: {_line(error)}. Received: {path}") from error
    order = [str(name) for name in order] if isinstance(order, list) else []
    ordered = sorted(order) == sorted(state)
    return _tidy({name: state[name] for name in (order if ordered else state)}, path), ordered


def _tidy(state, where):
    """Returns the parameters of a state dict as float32 arrays, without DataParallel's prefix."""
    tidy = {}
    for name, value in state.items():
        value = value.detach().cpu().float().numpy() if hasattr(value, "detach") else value
        if not hasattr(value, "dtype"):
            raise WeightsError(f"{where}: {name} must be a tensor. Received: {type(value).__name__}")
        if not str(name).endswith(BATCHES):
            tidy[str(name)] = np.asarray(value, "float32")
    if tidy and all(name.startswith("module.") for name in tidy):
        tidy = {name.removeprefix("module."): value for name, value in tidy.items()}
    return tidy


def _extension(path):
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise WeightsError(f"Weights files end in .pth, .pt or .safetensors. Received: {path}")
    return path.suffix


def _torch():
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            '.pth and .pt need PyTorch: pip install "keras-fracture[torch]". Received: no module torch'
        ) from error
    return torch


def _line(error):
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
