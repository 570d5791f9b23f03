"""Trainings of a run that need nothing of each other, done by workers before the run comes to them."""

import contextlib
import dataclasses
import functools
import json
import logging
import os
import random
import threading
from pathlib import Path

from keras_fracture.data import catalogue, locations
from keras_fracture.errors import TrainingError
from keras_fracture.experiment import runs, splits
from keras_fracture.training import precision

_PATHS = ("data", "splits", "pretrained", "teacher")


def train(config, run, function, jobs):
    """Has workers carry trainings out, if the run has any; it then finds each in its folder, as after a kill.

    So all numbers are those of a run without workers: they have as many threads, and trainings follow from their seeds.

    Args:
        config: The run's configuration.
        run: A `runs.Run`.
        function: Of a configuration, a `runs.Run` and one of `jobs`; leaves what it trains in the run folder. Of a
            module that workers can import.
        jobs: Tuples of names and numbers, one a training.

    Raises:
        TrainingError: Workers die of a training.
        ClusterError: As in `parallel.Workers.map`.
    """
    if run.workers is None or len(jobs) < 2:
        return
    shared = {
        "function": function, "config": _absolute(config), "folder": str(run.folder.resolve()),
        "data_dir": os.path.abspath(locations.data_dir(run.data_dir)), "computed_in": run.computed_in,
    }  # fmt: skip
    done = run.workers.map(
        _train, jobs, batch=1, shared=shared, title="trainings", unit=" trainings", name=_words
    )
    for job, answer in zip(jobs, done, strict=True):
        if answer is None:
            raise TrainingError(
                f"Workers die of one of the trainings: is there enough memory? Received: {_words(job)}"
            )


def _absolute(config):
    """The configuration with paths that do not depend on where a process was started."""
    paths = {name: getattr(config, name, None) for name in _PATHS}
    paths = {
        name: os.path.abspath(path)
        for name, path in paths.items()
        if path and path not in catalogue.NAMES and Path(path).exists()
    }
    return dataclasses.replace(config, **paths)


def _words(job):
    return " ".join(map(str, job))


def _train(jobs, shared):
    """A task of `train`."""
    logging.getLogger("tensorflow").setLevel(
        logging.ERROR
    )  # that many small models are traced anew is no news
    config, folder, data_dir = shared["config"], Path(shared["folder"]), shared["data_dir"]
    images = json.dumps(runs.read_config(folder)["fingerprints"], sort_keys=True)
    _check_images(config, folder, data_dir, images)
    with precision.using(shared["computed_in"]), _undisturbed():
        for job in jobs:
            shared["function"](config, runs.Run(folder, data_dir, images=images), job)
    return [True] * len(jobs)


@contextlib.contextmanager
def _undisturbed():
    """Python's random numbers for this thread alone: Keras takes seeds from them, and Dask's threads take delays."""
    mine, thread = random.Random(), threading.get_ident()
    functions = {
        name: function
        for name, function in vars(random).items()
        if isinstance(getattr(function, "__self__", None), random.Random)
    }

    def of_thread(name, function):
        own = getattr(mine, name)
        return lambda *given, **named: (own if threading.get_ident() == thread else function)(*given, **named)

    for name, function in functions.items():
        setattr(random, name, of_thread(name, function))
    try:
        yield
    finally:
        for name, function in functions.items():
            setattr(random, name, function)


@functools.lru_cache(maxsize=1)
def _check_images(config, folder, data_dir, images):
    """Once a process and run: raises `DataError` where a worker sees other images than the run was started with."""
    received = splits.fingerprints(config, data_dir)
    splits.check_fingerprints(json.loads(images), received, f"{folder} was started with")
