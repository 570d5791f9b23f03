"""Functions that workers are given in tests."""

import os
import signal
import time
from pathlib import Path


def square(rows, shared):
    return [row * row + (shared or 0) for row in rows]


def slow_square(rows, shared):
    time.sleep(shared)
    return square(rows, 0)


def once(rows, folder):
    """Leaves a file for each time a row is computed."""
    for row in rows:
        (Path(folder) / f"{row}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return rows


def poisoned(rows, poison):
    """Dies where the poison is among the rows."""
    if poison in rows:
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    return square(rows, 0)


def dies_once(rows, folder):
    """Dies at row 3, the first time."""
    mark = Path(folder) / "died"
    if 3 in rows and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(rows, 0)


def faulty(rows, shared):
    raise ValueError("no good")


def too_few(rows, shared):
    return rows[1:]


def pid(rows, shared):
    time.sleep(shared)
    return [os.getpid() for _ in rows]


def measure_or_die(paths, shared):
    """`scan`'s, but that a file named so kills its worker."""
    if any("poison" in path for path in paths):
        os.kill(os.getpid(), signal.SIGKILL)
    from keras_fracture.data import scan  # here, so that other tests' workers start at once

    return scan._measure_files(paths, shared)
