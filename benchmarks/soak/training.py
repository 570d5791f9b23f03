"""Long training: memory, descriptors and threads of a process, epoch by epoch, with every callback on."""

import statistics
import tempfile
import time
from pathlib import Path

import keras
import psutil

from keras_fracture import papers, training

# Trainings that do not end before their time, with every callback: sample grids, the evaluation of generated images,
# early stopping, and in both backups, history, the stop on NaN, a progress bar and TensorBoard.
RUNS = {
    "bai_dcgan": {
        "variant": "modern", "image_size": 64, "width": 16, "steps": 60, "epochs": 300, "eval_every": 5,
        "generated_images": 200,
    },
    "lisbon_resnet": {
        "data": "phantom", "models": ("resnet18",), "policies": ("grouped",), "image_size": 64, "patience": 10_000,
        "augment": True, "epochs": 300,
    },
}  # fmt: skip
WARM_UP = 0.2  # of the time
MOST_GROWTH = 0.02  # of memory


class _EnoughError(Exception):
    """The training is over; what the experiment does with it does not matter."""


class Watch(keras.callbacks.Callback):
    """Samples the process after every epoch, and stops the training when its time is up."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.process, self.samples = seconds, psutil.Process(), []
        self.began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic() - self.began
        memory = self.process.memory_info().rss
        self.samples.append((now, memory, self.process.num_fds(), self.process.num_threads()))
        if now > self.seconds:
            self.model.stop_training = True


def train(options):
    """Trains for `options.minutes` each; well is what holds neither more memory nor more descriptors in the end."""
    for key in [key for key in RUNS if key in options.papers]:
        settings, watch = RUNS[key], Watch(60 * options.minutes)
        fit = training.fit

        def watched(*arguments, watch=watch, fit=fit, callbacks=(), **keywords):
            fit(*arguments, callbacks=[*callbacks, watch], tensorboard=True, **keywords)
            raise _EnoughError

        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            training.fit = watched
            try:
                papers.reproduce(key, "smoke", out=Path(folder) / "run", **settings)
            except _EnoughError:
                pass
            finally:
                training.fit = fit
        details = _summary(watch.samples)
        well = (
            details["memory_growth"] < MOST_GROWTH and details["descriptors"][1] <= details["descriptors"][0]
        )
        details["seen"] = (
            f"{details['epochs']} epochs; memory {details['memory_mib'][0]:,} to {details['memory_mib'][1]:,} MiB "
            f"({details['memory_growth']:+.1%}), descriptors {details['descriptors'][0]} to {details['descriptors'][1]}"
        )
        minutes = round(watch.samples[-1][0] / 60)
        yield f"train_{key}", f"minutes of training, `{key}`", minutes, minutes * well, details


def _summary(samples):
    """First tenth after the warm-up against the last tenth: medians of memory, most descriptors and threads."""
    end = samples[-1][0]
    first, last = (
        [sample for sample in samples if begin * end <= sample[0] <= (begin + 0.1) * end]
        for begin in (WARM_UP, 0.9)
    )
    memory = [statistics.median(sample[1] for sample in part) for part in (first, last)]
    return {
        "epochs": len(samples),
        "memory_mib": [round(value / 2**20, 1) for value in memory],
        "memory_growth": memory[1] / memory[0] - 1,
        "descriptors": [max(sample[2] for sample in part) for part in (first, last)],
        "threads": [max(sample[3] for sample in part) for part in (first, last)],
        "curve_mib": [
            round(samples[int(share * (len(samples) - 1))][1] / 2**20)
            for share in (0, 0.1, 0.2, 0.4, 0.6, 0.8, 1)
        ],
    }
