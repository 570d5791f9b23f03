"""The dense-reshape-Conv2DTranspose GAN of the `ibrahim_gan` poster."""

import keras
from keras import layers

from keras_fracture.errors import ModelError
from keras_fracture.models.biases import Dense
from keras_fracture.models.convolution import Conv2D, Conv2DTranspose
from keras_fracture.models.layers import NarrowConv2D
from keras_fracture.models.preprocessing import SYMMETRIC, UNIT
from keras_fracture.models.registry import register

SLOPE = 0.2  # of LeakyReLU


def _check(image_size, width):
    if image_size % 8 or image_size < 8:
        raise ModelError(f"image_size must be a multiple of 8. Received: {image_size}")
    if width <= 0 or int(64 * width) < 1:
        raise ModelError(f"width must be a positive factor of at least 1/64. Received: {width}")


@register("dense_gan_generator")
@keras.saving.register_keras_serializable("keras_fracture")
class DenseGenerator(keras.Model):
    """Noise to image: Dense, reshape to a small map, three Conv2DTranspose that double it, Conv2D 5x5.

    Source: Ibrahim and Bukhari, "Leveraging GANs for Improved Medical Image Classification", Architecture -
    Generative Adversarial Network. 3,979,651 parameters at the defaults.

    Input: float `(batch, latent_dim)`, standard normal.
    Output: float32 images `(batch, image_size, image_size, channels)`, range -1 to 1 (`tanh`) or 0 to 1
    (`sigmoid`, which the Keras example that the poster grew from uses).

    Args:
        latent_dim: Length of the noise vector.
        image_size: Side of the square output in pixels, a multiple of 8.
        channels: 1 or 3.
        width: Factor on every channel count; 1 is the poster's, smaller ones are for CPUs.
        output_activation: "tanh" or "sigmoid".
    """

    def __init__(
        self, latent_dim=128, image_size=64, channels=3, width=1.0, output_activation="tanh", **kwargs
    ):
        super().__init__(**kwargs)
        _check(image_size, width)
        if output_activation not in ("tanh", "sigmoid"):
            raise ModelError(f"output_activation must be tanh or sigmoid. Received: {output_activation!r}")
        self.latent_dim, self.image_size, self.channels = latent_dim, image_size, channels
        self.width, self.output_activation = width, output_activation
        side, first = image_size // 8, int(128 * width)
        self.body = keras.Sequential(
            [
                keras.Input((latent_dim,)),
                Dense(side * side * first, name="dense"),
                layers.Reshape((side, side, first), name="reshape"),
            ],
            name="body",
        )
        for number, filters in enumerate((128, 256, 512), 1):
            name = f"conv_transpose{number}"
            self.body.add(Conv2DTranspose(int(filters * width), 4, strides=2, padding="same", name=name))
            self.body.add(layers.LeakyReLU(SLOPE, name=f"leaky_relu{number}"))
        self.body.add(
            NarrowConv2D(
                channels, 5, padding="same", activation=output_activation, dtype="float32", name="conv"
            )
        )
        self.build((None, latent_dim))

    @property
    def pixel_range(self):
        """Range of the images made."""
        return SYMMETRIC if self.output_activation == "tanh" else UNIT

    def build(self, input_shape):
        self.built = True

    def call(self, noise, training=False):
        return self.body(noise, training=training)

    def get_config(self):
        return super().get_config() | {
            "latent_dim": self.latent_dim,
            "image_size": self.image_size,
            "channels": self.channels,
            "width": self.width,
            "output_activation": self.output_activation,
        }


@register("dense_gan_discriminator")
@keras.saving.register_keras_serializable("keras_fracture")
class DenseDiscriminator(keras.Model):
    """Image to one logit: three strided convolutions, Flatten, Dropout, Dense.

    Source: as `DenseGenerator`. 404,801 parameters at the defaults.

    Input: float32 `(batch, image_size, image_size, channels)`, in the generator's `pixel_range`.
    Output: float32 logits `(batch, 1)`; positive means "real".

    Args:
        image_size: Side of the square input in pixels, a multiple of 8.
        channels: 1 or 3.
        width: Factor on every channel count.
        dropout: Rate before the dense layer, 0 or more and below 1.

    Raises:
        ModelError: `image_size`, `width` or `dropout` is out of range.
    """

    def __init__(self, image_size=64, channels=3, width=1.0, dropout=0.2, **kwargs):
        super().__init__(**kwargs)
        _check(image_size, width)
        if not 0 <= dropout < 1:
            raise ModelError(f"dropout must be 0 or more and below 1. Received: {dropout}")
        self.image_size, self.channels, self.width, self.dropout = image_size, channels, width, dropout
        self.body = keras.Sequential([keras.Input((image_size, image_size, channels))], name="body")
        for number, filters in enumerate((64, 128, 128), 1):
            name = f"conv{number}"
            self.body.add(Conv2D(int(filters * width), 4, strides=2, padding="same", name=name))
            self.body.add(layers.LeakyReLU(SLOPE, name=f"leaky_relu{number}"))
        self.body.add(layers.Flatten(name="flatten"))
        self.body.add(layers.Dropout(dropout, name="dropout"))
        self.body.add(layers.Dense(1, dtype="float32", name="dense"))
        self.build((None, image_size, image_size, channels))

    def build(self, input_shape):
        self.built = True

    def call(self, images, training=False):
        return self.body(images, training=training)

    def get_config(self):
        return super().get_config() | {
            "image_size": self.image_size,
            "channels": self.channels,
            "width": self.width,
            "dropout": self.dropout,
        }
