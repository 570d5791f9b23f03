"""A tiny GAN with average and dropout; `python killed_run.py FOLDER EPOCHS` trains it until it is killed."""

import sys

import keras
import numpy as np

from keras_fracture.models.dense_gan import DenseDiscriminator, DenseGenerator
from keras_fracture.models.preprocessing import SYMMETRIC
from keras_fracture.training import running
from keras_fracture.training.adversarial import AdversarialModel

STEPS = 3


def pictures():
    """24 pictures, uint8 `(24, 16, 16, 1)`."""
    return np.random.default_rng(0).integers(0, 256, (24, 16, 16, 1), np.uint8)


def stream(first):
    """Three steps an epoch."""
    return running.epochs_of(pictures(), batch_size=8, seed=1, first_epoch=first, pixel_range=SYMMETRIC)


def model():
    """Compiled; the same weights at every call."""
    keras.utils.set_random_seed(1)
    generator = DenseGenerator(latent_dim=8, image_size=16, channels=1, width=1 / 16)
    discriminator = DenseDiscriminator(image_size=16, channels=1, width=1 / 8, dropout=0.3)
    gan = AdversarialModel(generator, discriminator, ema=0.9, seed=7)
    gan.compile(keras.optimizers.Adam(1e-3, 0.5), keras.optimizers.Adam(1e-3, 0.5))
    return gan


if __name__ == "__main__":
    running.fit(model(), stream, int(sys.argv[2]), sys.argv[1], verbose=0)
