"""UNIT, the translator of `gupta_unit`: one encoder and one decoder a domain around a shared latent space."""

import keras
from keras import layers, ops

from keras_fracture.errors import ModelError
from keras_fracture.models.convolution import Conv2DTranspose
from keras_fracture.models.freezing import frozen_whole
from keras_fracture.models.layers import (
    CroppedConv2DTranspose,
    InstanceNormalization,
    NearestUpSampling2D,
    ReflectConv2D,
    SampleNormalization,
    conv,
)
from keras_fracture.models.preprocessing import SYMMETRIC
from keras_fracture.models.registry import register

PRESETS = ("nips2017", "munit")
DOMAINS = ("a", "b")  # healthy, lesion
LEVELS = 4  # strided convolutions of a discriminator
_NORMAL = {"class_name": "RandomNormal", "config": {"stddev": 0.02}}
_KAIMING = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_in", "distribution": "untruncated_normal"},
}
_INITIALIZERS = {"nips2017": _NORMAL, "munit": _KAIMING}  # of the translator


def _check(preset, image_size, channels, width, least):
    if preset not in PRESETS:
        raise ModelError(f"preset must be one of {', '.join(PRESETS)}. Received: {preset!r}")
    if image_size % 4 or image_size < least:
        raise ModelError(
            f"image_size must be a multiple of 4, and {least} or more for {preset}. Received: {image_size}"
        )
    if channels not in (1, 3) or width < 1:
        raise ModelError(f"channels must be 1 or 3 and width positive. Received: {channels}, {width}")


def _convolution(preset, filters, kernel_size, strides=1, initializer=None, *, name):
    initializer = initializer or _INITIALIZERS[preset]
    if preset == "nips2017":
        return conv(filters, kernel_size, strides, use_bias=True, initializer=initializer, name=name)
    return ReflectConv2D(filters, kernel_size, strides, kernel_initializer=initializer, name=name)


@keras.saving.register_keras_serializable("keras_fracture")
class ResidualBlock(layers.Layer):
    """Two 3x3 convolutions with instance normalisation, ReLU between them, beside an identity.

    Args:
        filters: Channels in and out.
        preset: "munit" mirrors maps at their border, "nips2017" adds zeros.
    """

    def __init__(self, filters, preset="nips2017", **kwargs):
        super().__init__(**kwargs)
        self.filters, self.preset = filters, preset
        first, second = (_convolution(preset, filters, 3, name=name) for name in ("conv1", "conv2"))
        steps = [first, InstanceNormalization(name="norm1"), layers.ReLU(name="relu"), second]
        self.inner = keras.Sequential([*steps, InstanceNormalization(name="norm2")], name="inner")

    def build(self, input_shape):
        self.inner.build(tuple(input_shape))
        self.built = True
        frozen_whole(self)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def call(self, maps):
        return maps + self.inner(maps)

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "preset": self.preset}


def _residual_blocks(preset, width):
    """The residual blocks at either side of the latent space, those that both domains share excepted."""
    count = 3 if preset == "nips2017" else 4
    return [ResidualBlock(4 * width, preset, name=f"residual{number}") for number in range(1, count + 1)]


def _encoder(preset, size, channels, width, name):
    """The image down to a quarter of its side, and the residual blocks that no other domain has."""
    steps, kernel = [], 3 if preset == "nips2017" else 4
    for number, filters in enumerate((width, 2 * width, 4 * width), 1):
        window, stride = (7, 1) if number == 1 else (kernel, 2)
        steps.append(_convolution(preset, filters, window, stride, name=f"conv{number}"))
        if preset == "nips2017":
            steps.append(layers.LeakyReLU(0.01, name=f"leaky_relu{number}"))
        else:
            steps.append(InstanceNormalization(name=f"norm{number}"))
            steps.append(layers.ReLU(name=f"relu{number}"))
    steps += _residual_blocks(preset, width)
    return keras.Sequential([keras.Input((size, size, channels)), *steps], name=name)


def _decoder(preset, size, channels, width, name):
    """Latent maps up to the image."""
    steps = _residual_blocks(preset, width)
    for number, filters in enumerate((2 * width, width), 1):
        if preset == "nips2017":
            steps.append(
                CroppedConv2DTranspose(filters, kernel_initializer=_NORMAL, name=f"conv_transpose{number}")
            )
            steps.append(layers.LeakyReLU(0.01, name=f"leaky_relu{number}"))
        else:
            steps.append(NearestUpSampling2D(name=f"upsampling{number}"))
            steps.append(_convolution(preset, filters, 5, name=f"conv{number}"))
            steps += [SampleNormalization(name=f"norm{number}"), layers.ReLU(name=f"relu{number}")]
    if preset == "nips2017":
        steps.append(Conv2DTranspose(channels, 1, kernel_initializer=_NORMAL, name="conv_transpose3"))
    else:
        steps.append(_convolution(preset, channels, 7, name="conv3"))
    steps.append(layers.Activation("tanh", dtype="float32", name="tanh"))
    return keras.Sequential([keras.Input((size // 4, size // 4, 4 * width)), *steps], name=name)


@register("unit")
@keras.saving.register_keras_serializable("keras_fracture")
class UNIT(keras.Model):
    """Translates images between two unpaired domains, "a" (healthy) and "b" (lesion).

    Source: Liu, Breuel, Kautz, "Unsupervised image-to-image translation networks", NIPS 2017, which Gupta, Chopra
    and Ledig, "Generative Bone Lesions Synthesis for Data Augmentation in X-ray", follow. Two presets:

    - "nips2017": the paper's. The domains share the encoders' last and the decoders' first residual block.
      Zeros at the border, LeakyReLU(0.01), transposed convolutions. 18,017,286 parameters at the defaults.
    - "munit": the authors' later one (Huang et al. 2018). Nothing is shared. Mirrored borders, ReLU, instance
      normalisation in the encoders, normalisation of a whole sample and nearest upsampling in the decoders.
      11,140,483 parameters a domain at the defaults.

    A latent is the mean of a Gaussian of unit variance; `training.UNITModel` adds the noise, nothing here does.

    Input: float32 `(batch, image_size, image_size, channels)`, range -1 to 1.
    Output: the same, translated from "a" to "b"; always float32.

    Args:
        preset: "nips2017" or "munit".
        image_size: A multiple of 4, 8 or more.
        channels: 3 or 1.
        width: Channels of the first map; latents have four times as many.

    Raises:
        ModelError: An argument is out of range, or there is no such domain.
    """

    pixel_range = SYMMETRIC

    def __init__(self, preset="nips2017", image_size=128, channels=3, width=64, **kwargs):
        super().__init__(**kwargs)
        # Below 8 a latent has one pixel, where instance normalisation leaves nothing.
        _check(preset, image_size, channels, width, least=8)
        self.preset, self.image_size, self.channels, self.width = preset, image_size, channels, width
        self.encoder_a, self.encoder_b = (
            _encoder(preset, image_size, channels, width, f"encoder_{domain}") for domain in DOMAINS
        )
        self.shared_encoder, self.shared_decoder = (
            [ResidualBlock(4 * width, preset, name=name)] if preset == "nips2017" else []
            for name in ("shared_encoder", "shared_decoder")
        )
        self.decoder_a, self.decoder_b = (
            _decoder(preset, image_size, channels, width, f"decoder_{domain}") for domain in DOMAINS
        )
        self.build((None, image_size, image_size, channels))

    def build(self, input_shape):
        side = self.image_size // 4
        for block in (*self.shared_encoder, *self.shared_decoder):
            block.build((None, side, side, 4 * self.width))
        self.built = True

    def _of(self, part, domain):
        if domain not in DOMAINS:
            raise ModelError(f"A domain is one of {', '.join(DOMAINS)}. Received: {domain!r}")
        return getattr(self, f"{part}_{domain}")

    def encode(self, images, domain):
        """Returns the latents `(batch, image_size / 4, image_size / 4, 4 * width)` of a domain's images."""
        latents = self._of("encoder", domain)(images)
        for block in self.shared_encoder:
            latents = block(latents)
        return latents

    def decode(self, latents, domain):
        """Returns a domain's images, float32 in -1 to 1, from latents of either domain."""
        return self._of("decoder", domain)(self._shared(latents))

    def decode_both(self, latents):
        """Returns the images of both domains from the same latents, with one pass of what the domains share."""
        latents = self._shared(latents)
        return self.decoder_a(latents), self.decoder_b(latents)

    def _shared(self, latents):
        for block in self.shared_decoder:
            latents = block(latents)
        return latents

    def translate(self, images, source="a", target="b"):
        """Returns images of domain `source` as images of domain `target`, without noise."""
        return self.decode(self.encode(images, source), target)

    def call(self, images, training=False):
        return self.translate(images)

    def get_config(self):
        return super().get_config() | {
            "preset": self.preset,
            "image_size": self.image_size,
            "channels": self.channels,
            "width": self.width,
        }


def _discriminator_of_scale(preset, size, channels, width, name):
    """An image of one scale to a map of logits."""
    steps, kernel, slope = [], *((3, 0.01) if preset == "nips2017" else (4, 0.2))
    for level in range(LEVELS):
        conv_name = f"conv{level + 1}"
        steps.append(_convolution(preset, width * 2**level, kernel, 2, initializer=_NORMAL, name=conv_name))
        steps.append(layers.LeakyReLU(slope, name=f"leaky_relu{level + 1}"))
    last = f"conv{LEVELS + 1}"
    steps.append(layers.Conv2D(1, 1, kernel_initializer=_NORMAL, dtype="float32", name=last))
    return keras.Sequential([keras.Input((size, size, channels)), *steps], name=name)


@register("unit_discriminator")
@keras.saving.register_keras_serializable("keras_fracture")
class UNITDiscriminator(keras.Model):
    """Tells real images of one domain from generated ones at three scales, a network each; the sigmoid is in the loss.

    Source: as `UNIT`. 4,654,467 parameters at the defaults, with "munit" 8,271,171. Between scales the image is
    averaged over 3x3 pixels at stride 2, padding left out of the average. (The code released with the NIPS paper
    takes every second pixel of an image smoothed by a 3x3 Gaussian.)

    Input: float32 `(batch, image_size, image_size, channels)`, range -1 to 1.
    Output: a list of three float32 maps of logits `(batch, side, side, 1)`, the finest first; positive means
        "real". A side is about 1/16, 1/32 and 1/64 of the image's, and 1 at least.

    Args:
        preset: "nips2017" (3x3 convolutions, LeakyReLU(0.01), zeros at the border) or "munit" (4x4,
            LeakyReLU(0.2), mirrored borders).
        image_size: A multiple of 4: 8 or more, with "munit" 64 or more.
        channels: 3 or 1.
        width: Channels of the first map of a scale.

    Raises:
        ModelError: An argument is out of range.
    """

    pixel_range = SYMMETRIC
    scales = 3

    def __init__(self, preset="nips2017", image_size=128, channels=3, width=64, **kwargs):
        super().__init__(**kwargs)
        # The third scale has a quarter of the side. A border can be mirrored from a side of 2 on, which four
        # halvings, the last one included, need 16 for.
        _check(preset, image_size, channels, width, least=8 if preset == "nips2017" else 64)
        self.preset, self.image_size, self.channels, self.width = preset, image_size, channels, width
        self.judges = [
            _discriminator_of_scale(preset, -(-image_size // 2**scale), channels, width, f"scale{scale + 1}")
            for scale in range(self.scales)
        ]
        self.build((None, image_size, image_size, channels))

    def build(self, input_shape):
        self.built = True

    def call(self, images, training=False):
        logits = []
        for discriminator in self.judges:
            if logits:
                images = _halved(images)
            logits.append(discriminator(images))
        return logits

    def get_config(self):
        return super().get_config() | {
            "preset": self.preset,
            "image_size": self.image_size,
            "channels": self.channels,
            "width": self.width,
        }


def _halved(images):
    """Averages over 3x3 pixels at stride 2, around every second pixel and of what lies in the image."""
    border = ((0, 0), (1, 1), (1, 1), (0, 0))
    ones = ops.ones((1, *images.shape[1:3], 1), images.dtype)
    averages, inside = (ops.average_pool(ops.pad(maps, border), 3, 2) for maps in (images, ones))
    return averages / inside
