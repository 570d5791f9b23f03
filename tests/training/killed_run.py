"""Tiny GANs; `python killed_run.py FOLDER EPOCHS KIND` trains one until it is killed.

Kind "dense" has dropout and a weight average, "dcgan" classes, DiffAugment and noise drawn twice.
"""

import sys

import keras
import numpy as np

from keras_fracture import models
from keras_fracture.models.dense_gan import DenseDiscriminator, DenseGenerator
from keras_fracture.models.preprocessing import SYMMETRIC
from keras_fracture.training import running
from keras_fracture.training.adversarial import AdversarialModel
from keras_fracture.training.augmentation import DiffAugment

STEPS = 3


def images(side=16):
    """24 images, uint8 `(24, side, side, 1)`."""
    return np.random.default_rng(0).integers(0, 256, (24, side, side, 1), np.uint8)


def stream(first, kind="dense"):
    """Three steps an epoch."""
    inputs = (images(),) if kind == "dense" else (images(32), np.arange(24) % 2)
    return running.make_train_dataset(*inputs, batch_size=8, seed=1, first_epoch=first, pixel_range=SYMMETRIC)


def model(kind="dense"):
    """Compiled; the same weights at every call."""
    keras.utils.set_random_seed(1)
    if kind == "dense":
        generator = DenseGenerator(latent_dim=8, image_size=16, channels=1, width=1 / 16)
        discriminator = DenseDiscriminator(image_size=16, channels=1, width=1 / 8, dropout=0.3)
        gan = AdversarialModel(generator, discriminator, ema=0.9, seed=7)
    else:
        shape = {"image_size": 32, "channels": 1, "width": 2, "num_classes": 2}
        gan = AdversarialModel(
            models.create("dcgan_generator", **shape),
            models.create("dcgan_discriminator", **shape),
            augment=DiffAugment(seed=3),
            fresh_noise=True,
            seed=7,
        )
    gan.compile(g_optimizer=keras.optimizers.Adam(1e-3, 0.5), d_optimizer=keras.optimizers.Adam(1e-3, 0.5))
    return gan


def train(folder, epochs, kind="dense", **options):
    """The model and its history."""
    gan = model(kind)
    return gan, running.fit(gan, lambda first: stream(first, kind), epochs, folder, verbose=0, **options)


if __name__ == "__main__":
    train(sys.argv[1], int(sys.argv[2]), sys.argv[3])
