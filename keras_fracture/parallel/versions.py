"""What results depend on besides files and settings: the versions of what computes them."""

import functools
import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path

import keras_fracture

_LIBRARIES = {
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "keras": ("keras",),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python"),
    "pillow": ("pillow",),
}


@functools.cache
def versions():
    """Name to version of this process's Python, libraries and of this package, its files included."""
    found = {
        "python": platform.python_version(),
        "keras_fracture": f"{keras_fracture.__version__} {_source()}",
    }
    return found | {name: _version(packages) for name, packages in _LIBRARIES.items()}


def _version(packages):
    for package in packages:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "none"


def _source():
    """Hash of the package's source: a checkout keeps its version over many changes."""
    digest, root = hashlib.sha256(), Path(keras_fracture.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def differences(ours, theirs):
    """Words for what differs in two processes' `versions`, "" where nothing does."""
    return ", ".join(
        f"{name} {theirs.get(name)} instead of {ours[name]}"
        for name in ours
        if theirs.get(name) != ours[name]
    )


def key():
    """Hash of `versions`, for the names of files that hold results of these versions alone."""
    return hashlib.sha256(json.dumps(versions(), sort_keys=True).encode()).hexdigest()[:8]
