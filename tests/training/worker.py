"""Trains tiny networks, as one of several workers or alone: `python worker.py FOLDER STRATEGY:NAME...`.

Under "mirrored" the CPU counts as two devices. With `--die N` the process ends itself in epoch N, counted from 0.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import numpy as np

from keras_fracture import models, training  # before Keras and TensorFlow, which it sets up
from keras_fracture.errors import FractureError
from keras_fracture.models.preprocessing import SYMMETRIC, scale
from keras_fracture.training import distribution

import keras  # isort: skip
import tensorflow as tf  # isort: skip

EPOCHS = 2
STEPS = 10  # an epoch
BATCH = 8


def images(side=32, seed=0):
    """24 images, uint8 `(24, side, side, 1)`."""
    return np.random.default_rng(seed).integers(0, 256, (24, side, side, 1), np.uint8)


def dcgan():
    """With classes, augmentation that adapts, the penalty R1 and a weight average."""
    shape = {"image_size": 32, "channels": 1, "width": 4, "num_classes": 2}
    gan = training.AdversarialModel(
        models.create("dcgan_generator", **shape),
        models.create("dcgan_discriminator", **shape),
        augment=training.AdaptiveAugment(0.5, images=1000, seed=3),
        r1=0.1,
        ema=0.9,
        seed=7,
    )
    # Adam's usual epsilon turns rounding errors of the smallest gradients into whole steps.
    g_optimizer, d_optimizer = (training.Adam(2e-4, 0.5, epsilon=1e-4) for _ in range(2))
    gan.compile(g_optimizer=g_optimizer, d_optimizer=d_optimizer)

    def stream(first):
        return training.make_train_dataset(
            images(), np.arange(24) % 2, batch_size=BATCH, seed=1, first_epoch=first, steps=STEPS,
            pixel_range=SYMMETRIC,
        )  # fmt: skip

    return gan, stream, {}


def uneven():
    """By Keras's own `fit`, which cuts the last batch into 4 images and 3."""
    gan, _, _ = dcgan()
    gan.run_eagerly = True  # two steps take less time than tracing one
    held = scale(images()[:15], SYMMETRIC), np.arange(15) % 2
    return gan, None, {"x": tf.data.Dataset.from_tensor_slices(held).batch(BATCH)}


def unit():
    """With weight decay and a weight average."""
    shape = {"preset": "nips2017", "image_size": 32, "channels": 1, "width": 4}
    model = training.UNITModel(
        models.create("unit", **shape),
        *(models.create("unit_discriminator", **shape) for _ in range(2)),
        ema=0.9,
        seed=5,
    )
    # Biases before normalisation have gradients that are rounding errors only; Adam would follow them.
    g_optimizer, d_optimizer = (keras.optimizers.SGD(1e-5, momentum=0.9) for _ in range(2))
    model.compile(g_optimizer=g_optimizer, d_optimizer=d_optimizer)

    def stream(first):
        return training.pairs_of(
            images(seed=1), images(seed=2), batch_size=4, seed=1, first_epoch=first, steps=STEPS
        )

    return model, stream, {}


def resnet18():
    """With L2, class weights, a warm-up and validation whose last batch is not full."""
    # A low rate: where a rounding error moves one activation across 0, gradients jump. Maps of one pixel would do
    # so all the time: their batch statistics are of a handful of values.
    model = models.create("resnet18", num_classes=2, image_size=64, channels=1, width=8)
    training.add_l2(model, 1e-3)
    model.compile(
        training.sgd(1e-5, 100, warmup=5),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
    )
    labels = np.eye(2, dtype="float32")[np.arange(24) % 3 // 2]

    def stream(first):
        return training.make_train_dataset(
            images(64, seed=3), labels, batch_size=2 * BATCH, seed=1, first_epoch=first, steps=STEPS
        )

    held = (images(64, seed=4)[:19] / np.float32(255), labels[:19])
    validation = tf.data.Dataset.from_tensor_slices(held).batch(6)
    return model, stream, {"validation_data": validation, "class_weight": {0: 0.75, 1: 1.5}}


def plain():
    """Keras's own batch normalisation, whose statistics each replica takes of its own rows."""
    model = keras.Sequential(
        [
            keras.layers.Input((32, 32, 1)),
            keras.layers.BatchNormalization(momentum=0.0),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")

    def stream(first):
        return training.make_train_dataset(images(), np.zeros(24, "float32"), batch_size=24, seed=1)

    return model, stream, {}


def dense():
    """The least that has weights to lose."""
    model = keras.Sequential(
        [
            keras.layers.Input((32, 32, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, "tanh"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "mse")

    def stream(first):
        return training.make_train_dataset(
            images(),
            np.arange(24, dtype="float32") % 2,
            batch_size=BATCH,
            seed=1,
            first_epoch=first,
            steps=STEPS,
        )

    return model, stream, {}


KINDS = {"dense": dense, "dcgan": dcgan, "unit": unit, "resnet18": resnet18, "plain": plain, "uneven": uneven}


class Die(keras.callbacks.Callback):
    """Ends the process in the middle of an epoch, as a machine that is taken away does."""

    def __init__(self, epoch):
        super().__init__()
        self.last, self.epoch = epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.last and batch == STEPS // 2:
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder, strategy, name, callbacks=()):
    """Two epochs; the first worker keeps history, backup and weights in FOLDER/STRATEGY/NAME."""
    with distribution.using(strategy) as spread, spread.worker_dir(Path(folder, strategy, name)) as own:
        keras.utils.set_random_seed(1)
        with spread.scope():
            model, stream, options = KINDS[name]()
        if stream is None:
            own.mkdir(parents=True)
            model.fit(**options, verbose=0)
        else:
            training.fit(model, stream, EPOCHS, own, callbacks=callbacks, verbose=0, **options)
        np.savez(own / "weights.npz", *(one.numpy() for one in model.weights))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("jobs", nargs="+")
    parser.add_argument("--die", type=int)
    given = parser.parse_args()
    if any(job.startswith("mirrored") for job in given.jobs):
        two = [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    try:
        for job in given.jobs:
            train(given.folder, *job.split(":"), callbacks=[] if given.die is None else [Die(given.die)])
    except FractureError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
