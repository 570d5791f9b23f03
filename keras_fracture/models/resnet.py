"""ResNet-18 to ResNet-152, the classifiers of `lisbon_resnet`."""

import keras
from keras import layers, ops

from keras_fracture.errors import ModelError
from keras_fracture.models.freezing import frozen_whole
from keras_fracture.models.layers import PaddedMaxPooling2D, batch_norm, conv, run_through, told
from keras_fracture.models.preprocessing import UNIT, checked_normalisation, normalise
from keras_fracture.models.registry import register


class _Block(layers.Layer):
    """What both residual blocks share: the shortcut, and the sum.

    Args:
        filters: Channels of the 3x3 convolutions; the block gives `filters * expansion`.
        stride: Of the (first) 3x3 convolution and of the shortcut.
        project: Whether the shortcut is a 1x1 convolution with BatchNormalization, not the identity.
        dilation: Pair: of the first and of the second 3x3 convolution. A bottleneck has only the second.
        residual: False drops the shortcut (DRN's last levels).
    """

    expansion = 1

    def __init__(self, filters, stride=1, project=False, dilation=(1, 1), residual=True, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.stride, self.project = filters, stride, project
        self.dilation, self.residual = tuple(dilation), residual
        self.define()
        self.downsample = None
        if project:
            self.downsample = keras.Sequential(
                [conv(filters * self.expansion, 1, stride, name="0"), batch_norm(name="1")], name="downsample"
            )

    def build(self, input_shape):
        shape = tuple(input_shape)
        for layer in self.path():
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        if self.downsample is not None:
            self.downsample.build(tuple(input_shape))
        self.built = True
        frozen_whole(self)

    def compute_output_shape(self, input_shape):
        sides = [None if side is None else -(-side // self.stride) for side in input_shape[1:3]]
        return (input_shape[0], *sides, self.filters * self.expansion)

    def call(self, maps, training=False):
        *hidden, last_conv, last_norm = self.path()
        inner = maps
        for convolution, norm in zip(hidden[::2], hidden[1::2], strict=True):
            inner = ops.relu(norm(convolution(inner), training=training))
        inner = last_norm(last_conv(inner), training=training)
        if self.residual:
            inner += maps if self.downsample is None else self.downsample(maps, training=training)
        return ops.relu(inner)

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "stride": self.stride,
            "project": self.project,
            "dilation": self.dilation,
            "residual": self.residual,
        }


@keras.saving.register_keras_serializable("keras_fracture")
class BasicBlock(_Block):
    """Two 3x3 convolutions, each with BatchNormalization, around an identity (ResNet-18 and 34)."""

    def define(self):
        self.conv1 = conv(self.filters, 3, self.stride, self.dilation[0], name="conv1")
        self.bn1 = batch_norm(name="bn1")
        self.conv2 = conv(self.filters, 3, 1, self.dilation[1], name="conv2")
        self.bn2 = batch_norm(name="bn2")

    def path(self):
        return self.conv1, self.bn1, self.conv2, self.bn2


@keras.saving.register_keras_serializable("keras_fracture")
class Bottleneck(_Block):
    """1x1, 3x3, 1x1 convolutions, the last four times as wide; the stride is on the 3x3 (v1.5)."""

    expansion = 4

    def define(self):
        self.conv1 = conv(self.filters, 1, name="conv1")
        self.bn1 = batch_norm(name="bn1")
        self.conv2 = conv(self.filters, 3, self.stride, self.dilation[1], name="conv2")
        self.bn2 = batch_norm(name="bn2")
        self.conv3 = conv(self.filters * self.expansion, 1, name="conv3")
        self.bn3 = batch_norm(name="bn3")

    def path(self):
        return self.conv1, self.bn1, self.conv2, self.bn2, self.conv3, self.bn3


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


@register("resnet18", block="basic", depths=(2, 2, 2, 2))
@register("resnet34", block="basic", depths=(3, 4, 6, 3))
@register("resnet50", block="bottleneck", depths=(3, 4, 6, 3))
@register("resnet101", block="bottleneck", depths=(3, 4, 23, 3))
@register("resnet152", block="bottleneck", depths=(3, 8, 36, 3))
@keras.saving.register_keras_serializable("keras_fracture")
class ResNet(keras.Model):
    """Residual network whose layers are named as in torchvision, so that its weights load by name.

    Sources: Lisbon, "Detecting Bone Fractures Utilizing Res-Net Variants", Methodologies; He et al. 2016,
    "Deep Residual Learning for Image Recognition", Table 1. Trainable parameters
    with two classes: 11,177,538 (18), 21,285,698 (34), 23,512,130 (50), 42,504,258 (101), 58,147,906 (152).

    Input: float32 `(batch, image_size, image_size, channels)`, range 0 to 1.
    Output: float32 logits `(batch, num_classes)`; with one class, the logit of "finding". Without the top,
    the last map `(batch, image_size / 32, image_size / 32, 8 * width * expansion)`.

    Args:
        block: "basic" or "bottleneck".
        depths: Blocks in each of the four stages.
        num_classes: Width of the output.
        channels: 3 (grey repeated, as in the paper) or 1.
        width: Channels of the first stage, 64 in the paper; each stage doubles it.
        image_size: Side of the square input in pixels, or None for any size.
        include_top: Whether to end in the average pool and the dense layer.
        strides: Of each stage.
        dilations: Of the 3x3 convolutions of each stage, its first block excepted (DRN-A).
        mean: What `(images - mean) / std` takes off pixels of 0 to 1 before the first layer: a number, or one a
            channel; ImageNet's are in `models.preprocessing.IMAGENET`.
        std: What it divides by, alike.

    Raises:
        ModelError: An unknown block, not four positive depths, strides and dilations, or `mean` or `std` out of
            range.
    """

    pixel_range = UNIT

    def __init__(
        self,
        block="basic",
        depths=(2, 2, 2, 2),
        num_classes=1,
        channels=3,
        width=64,
        image_size: int | None = 224,
        include_top=True,
        strides=(1, 2, 2, 2),
        dilations=(1, 1, 1, 1),
        mean: float | tuple = 0.0,
        std: float | tuple = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if block not in BLOCKS:
            raise ModelError(f"block must be one of {', '.join(BLOCKS)}. Received: {block!r}")
        if any(len(four) != 4 or min(four) < 1 for four in (depths, strides, dilations)):
            raise ModelError(
                "depths, strides and dilations must be four positive numbers each. "
                f"Received: {depths}, {strides}, {dilations}"
            )
        self.block, self.depths, self.num_classes = block, tuple(depths), num_classes
        self.channels, self.width, self.image_size = channels, width, image_size
        self.include_top, self.strides, self.dilations = include_top, tuple(strides), tuple(dilations)
        self.mean, self.std = checked_normalisation(mean, std, channels)

        self.conv1 = conv(width, 7, 2, name="conv1")
        self.bn1 = batch_norm(name="bn1")
        self.maxpool = PaddedMaxPooling2D(name="maxpool")
        self.layer1, self.layer2, self.layer3, self.layer4 = (self._stage(stage) for stage in range(4))
        if include_top:
            self.avgpool = layers.GlobalAveragePooling2D(name="avgpool")
            self.fc = layers.Dense(num_classes, dtype="float32", name="fc")
        self.build((None, image_size, image_size, channels))

    def _stage(self, stage):
        block, filters = BLOCKS[self.block], self.width * 2**stage
        stride, dilation = self.strides[stage], self.dilations[stage]
        wider = stage > 0 or block.expansion > 1
        rest = [
            block(filters, dilation=(dilation, dilation), name=str(number))
            for number in range(1, self.depths[stage])
        ]
        first = block(filters, stride, project=wider or stride > 1, name="0")
        return keras.Sequential([first, *rest], name=f"layer{stage + 1}")

    def build(self, input_shape):
        shape = tuple(input_shape)
        parts = [self.conv1, self.bn1, self.maxpool, self.layer1, self.layer2, self.layer3, self.layer4]
        for layer in parts + ([self.avgpool, self.fc] if self.include_top else []):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.built = True

    def features(self, images, training=None):
        """Returns the last maps `(batch, image_size / 32, image_size / 32, 8 * width * expansion)`."""
        images = normalise(images, self.mean, self.std)
        maps = self.maxpool(ops.relu(self.bn1(self.conv1(images), **told(training))))
        return run_through((self.layer1, self.layer2, self.layer3, self.layer4), maps, training)

    def classify(self, maps, training=None):
        """Returns the logits of what `features` gave."""
        return self.fc(self.avgpool(maps))

    def call(self, images, training=False):
        maps = self.features(images, training)
        return self.classify(maps, training) if self.include_top else maps

    def get_config(self):
        return super().get_config() | {
            "block": self.block,
            "depths": self.depths,
            "num_classes": self.num_classes,
            "channels": self.channels,
            "width": self.width,
            "image_size": self.image_size,
            "include_top": self.include_top,
            "strides": self.strides,
            "dilations": self.dilations,
            "mean": self.mean,
            "std": self.std,
        }
