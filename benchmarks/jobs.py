"""Whole epochs of trainings, as users run them, beside plain PyTorch: `python -m benchmarks jobs`.

Run as a program it trains one of ours: `python -m benchmarks.jobs JOB FOLDER PRECISION EPOCHS [BLOCK]`.
"""

import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks import twins
from benchmarks.errors import BenchmarkError
from benchmarks.models import PRECISIONS, cpu, cpu_times, share_of_others
from benchmarks.processes import numbers_of
from keras_fracture import training
from keras_fracture.experiment.splits import Split, load_splits
from keras_fracture.machine import BFLOAT16
from keras_fracture.models.preprocessing import scale
from keras_fracture.papers import classifier
from keras_fracture.papers.ibrahim_gan import experiment as ibrahim
from keras_fracture.papers.ibrahim_gan.config import Config as IbrahimConfig
from keras_fracture.papers.lisbon_resnet import experiment as lisbon
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonConfig
from keras_fracture.papers.targets import one_hot
from keras_fracture.training import precision as policy

# Name, side of an image in pixels, epochs after the first one, whose length nobody waits for twice.
JOBS = (("lisbon_resnet", 112, 1), ("lisbon_resnet", 224, 1), ("ibrahim_gan", 64, 5))
_BATCH = 32
_BLOCKS = (1, 8, 32)  # steps a call; an epoch is a whole number of each
_BARE_STEPS = 20
# By name the variables of its environment.
_PYTORCH = {"PyTorch": {}, "PyTorch, threads sleep": {"OMP_WAIT_POLICY": "PASSIVE"}}


def measure_jobs(jobs=JOBS, count=None, repeats=2, precisions=None, show=print):
    """Times epochs on the embedded data set: training, metrics, validation, and where the recipe has one, a checkpoint.

    `lisbon_resnet` trains its ResNet-18 with augmentation through `training.fit`, `ibrahim_gan` its compact CNN
    through `training.fit_briefly`, also with other numbers of steps a call. PyTorch does the same work, see
    `torch_jobs`, as it comes and with OpenMP threads that sleep while they wait; the faster one counts. Images are
    prepared beforehand on both sides. Every training has a process of its own, and the sides take turns; the first
    epoch of each is not counted.

    Args:
        jobs: Tuples as in `JOBS`.
        count: Training images, of which whole blocks of steps are taken; None is all.
        repeats: Turns; medians of all epochs count.
        precisions: Some of `models.PRECISIONS`, None as in `models.measure`. Bfloat16 is "auto" of
            `training.precision.configure` here, and autocast in PyTorch.
        show: Function called with a line for every job as soon as it is known.

    Returns:
        A dict of name to number: "JOB, SIDE pixels, PRECISION: WHAT", images a second, ratios, and the share of the
        CPU that other programs used, None where it is not known. Where that is not about 0, ratios say nothing.

    Raises:
        BenchmarkError: PyTorch is missing, `repeats` or `count` is not positive, or a training failed.
    """
    if repeats < 1 or (count is not None and count < 1):
        raise BenchmarkError(f"repeats and count must be 1 or more. Received: {repeats} and {count}")
    twins.pytorch()
    if precisions is None:
        precisions = PRECISIONS if BFLOAT16 & set(cpu()["flags"]) else PRECISIONS[:1]
    numbers = {}
    for job, size, epochs in jobs:
        with tempfile.TemporaryDirectory() as folder:
            images = _write_images(job, size, count, Path(folder))
            for precision in precisions:
                before = cpu_times()
                rates = _rates(job, folder, precision, epochs, repeats, images)
                rates["other programs"] = share_of_others(before, cpu_times(), os.cpu_count())
                title = f"{job}, {size} pixels, {precision}"
                numbers |= {f"{title}: {what}": number for what, number in rates.items()}
                show(f"{title}: {rates['ours / PyTorch']:.2f} of PyTorch's images a second")
    return numbers


def _write_images(job, size, count, folder):
    """Prepares the images and keeps them for both sides; returns how many are trained on."""
    config = _config(job, size)
    paper = lisbon if job == "lisbon_resnet" else ibrahim
    sets = load_splits(config, paper.preprocess(config), config.policies[0])
    most = min(len(sets["train"].labels), count or sys.maxsize)
    # Else `fit_briefly` would round the epoch up, and PyTorch would not.
    block = _BATCH * (max(_BLOCKS) if job == "ibrahim_gan" else 1)
    most = max(most - most % block, block)
    arrays = {}
    for name in ("train", "validation"):
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = (
            sets[name].images[:most],
            sets[name].labels[:most],
        )
    np.savez(folder / "images.npz", **arrays)
    return most


def _config(job, size):
    if job == "lisbon_resnet":
        return LisbonConfig(data="phantom", models=("resnet18",), image_size=size, augment=True)
    return IbrahimConfig(data="phantom", image_size=size)


def _rates(job, folder, precision, epochs, repeats, images):
    """Images a second by what was measured, and ratios."""
    given = job, folder, precision, epochs + 1
    own = ibrahim._BLOCK if job == "ibrahim_gan" else 1
    settings = {
        "ours" if block == own else f"ours, {block} steps a call": (__name__, *given, block)
        for block in (_BLOCKS if job == "ibrahim_gan" else (1,))
    }
    settings |= dict.fromkeys(_PYTORCH, ("benchmarks.torch_jobs", *given))
    turns = {name: [] for name in settings}
    for _ in range(repeats):
        for name, command in settings.items():
            turns[name].append(numbers_of(*command, variables=_PYTORCH.get(name)))
    # Each process gives seconds of the bare step, of the first epoch, and of the others.
    rates = {
        name: images / float(np.median([epoch for _, _, *rest in several for epoch in rest]))
        for name, several in turns.items()
    }
    bare = {
        name: _BATCH / float(np.median([step for step, *_ in several])) for name, several in turns.items()
    }
    rates["ours / PyTorch"] = rates["ours"] / max(rates[name] for name in _PYTORCH)
    theirs = max(bare[name] for name in _PYTORCH)
    bare = {
        "bare step: ours": bare["ours"],
        "bare step: PyTorch": theirs,
        "bare step: ratio": bare["ours"] / theirs,
    }
    return rates | bare


class _Clock(keras.callbacks.Callback):
    """Seconds of each epoch, all that happens at its end included."""

    def __init__(self):
        super().__init__()
        self.times = []

    @property
    def seconds(self):
        """Of each epoch."""
        return np.diff(self.times).tolist()

    def on_epoch_begin(self, epoch, logs=None):
        self.times.append(time.perf_counter())

    def on_train_end(self, logs=None):
        self.times.append(time.perf_counter())


def train(job, sets, folder, epochs, block=1):
    """Trains as the recipe does.

    Args:
        job: "lisbon_resnet" or "ibrahim_gan".
        sets: "train" and "validation" to uint8 images `(n, size, size, 1)` and labels `(n,)`.
        folder: Where history and checkpoint are written.
        epochs: Epochs.
        block: Steps a call.

    Returns:
        Seconds of each epoch, and of a step alone on one batch; and the history, a dict of metric to its values.
    """
    size = sets["train"][0].shape[1]
    config = dataclasses.replace(_config(job, size), epochs=epochs)
    clock = _Clock()
    if job == "lisbon_resnet":
        model, history = _lisbon(config, sets, Path(folder), clock)
    else:
        model = ibrahim.build_classifier(config)
        model.steps_per_execution = block
        _with(model, clock)
        options = {"epochs": epochs, "batch_size": config.batch_size, "validation": sets["validation"]}
        history = training.fit_briefly(model, *sets["train"], **options)
    return clock.seconds, _bare_step(model, job, *sets["train"]), history


def _lisbon(config, sets, folder, clock):
    splits = {name: Split(*arrays, None) for name, arrays in sets.items()}
    steps = config.epochs * (len(splits["train"].labels) // config.batch_size)
    model = classifier.start_model(config, lisbon.METHOD, config.models[0], splits["train"])
    trained = classifier.compile_model(config, lisbon.METHOD, model, splits, steps)
    _with(trained, clock)
    history = classifier.fit(config, trained, model, splits, config.seed, folder / "training" / "run")
    return model, history.to_dict("list")


def _with(model, callback):
    """Adds a callback to those that `fit` will be given: last, behind checkpoints."""
    fit = model.fit
    model.fit = lambda *given, callbacks, **named: fit(*given, callbacks=[*callbacks, callback], **named)


def _bare_step(model, job, images, labels):
    """Median seconds of a step on a batch that is already there."""
    images = np.repeat(scale(images[:_BATCH], model.pixel_range), model.channels, axis=3)
    labels = one_hot(labels) if job == "lisbon_resnet" else labels.astype("float32")
    batch = tf.constant(images), tf.constant(labels[:_BATCH])
    step = tf.function(model.train_step)
    seconds = [twins.seconds(lambda: float(step(batch)["loss"])) for _ in range(_BARE_STEPS)]
    return float(np.median(seconds[2:]))


def _main(job, folder, precision, epochs, block):
    policy.configure("auto" if precision == "bfloat16" else "float32")
    keras.utils.set_random_seed(0)
    with np.load(Path(folder) / "images.npz") as arrays:
        sets = {
            name: (arrays[f"{name}_images"], arrays[f"{name}_labels"]) for name in ("train", "validation")
        }
    with tempfile.TemporaryDirectory() as own:
        seconds, bare, _ = train(job, sets, own, int(epochs), int(block))
    print(bare, *seconds)


if __name__ == "__main__":
    _main(*sys.argv[1:])
