"""PyTorch's files as plain arrays; nothing that is in a file is ever run."""

import json
import math
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
from safetensors import SafetensorError

from keras_fracture.errors import WeightsError

ENDINGS = (".pth", ".pt", ".pth.tar", ".ckpt", ".bin", ".safetensors")
BATCHES = "num_batches_tracked"
_FLOATING = re.compile(r"b?float(16|32|64|128)")
_UNPACKED = 4, 2**26  # what a file's numbers may take: times its own size, and bytes beside
DOMAINS = ("a", "b")
# What checkpoints call the network, the first found; an average of its weights goes by other names.
_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
# What lies beside weights in many files: options of a command line, and metrics.
_BESIDE = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
)


class PassedOver:
    """Stands for an object that lies beside the weights, of which nothing is kept and nothing run."""

    def __new__(cls, *_):
        return super().__new__(cls)

    def __init__(self, *_):
        pass

    def __setstate__(self, state):
        pass


def read(source):
    """The parameters in a file or a state dict.

    Args:
        source: As for `torch.load_torch_weights`.

    Returns:
        What errors call the source, a dict of name to float32 array, and whether its order is that of definition.

    Raises:
        WeightsError: See `torch.load_torch_weights`.
    """
    if isinstance(source, Mapping):
        return "state dict", _tidy(_unwrapped(source, "state dict"), "state dict"), True
    if not isinstance(source, str | os.PathLike):
        raise WeightsError(
            "Weights are a file or a state dict: of a PyTorch module give module.state_dict(). "
            f"Received: {type(source).__name__}"
        )
    path = Path(source)
    ending(path, ENDINGS)
    if not path.is_file():
        raise WeightsError(f"No such weights file. Received: {path}")
    if path.suffix == ".safetensors":
        return str(path), *_read_safetensors(path)
    torch, size = import_torch(), path.stat().st_size
    allowed = [(PassedOver, name) for name in _BESIDE]
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_size(sum(member.file_size for member in archive.infolist()), size, path)
        # Warnings are about the pickle protocol of what is then refused.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(allowed):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"Holds code or objects, or no PyTorch weights at all; save model.state_dict(). Received: {path}"
        ) from error
    except Exception as error:  # whatever the reader trips over in a damaged file
        raise WeightsError(f"Damaged, or not PyTorch weights: {line(error)}. Received: {path}") from error
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path}: not a state dict. Received: {type(state).__name__}")
    state = _unwrapped(state, path)
    # A view may show one number a billion times.
    _check_size(sum(4 * math.prod(one.shape) for one in state.values() if _is_array(one)), size, path)
    return str(path), _tidy(state, path), True


def _check_size(wanted, size, path):
    most = _UNPACKED[0] * size + _UNPACKED[1]
    if wanted > most:
        raise WeightsError(
            f"Takes far more memory than it has bytes, {wanted:,} where {most:,} are plenty; save model.state_dict() "
            f"anew. Received: {path}, {size:,} bytes"
        )


def _unwrapped(state, where):
    """The state dict in a checkpoint; those of two generators, as UNIT's authors save them, as one."""
    while inner := {str(key): value for key, value in state.items() if _is_network(value)}:
        if set(inner) == set(DOMAINS):
            return {f"{key}.{name}": value for key in DOMAINS for name, value in inner[key].items()}
        key = next((key for key in _KEYS if key in inner), None)
        if key is None and len(inner) > 1:
            raise WeightsError(
                f"{where}: holds several networks; save one of them alone. Received: {', '.join(inner)}"
            )
        state = inner[key or next(iter(inner))]
    return state


def _is_network(value):
    """Whether a value of a checkpoint is a state dict, or holds one."""
    if not isinstance(value, Mapping) or "param_groups" in value:  # the latter is an optimizer
        return False
    return any(_is_array(one) or _is_network(one) for name, one in value.items() if isinstance(name, str))


def _is_array(value):
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _read_safetensors(path):
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            order = json.loads((file.metadata() or {}).get("order", "null"))
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise WeightsError(f"Damaged .safetensors file: {line(error)}. Received: {path}") from error
    order = [str(name) for name in order] if isinstance(order, list) else []
    ordered = sorted(order) == sorted(state)
    return _tidy({name: state[name] for name in (order if ordered else state)}, path), ordered


def normalisation_in(source):
    """The `mean` and `std` that a `.safetensors` file of this package says its network has; None of other sources."""
    if isinstance(source, Mapping) or Path(source).suffix != ".safetensors":
        return None
    with safetensors.safe_open(source, framework="numpy") as file:
        said = (file.metadata() or {}).get("normalisation", "null")
    try:
        mean, std = (np.asarray(one, dtype=float) for one in json.loads(said))
    except (TypeError, ValueError):
        return None
    return (mean, std) if {mean.shape, std.shape} <= {(), (1,), (3,)} else None


def _tidy(state, where):
    """Returns the parameters of a state dict as float32 arrays, without the single numbers beside them."""
    tidy = {}
    for name, value in state.items():
        if isinstance(value, PassedOver | bool | int | float) or getattr(value, "shape", None) == ():
            continue
        if not hasattr(value, "dtype"):
            raise WeightsError(f"{where}: {name} must be a tensor. Received: {type(value).__name__}")
        dtype = getattr(value.dtype, "name", str(value.dtype).rpartition(".")[2])
        if not _FLOATING.fullmatch(dtype) and not str(name).endswith(BATCHES):
            raise WeightsError(
                f"{where}: {name} must be floating point, of 16 bits or more: whole numbers are those of a quantized "
                f"network, whose scales are not read. Save it before it is quantized. Received: {dtype}"
            )
        try:
            value = value.detach().cpu().float().numpy() if hasattr(value, "detach") else value
        except (RuntimeError, TypeError) as error:  # sparse, or on the device "meta"
            raise WeightsError(
                f"{where}: {name} must hold all its numbers, so save it dense and on the CPU. "
                f"Received: {value.layout} on {value.device} ({line(error)})"
            ) from None
        tidy[str(name)] = np.asarray(value, "float32")
    if state and not tidy:
        name, value = next(iter(state.items()))
        raise WeightsError(f"{where}: {name} must be a tensor. Received: {type(value).__name__}")
    # An InstanceNorm of PyTorch before 0.4 kept statistics that it did not use; it has no weight beside them.
    return {
        name: value
        for name, value in tidy.items()
        if not name.endswith((".running_mean", ".running_var")) or f"{name.rpartition('.')[0]}.weight" in tidy
    }


def ending(path, endings):
    """The one of `endings` that a path has.

    Raises:
        WeightsError: It has none of them.
    """
    matches = [one for one in endings if path.name.endswith(one)]
    if not matches:
        raise WeightsError(f"Weights files end in {', '.join(endings)}. Received: {path}")
    return matches[0]


def import_torch():
    """PyTorch.

    Raises:
        WeightsError: It is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            'PyTorch\'s files and its data sets need PyTorch: pip install "keras-fracture[torch]". '
            "Received: no module torch"
        ) from error
    return torch


def line(error):
    """The first line of an error of another library, without its full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
