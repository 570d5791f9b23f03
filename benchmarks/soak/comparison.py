"""Whether two run folders hold the same numbers, bit for bit, whatever the clock said meanwhile."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import tensorflow as tf

TIMES = ("minutes", "seconds")
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # of a checkpoint: a description, not a number


def differences(folder, reference):
    """What two run folders do not have in common.

    Compared are the names of all files; `metrics.json` without wall times; every column of every csv file,
    histories above all, but wall times; and every array: of .keras, .h5 and .npz files and of the variables of
    SavedModels, weights, optimizers and random generators alike.

    Args:
        folder: Run folder.
        reference: Another.

    Returns:
        Sorted names of what only one of them holds, or both with other values: "FILE" or "FILE: ARRAY".
    """
    ours, theirs = contents(folder), contents(reference)
    return sorted(
        name
        for name in ours.keys() | theirs.keys()
        if name not in ours or name not in theirs or not _equal(ours[name], theirs[name])
    )


def contents(folder):
    """What `differences` compares: a dict of "FILE" to None and of "FILE: ARRAY" to the array."""
    values = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            values[name] = None
            values |= {f"{name}: {key}": np.asarray(value) for key, value in _read(path).items()}
    return values


def _read(path):
    if path.name == "metrics.json":
        return _leaves(json.loads(path.read_text(encoding="utf-8")))
    if path.name == "variables.index":
        return _variables(path.with_suffix(""))
    reader = {".csv": _columns, ".h5": _datasets, ".keras": _weights, ".npz": _arrays}.get(path.suffix)
    return reader(path) if reader else {}


def _leaves(content, path=""):
    """The values of nested dicts and lists by their path, without wall times."""
    if not isinstance(content, dict | list):
        return {path: np.array(content, dtype=object)}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    leaves = {f"{path}/": np.array(len(content))}
    for key, value in items:
        if key not in TIMES:
            leaves |= _leaves(value, f"{path}/{key}")
    return leaves


def _columns(path):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return {name: table[name].to_numpy(dtype=object) for name in table if name not in TIMES}


def _datasets(file):
    arrays = {}

    def read(name, entry):
        if isinstance(entry, h5py.Dataset):
            arrays[name] = entry[()]

    with h5py.File(file) as opened:
        opened.visititems(read)
    return arrays


def _weights(path):
    with zipfile.ZipFile(path) as archive:
        return _datasets(io.BytesIO(archive.read("model.weights.h5")))


def _arrays(path):
    with np.load(path) as stored:
        return dict(stored)


def _variables(prefix):
    checkpoint = tf.train.load_checkpoint(str(prefix))
    names = checkpoint.get_variable_to_shape_map()
    return {name: checkpoint.get_tensor(name) for name in names if name != _GRAPH}


def _equal(ours, theirs):
    if ours is None or theirs is None:
        return ours is theirs
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    if ours.dtype.hasobject:
        return repr(ours.tolist()) == repr(theirs.tolist())  # of NaN too
    return ours.tobytes() == theirs.tobytes()
