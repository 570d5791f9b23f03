"""How long commands and imports take in a fresh process: `python -m benchmarks startup`."""

import os
import subprocess
import sys
import time

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.processes import CHECKOUT

_CLI = "import sys; from keras_fracture.cli import main; sys.exit(main({}))"
_PREDICT = "keras-fracture predict, one image"
_PROGRAMS = {
    "Python alone": "pass",
    "import tensorflow": "import tensorflow",
    "import keras_fracture, tensorflow": "import keras_fracture, tensorflow",
    "import keras_fracture": "import keras_fracture",
    "keras-fracture --help": _CLI.format(["--help"]),
    "keras-fracture data list": _CLI.format(["data", "list"]),
    _PREDICT: _CLI.format(
        [
            "predict",
            str(CHECKOUT / "saved_models/dcgan_phantom/1/samples.png"),
            "--model",
            "resnet18_fracatlas",
        ]
    ),
}
GOALS = {
    "keras_fracture over tensorflow, seconds": "at most 0.3",
    "keras-fracture predict, one image, over tensorflow, seconds": "at most 2",
}


def measure_startup(repeats=7):
    """Times fresh processes in turn, after one round that only warms the disk's cache.

    Args:
        repeats: Rounds; medians count.

    Returns:
        A dict of name to seconds.

    Raises:
        BenchmarkError: `repeats` is no number of rounds, or a process failed.
    """
    if repeats < 1:
        raise BenchmarkError(f"repeats must be 1 or more. Received: {repeats}")
    seconds = {name: [] for name in _PROGRAMS}
    for _ in range(repeats + 1):
        for name, program in _PROGRAMS.items():
            seconds[name].append(_seconds(name, program))
    medians = {f"{name}, seconds": float(np.median(times[1:])) for name, times in seconds.items()}
    base = medians["import tensorflow, seconds"]
    over = {
        "keras_fracture": "import keras_fracture, tensorflow",
        "keras-fracture predict, one image,": _PREDICT,
    }
    return medians | {
        f"{name} over tensorflow, seconds": medians[f"{program}, seconds"] - base
        for name, program in over.items()
    }


def _seconds(name, program):
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    start = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=False
    )
    if process.returncode:
        raise BenchmarkError(f"{name} cannot be timed. Received: exit code {process.returncode}")
    return time.perf_counter() - start
