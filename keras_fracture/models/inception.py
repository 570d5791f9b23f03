"""The small Inception network of `garcia_inception`, and others of its family."""

import math

import keras
from keras import layers, ops

from keras_fracture.errors import ModelError
from keras_fracture.models.freezing import frozen_whole
from keras_fracture.models.layers import PaddedMaxPooling2D, batch_norm, conv, run_through
from keras_fracture.models.preprocessing import UNIT, checked_normalisation, normalise
from keras_fracture.models.registry import register

INITIALIZERS = ("he_fan_out", "pytorch")


def _unit(filters, kernel_size, strides=1, *, name):
    """A convolution with bias, then BatchNormalization, then ReLU."""
    return keras.Sequential(
        [
            conv(filters, kernel_size, strides, use_bias=True, name="conv"),
            batch_norm(name="bn"),
            layers.ReLU(name="relu"),
        ],
        name=name,
    )


def _start_as_pytorch(network):
    """Draws kernels and biases as PyTorch's Conv2d and Linear do: biases by fan-in, which Keras does not tell them."""
    limit = None
    for weight in network.trainable_variables:
        if weight.name == "kernel":
            limit = 1 / math.sqrt(math.prod(weight.shape[:-1]))
        if weight.name in ("kernel", "bias"):  # behind its kernel
            weight.assign(keras.initializers.RandomUniform(-limit, limit)(weight.shape, weight.dtype))


@keras.saving.register_keras_serializable("keras_fracture")
class InceptionBlock(layers.Layer):
    """Four branches of equal width, concatenated: 1x1, 3x3, 5x5 and max pool, in that order.

    The 3x3 and 5x5 follow a 1x1 reduction; a 1x1 follows the pool. Maps `(batch, height, width, channels)` to
    `(batch, height, width, 4 * filters)`.

    Args:
        filters: Channels of each branch.
        reduced: Channels of the two reductions.
    """

    def __init__(self, filters, reduced, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.reduced = filters, reduced
        self.branch1 = _unit(filters, 1, name="branch1")
        self.branch3 = keras.Sequential(
            [_unit(reduced, 1, name="reduce"), _unit(filters, 3, name="conv3")], name="branch3"
        )
        self.branch5 = keras.Sequential(
            [_unit(reduced, 1, name="reduce"), _unit(filters, 5, name="conv5")], name="branch5"
        )
        self.branch_pool = keras.Sequential(
            [layers.MaxPooling2D(3, 1, padding="same", name="maxpool"), _unit(filters, 1, name="conv1")],
            name="branch_pool",
        )

    def build(self, input_shape):
        for branch in (self.branch1, self.branch3, self.branch5, self.branch_pool):
            branch.build(tuple(input_shape))
        self.built = True
        frozen_whole(self)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], 4 * self.filters)

    def call(self, maps, training=False):
        branches = (self.branch1, self.branch3, self.branch5, self.branch_pool)
        return ops.concatenate([branch(maps, training=training) for branch in branches], axis=-1)

    def get_config(self):
        return super().get_config() | {"filters": self.filters, "reduced": self.reduced}


@register("inception_net")
@keras.saving.register_keras_serializable("keras_fracture")
class InceptionNet(keras.Model):
    """Strided 7x7 stem, Inception blocks with pooling between, global average, dense layer.

    Source: García Aguirre, "Convolutional neural network for fracture detection in x-ray images",
    architecture section and figure. 2,012,898 trainable parameters. The text leaves open the widths of the
    1x1 reductions (half the branch: `reduction`), the dropout rates (0.25) and the first weights (as in the code of
    the ResNet and DRN papers: `initializer`). Another net of the family:
    `InceptionNet(stem_width=64, stages=((64, False), (128, False)), dropout=0, image_size=112)`.

    Input: float32 `(batch, image_size, image_size, channels)`, range 0 to 1; the network itself normalises it
    with `mean` and `std`.
    Output: float32 logits `(batch, num_classes)`; the softmax is in the loss.

    Args:
        num_classes: Width of the output; the paper has two, with one it is the logit of "finding".
        stem_width: Channels of the first convolution.
        stages: `(branch width, max pool after it)` for every Inception block.
        reduction: Width of the 1x1 reductions over that of the branch.
        dropout: Rate after the stem and before the dense layer.
        image_size: Side of the square input in pixels, or None for any size.
        channels: 3 or 1.
        mean: Of the training images' pixels, a number or one a channel; the paper's set has 0.2184.
        std: Their standard deviation, alike; the paper's set has 0.2088.
        initializer: Of the first weights: "he_fan_out", He's normal kernels by fan-out and biases of 0; or "pytorch",
            PyTorch's defaults, kernels and biases uniform within one over the root of the fan-in.

    Raises:
        ModelError: No stages, a width or rate out of range, or no such initializer.
    """

    pixel_range = UNIT

    def __init__(
        self,
        num_classes=2,
        stem_width=32,
        stages=((32, False), (64, True), (128, False), (256, True)),
        reduction=0.5,
        dropout=0.25,
        image_size: int | None = 224,
        channels=3,
        mean: float | tuple = 0.0,
        std: float | tuple = 1.0,
        initializer="he_fan_out",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes, self.stem_width = num_classes, stem_width
        self.stages = tuple((int(filters), bool(pool)) for filters, pool in stages)
        self.reduction, self.dropout = reduction, dropout
        self.image_size, self.channels = image_size, channels
        self.mean, self.std = checked_normalisation(mean, std, channels)
        if not self.stages or min(filters for filters, _ in self.stages) < 1 or stem_width < 1:
            raise ModelError(
                "InceptionNet needs at least one stage, and positive widths. "
                f"Received: stem_width={stem_width}, stages={self.stages}"
            )
        if not (reduction > 0 and 0 <= dropout < 1):
            raise ModelError(
                "reduction must be above 0 and dropout at least 0 and below 1. "
                f"Received: reduction={reduction}, dropout={dropout}"
            )
        if initializer not in INITIALIZERS:
            raise ModelError(
                f"initializer must be one of {', '.join(INITIALIZERS)}. Received: {initializer!r:.60}"
            )
        self.initializer = initializer
        self.body = keras.Sequential(
            [
                keras.Input((image_size, image_size, channels)),
                _unit(stem_width, 7, 2, name="stem"),
                PaddedMaxPooling2D(name="stem_maxpool"),
                layers.Dropout(dropout, name="stem_dropout"),
            ],
            name="body",
        )
        for number, (filters, pool) in enumerate(self.stages, 1):
            reduced = max(1, int(filters * reduction))
            self.body.add(InceptionBlock(filters, reduced, name=f"inception{number}"))
            if pool:
                self.body.add(PaddedMaxPooling2D(name=f"maxpool{number}"))
        self._head = len(self.body.layers) - self.stages[-1][1]  # behind the last block
        self.body.add(layers.GlobalAveragePooling2D(name="avgpool"))
        self.body.add(layers.Dropout(dropout, name="dropout"))
        self.body.add(layers.Dense(num_classes, dtype="float32", name="fc"))
        self.build((None, image_size, image_size, channels))
        if initializer == "pytorch":
            _start_as_pytorch(self.body)

    def build(self, input_shape):
        self.built = True

    def features(self, images, training=None):
        """Returns the last block's maps `(batch, height, width, 4 * branch width)`, before any pool."""
        images = normalise(images, self.mean, self.std)
        return run_through(self.body.layers[: self._head], images, training)

    def classify(self, maps, training=None):
        """Returns the logits of what `features` gave."""
        return run_through(self.body.layers[self._head :], maps, training)

    def call(self, images, training=False):
        return self.classify(self.features(images, training), training)

    def get_config(self):
        return super().get_config() | {
            "num_classes": self.num_classes,
            "mean": self.mean,
            "std": self.std,
            "initializer": self.initializer,
            "stem_width": self.stem_width,
            "stages": self.stages,
            "reduction": self.reduction,
            "dropout": self.dropout,
            "image_size": self.image_size,
            "channels": self.channels,
        }
