"""Trains tiny networks as one worker: `python worker.py FOLDER STRATEGY EPOCHS NAME...`; `--devices` splits the CPU.

Writes `NAME.npz`, all weights after training, into FOLDER/worker-K, and prints each epoch's number.
"""

import argparse
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_fracture import models, training
from keras_fracture.errors import FractureError
from keras_fracture.models.preprocessing import SYMMETRIC
from keras_fracture.training import distribution

STEPS = 10  # an epoch
BATCH = 8


def pictures(side=32, seed=0):
    """24 pictures, uint8 `(24, side, side, 1)`."""
    return np.random.default_rng(seed).integers(0, 256, (24, side, side, 1), np.uint8)


def dcgan():
    """With classes, DiffAugment, the penalty R1, noise drawn twice and a weight average."""
    shape = {"image_size": 32, "channels": 1, "width": 4, "num_classes": 2}
    gan = training.AdversarialModel(
        models.create("dcgan_generator", **shape),
        models.create("dcgan_discriminator", **shape),
        augment=training.AdaptiveAugment(0.5, pictures=1000, seed=3),
        redraw=True,
        r1=0.1,
        ema=0.9,
        seed=7,
    )
    gan.compile(*(training.Adam(1e-3, 0.5, epsilon=EPSILON) for _ in range(2)))

    def stream(first):
        return training.epochs_of(
            pictures(), np.arange(24) % 2, batch_size=BATCH, seed=1, first_epoch=first, steps=STEPS,
            pixel_range=SYMMETRIC,
        )  # fmt: skip

    return gan, stream, {}


def unit():
    """With weight decay and a weight average."""
    shape = {"preset": "nips2017", "image_size": 32, "channels": 1, "width": 4}
    model = training.UNITModel(
        models.create("unit", **shape),
        *(models.create("unit_discriminator", **shape) for _ in range(2)),
        ema=0.9,
        seed=5,
    )
    model.compile(*(training.Adam(1e-3, 0.5, epsilon=EPSILON) for _ in range(2)))

    def stream(first):
        return training.pairs_of(
            pictures(seed=1), pictures(seed=2), batch_size=4, seed=1, first_epoch=first, steps=STEPS
        )

    return model, stream, {}


def resnet18():
    """With L2, class weights, a warm-up and validation whose last batch is not full."""
    model = models.create("resnet18", num_classes=2, image_size=32, channels=1, width=8)
    training.add_l2(model, 1e-3)
    model.compile(
        training.sgd(0.05, 100, warmup=5),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
    )
    labels = np.eye(2, dtype="float32")[np.arange(24) % 3 // 2]

    def stream(first):
        return training.epochs_of(
            pictures(seed=3), labels, batch_size=BATCH, seed=1, first_epoch=first, steps=STEPS
        )

    held = (pictures(seed=4)[:19] / np.float32(255), labels[:19])
    validation = tf.data.Dataset.from_tensor_slices(held).batch(6)
    return model, stream, {"validation_data": validation, "class_weight": {0: 0.75, 1: 1.5}}


EPSILON = 1e-7
KINDS = {"dcgan": dcgan, "unit": unit, "resnet18": resnet18}


class Say(keras.callbacks.Callback):
    """Prints each step, so that whoever watches knows when to strike."""

    def on_train_batch_end(self, batch, logs=None):
        print("step", self.epoch, batch, flush=True)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


def train(folder, strategy, epochs, names):
    """Trains each of `names`; the first worker keeps history, backups and weights in FOLDER/NAME."""
    with distribution.using(strategy):
        for name in names:
            with distribution.own_folder(Path(folder, name)) as own:
                keras.utils.set_random_seed(1)
                with distribution.scope():
                    model, stream, options = KINDS[name]()
                training.fit(model, stream, epochs, own, callbacks=[Say()], verbose=0, **options)
                np.savez(own / "weights.npz", **{one.path: one.numpy() for one in model.weights})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("strategy")
    parser.add_argument("epochs", type=int)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--devices", type=int, default=1)
    given = parser.parse_args()
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpus[0], [tf.config.LogicalDeviceConfiguration() for _ in range(given.devices)]
    )
    try:
        train(given.folder, given.strategy, given.epochs, given.names)
    except FractureError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
