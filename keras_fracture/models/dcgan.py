"""The DCGAN of `bai_dcgan`: transposed convolutions up from noise, strided convolutions down to a logit."""

import keras
from keras import layers, ops

from keras_fracture.errors import ModelError
from keras_fracture.models.layers import batch_norm
from keras_fracture.models.preprocessing import SYMMETRIC
from keras_fracture.models.registry import register

ACTIVATIONS = {"silu": lambda: layers.Activation("silu"), "leaky_relu": lambda: layers.LeakyReLU(0.2)}


def _levels(image_size, width):
    """Channels of the maps from 4x4 up to half the picture's side, for `width` channels at the last."""
    levels = {32: 3, 64: 4, 128: 5}
    if image_size not in levels or width < 1:
        raise ModelError(
            f"image_size must be 32, 64 or 128 and width positive. Received: {image_size}, {width}"
        )
    return [width * 2**level for level in reversed(range(levels[image_size]))]


def _normal():
    return keras.initializers.RandomNormal(0.0, 0.02)


def _norm():
    return batch_norm(gamma_initializer=keras.initializers.RandomNormal(1.0, 0.02))


@register("dcgan_generator")
@keras.saving.register_keras_serializable("keras_fracture")
class DCGANGenerator(keras.Model):
    """Noise to picture: 4x4 transposed convolutions with BatchNormalization and ReLU, then tanh.

    Source: Bai, "Bone fractured X-ray data generation based on DCGAN"; Radford et al. 2016, whose latent length
    and initialisation fill in what is not stated. The text says stride 1 throughout, from which no 64x64
    picture can come: stride 2 after the first. 3,576,704 parameters at the defaults, and layers named as in
    PyTorch's DCGAN example (`main.0.weight` ...), so that its weights load by name.

    Input: float `(batch, latent_dim)`, standard normal.
    Output: float32 pictures `(batch, image_size, image_size, channels)`, range -1 to 1.

    Args:
        latent_dim: Length of the noise vector.
        image_size: 32, 64 or 128.
        channels: 3 or 1.
        width: Channels of the last map before the picture; each map before has twice as many.
    """

    pixel_range = SYMMETRIC

    def __init__(self, latent_dim=100, image_size=64, channels=3, width=64, **kwargs):
        super().__init__(**kwargs)
        filters = _levels(image_size, width)
        self.latent_dim, self.image_size, self.channels, self.width = latent_dim, image_size, channels, width
        self.main = keras.Sequential([keras.Input((1, 1, latent_dim))], name="main")
        for level, outer in enumerate(filters):
            stride, padding = (2, "same") if level else (1, "valid")
            self.main.add(
                layers.Conv2DTranspose(
                    outer, 4, stride, padding, use_bias=False, kernel_initializer=_normal()
                )
            )
            self.main.add(_norm())
            self.main.add(layers.ReLU())
        self.main.add(
            layers.Conv2DTranspose(channels, 4, 2, "same", use_bias=False, kernel_initializer=_normal())
        )
        self.main.add(layers.Activation("tanh", dtype="float32"))
        self.build((None, latent_dim))

    def build(self, input_shape):
        self.built = True

    def call(self, noise, training=False):
        return self.main(ops.reshape(noise, (-1, 1, 1, self.latent_dim)), training=training)

    def get_config(self):
        return super().get_config() | {
            "latent_dim": self.latent_dim,
            "image_size": self.image_size,
            "channels": self.channels,
            "width": self.width,
        }


@register("dcgan_discriminator")
@keras.saving.register_keras_serializable("keras_fracture")
class DCGANDiscriminator(keras.Model):
    """Picture to one logit: 4x4 convolutions, BatchNormalization on all but the first and the last.

    Source: as `DCGANGenerator`; SiLU is the paper's own change, its ancestor has LeakyReLU(0.2). The sigmoid is
    in the loss. 2,765,568 parameters at the defaults.

    Input: float32 `(batch, image_size, image_size, channels)`, range -1 to 1.
    Output: float32 logits `(batch, 1)`; positive means "real".

    Args:
        image_size: 32, 64 or 128.
        channels: 3 or 1.
        width: Channels of the first map; each further map has twice as many.
        activation: "silu" or "leaky_relu".
    """

    pixel_range = SYMMETRIC

    def __init__(self, image_size=64, channels=3, width=64, activation="silu", **kwargs):
        super().__init__(**kwargs)
        filters = _levels(image_size, width)[::-1]
        if activation not in ACTIVATIONS:
            raise ModelError(f"activation must be one of {', '.join(ACTIVATIONS)}. Received: {activation!r}")
        self.image_size, self.channels, self.width = image_size, channels, width
        self.activation = activation
        self.main = keras.Sequential([keras.Input((image_size, image_size, channels))], name="main")
        for level, outer in enumerate(filters):
            self.main.add(layers.Conv2D(outer, 4, 2, "same", use_bias=False, kernel_initializer=_normal()))
            if level:
                self.main.add(_norm())
            self.main.add(ACTIVATIONS[activation]())
        self.main.add(layers.Conv2D(1, 4, use_bias=False, kernel_initializer=_normal(), dtype="float32"))
        self.build((None, image_size, image_size, channels))

    def build(self, input_shape):
        self.built = True

    def call(self, images, training=False):
        return ops.squeeze(self.main(images, training=training), (1, 2))

    def get_config(self):
        return super().get_config() | {
            "image_size": self.image_size,
            "channels": self.channels,
            "width": self.width,
            "activation": self.activation,
        }
