"""The DCGAN of `bai_dcgan`: transposed convolutions up from noise, strided convolutions down to a logit."""

import keras
from keras import layers, ops

from keras_fracture.errors import ModelError
from keras_fracture.models.convolution import Conv2D, Conv2DTranspose
from keras_fracture.models.layers import SpectralConv2D, batch_norm, told
from keras_fracture.models.preprocessing import SYMMETRIC
from keras_fracture.models.registry import register

ACTIVATIONS = {
    "silu": lambda name: layers.Activation("silu", name=name),
    "leaky_relu": lambda name: layers.LeakyReLU(0.2, name=name),
}


def _levels(image_size, width):
    """Channels of the maps from 4x4 up to half the image's side, for `width` channels at the last."""
    levels = {32: 3, 64: 4, 128: 5}
    if image_size not in levels or width < 1:
        raise ModelError(
            f"image_size must be 32, 64 or 128 and width positive. Received: {image_size}, {width}"
        )
    return [width * 2**level for level in reversed(range(levels[image_size]))]


def _check_classes(num_classes):
    if num_classes is not None and num_classes < 2:
        raise ModelError(f"num_classes must be None, or 2 or more. Received: {num_classes}")


def _one_hot(labels, num_classes, dtype):
    """Labels `(batch,)` as `(batch, num_classes)`; None for a network without classes."""
    if num_classes is None and labels is not None:
        raise ModelError("This network has no classes: build it with num_classes. Received: labels")
    if num_classes is None:
        return None
    if labels is None:
        raise ModelError(f"This network needs labels from 0 to {num_classes - 1}. Received: None")
    labels = labels if hasattr(labels, "shape") else ops.convert_to_tensor(labels)
    if len(labels.shape) != 1:
        raise ModelError(f"labels must have the shape (batch,). Received: {tuple(labels.shape)}")
    wrong = [one for one in _values(labels) if one not in range(num_classes)]
    if wrong:  # which would be no class, or, cut off, another
        raise ModelError(
            f"labels must be whole numbers from 0 to {num_classes - 1}. Received: {', '.join(map(str, wrong[:9]))}"
        )
    return ops.one_hot(ops.cast(labels, "int32"), num_classes, dtype=dtype)


def _both(inputs, labels):
    """The first input and labels, which `predict` gives as one list."""
    if not isinstance(inputs, list | tuple):
        return inputs, labels
    if labels is not None or len(inputs) != 2:
        received = "both" if labels is not None else f"a list of {len(inputs)}"
        raise ModelError(f"Give labels once, as the second of a list or as labels. Received: {received}")
    return inputs


def _values(labels):
    """The numbers in labels, or none while a graph is traced, which has no numbers yet."""
    try:
        return ops.convert_to_numpy(labels).tolist()
    except (NotImplementedError, TypeError, ValueError):
        return []


def _normal():
    return keras.initializers.RandomNormal(0.0, 0.02)


def _norm(name):
    return batch_norm(gamma_initializer=keras.initializers.RandomNormal(1.0, 0.02), name=name)


@register("dcgan_generator")
@keras.saving.register_keras_serializable("keras_fracture")
class DCGANGenerator(keras.Model):
    """Noise to image: 4x4 transposed convolutions with BatchNormalization and ReLU, then tanh.

    Source: Bai, "Bone fractured X-ray data generation based on DCGAN"; Radford et al. 2016, whose latent length
    and initialisation fill in what is not stated. The text says stride 1 throughout, from which no 64x64
    image can come: stride 2 after the first. 3,576,704 parameters at the defaults, and layers in the order of
    PyTorch's DCGAN example, so that its weights (`main.0.weight` ...) load by name.

    With classes the label, one-hot, is joined to the noise (Mirza and Osindero 2014).

    Input: float `(batch, latent_dim)`, standard normal; with classes also int `(batch,)`, 0 to
        num_classes - 1, as `labels` or both in a list. ModelError where labels are missing, too much or no class.
    Output: float32 images `(batch, image_size, image_size, channels)`, range -1 to 1.

    Args:
        latent_dim: Length of the noise vector.
        image_size: 32, 64 or 128.
        channels: 3 or 1.
        width: Channels of the last map before the image; each map before has twice as many.
        num_classes: Classes to tell apart, 2 or more, or None for images of one kind.
    """

    pixel_range = SYMMETRIC

    def __init__(
        self, latent_dim=100, image_size=64, channels=3, width=64, num_classes: int | None = None, **kwargs
    ):
        super().__init__(**kwargs)
        filters = _levels(image_size, width)
        _check_classes(num_classes)
        self.latent_dim, self.image_size, self.channels, self.width = latent_dim, image_size, channels, width
        self.num_classes = num_classes
        self.main = keras.Sequential([keras.Input((1, 1, latent_dim + (num_classes or 0)))], name="main")
        for number, maps in enumerate([*filters, channels], 1):
            stride, padding = (1, "valid") if number == 1 else (2, "same")
            self.main.add(
                Conv2DTranspose(
                    maps,
                    4,
                    stride,
                    padding,
                    use_bias=False,
                    kernel_initializer=_normal(),
                    name=f"conv{number}",
                )
            )
            if number <= len(filters):
                self.main.add(_norm(f"bn{number}"))
                self.main.add(layers.ReLU(name=f"relu{number}"))
        self.main.add(layers.Activation("tanh", dtype="float32", name="tanh"))
        self.build((None, latent_dim))

    def build(self, input_shape):
        self.built = True

    def call(self, noise, labels=None, training=False):
        noise, labels = _both(noise, labels)
        classes = _one_hot(labels, self.num_classes, noise.dtype)
        if classes is not None:
            noise = ops.concatenate([noise, classes], axis=1)
        return self.main(noise[:, None, None, :], training=training)

    def get_config(self):
        return super().get_config() | {
            "latent_dim": self.latent_dim,
            "image_size": self.image_size,
            "channels": self.channels,
            "width": self.width,
            "num_classes": self.num_classes,
        }


@register("dcgan_discriminator")
@keras.saving.register_keras_serializable("keras_fracture")
class DCGANDiscriminator(keras.Model):
    """Image to one logit: 4x4 convolutions, BatchNormalization on all but the first and the last.

    Source: as `DCGANGenerator`; SiLU is the paper's own change, its ancestor has LeakyReLU(0.2). The sigmoid is
    in the loss. 2,765,568 parameters at the defaults.

    With classes it is a projection discriminator (Miyato and Koyama 2018): the last convolution gives one number
    for all and one for each class, and the logit is the first plus that of the image's class.

    Input: float32 `(batch, image_size, image_size, channels)`, range -1 to 1; with classes also int `(batch,)`,
        0 to num_classes - 1, as `labels` or both in a list. ModelError where labels are missing, too much or no class.
    Output: float32 logits `(batch, 1)`; positive means "real".

    Args:
        image_size: 32, 64 or 128.
        channels: 3 or 1.
        width: Channels of the first map; each further map has twice as many.
        activation: "silu" or "leaky_relu".
        num_classes: Classes to tell apart, 2 or more, or None for images of one kind.
        spectral_norm: Whether every convolution is a `SpectralConv2D`.
        dropout: Share of each map's values, after its activation, that are dropped in training: 0 or more, below 1.
    """

    pixel_range = SYMMETRIC

    def __init__(
        self, image_size=64, channels=3, width=64, activation="silu", num_classes: int | None = None,
        spectral_norm=False, dropout=0.0, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        filters = _levels(image_size, width)[::-1]
        if activation not in ACTIVATIONS:
            raise ModelError(f"activation must be one of {', '.join(ACTIVATIONS)}. Received: {activation!r}")
        if not 0 <= dropout < 1:
            raise ModelError(f"dropout must be 0 or more and below 1. Received: {dropout}")
        self.image_size, self.channels, self.width = image_size, channels, width
        _check_classes(num_classes)
        self.activation, self.num_classes, self.spectral_norm = activation, num_classes, spectral_norm
        self.dropout = dropout
        conv = SpectralConv2D if spectral_norm else Conv2D
        self.main = keras.Sequential([keras.Input((image_size, image_size, channels))], name="main")
        for number, maps in enumerate(filters, 1):
            self.main.add(
                conv(maps, 4, 2, "same", use_bias=False, kernel_initializer=_normal(), name=f"conv{number}")
            )
            if number > 1:
                self.main.add(_norm(f"bn{number}"))
            self.main.add(ACTIVATIONS[activation](f"{activation}{number}"))
            if dropout:
                self.main.add(layers.Dropout(dropout, name=f"dropout{number}"))
        logits, last = 1 + (num_classes or 0), f"conv{len(filters) + 1}"
        self.main.add(
            conv(logits, 4, use_bias=False, kernel_initializer=_normal(), dtype="float32", name=last)
        )
        self.build((None, image_size, image_size, channels))

    def build(self, input_shape):
        self.built = True

    def call(self, images, labels=None, training=False):
        images, labels = _both(images, labels)
        return self.call_with_classes(images, labels, training)[0]

    def call_with_classes(self, images, labels=None, training=None):
        """What `call` returns, and the logits of the classes `(batch, num_classes)`; None without classes."""
        logits = ops.squeeze(self.main(images, **told(training)), (1, 2))
        classes = _one_hot(labels, self.num_classes, logits.dtype)
        if classes is None:
            return logits, None
        return logits[:, :1] + ops.sum(logits[:, 1:] * classes, axis=1, keepdims=True), logits[:, 1:]

    def get_config(self):
        return super().get_config() | {
            "image_size": self.image_size,
            "channels": self.channels,
            "width": self.width,
            "activation": self.activation,
            "num_classes": self.num_classes,
            "spectral_norm": self.spectral_norm,
            "dropout": self.dropout,
        }
