"""Dilated residual networks, the classifiers of `gupta_unit`."""

import keras
from keras import layers, ops

from keras_fracture.errors import ModelError
from keras_fracture.models.layers import batch_norm, conv, run_through
from keras_fracture.models.preprocessing import UNIT, checked_normalisation, normalise
from keras_fracture.models.registry import register
from keras_fracture.models.resnet import BLOCKS, BasicBlock, ResNet

STRIDES = (1, 2, 2, 2, 1, 1, 1, 1)
DILATIONS = (1, 1, 1, 1, 2, 4, 2, 1)

# DRN-A is a ResNet whose last two stages dilate instead of striding (section 2 of the paper).
register("drn_a_50", block="bottleneck", depths=(3, 4, 6, 3), strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))(
    ResNet
)


def _convolution(filters, kernel_size, names=("0", "1", "2"), stride=1, dilation=1):
    """A convolution, its BatchNormalization and its ReLU, named as the authors name them."""
    return [
        conv(filters, kernel_size, stride, dilation, name=names[0]),
        batch_norm(name=names[1]),
        layers.ReLU(name=names[2]),
    ]


@register("drn_c_26", arch="C", block="basic", depths=(1, 1, 2, 2, 2, 2, 1, 1))
@register("drn_c_42", arch="C", block="basic", depths=(1, 1, 3, 4, 6, 3, 1, 1))
@register("drn_c_58", arch="C", block="bottleneck", depths=(1, 1, 3, 4, 6, 3, 1, 1))
@register("drn_d_22", arch="D", block="basic", depths=(1, 1, 2, 2, 2, 2, 1, 1))
@register("drn_d_24", arch="D", block="basic", depths=(1, 1, 2, 2, 2, 2, 2, 2))
@register("drn_d_38", arch="D", block="basic", depths=(1, 1, 3, 4, 6, 3, 1, 1))
@register("drn_d_40", arch="D", block="basic", depths=(1, 1, 3, 4, 6, 3, 2, 2))
@register("drn_d_54", arch="D", block="bottleneck", depths=(1, 1, 3, 4, 6, 3, 1, 1))
@register("drn_d_56", arch="D", block="bottleneck", depths=(1, 1, 3, 4, 6, 3, 2, 2))
@register("drn_d_105", arch="D", block="bottleneck", depths=(1, 1, 3, 4, 23, 3, 1, 1))
@register("drn_d_107", arch="D", block="bottleneck", depths=(1, 1, 3, 4, 23, 3, 2, 2))
@keras.saving.register_keras_serializable("keras_fracture")
class DRN(keras.Model):
    """DRN-C and DRN-D: eight levels, output stride 8, layers named as in the authors' released weights.

    Source: Yu, Koltun, Funkhouser 2017, "Dilated Residual Networks", sections 2 and 4, Figure 5. A 7x7 stem
    and levels 1 and 2 replace the max pool; levels 5 and 6 dilate by 2 and 4; levels 7 and 8 dilate by 2
    and 1 and have no shortcuts, to remove gridding. Levels 1, 2, 7 and 8 are basic blocks in C, plain
    convolutions in D.

    Trainable parameters with two classes: C-26 20,614,610; C-42 30,722,770; C-58 40,030,034; D-22 15,881,778;
    D-24 20,602,418; D-38 25,989,938; D-40 30,710,578; D-54 35,297,202; D-56 40,017,842; D-105 54,289,330;
    D-107 59,009,970. The authors' C-58 holds 1,049,600 more (41,079,634): a projection of level 7 that its
    forward pass, having no shortcut there, never uses. It is not built here; `interop` passes over it in their
    files, and writes one as it starts, so that their code loads ours.

    Input: float32 `(batch, image_size, image_size, channels)`, range 0 to 1.
    Output: float32 logits `(batch, num_classes)`; with one class, the logit of "finding". Without the top,
    the last map `(batch, image_size / 8, image_size / 8, widths[-1])`.

    Args:
        arch: "C" or "D".
        block: "basic" or "bottleneck", of levels 3 to 6.
        depths: Blocks or convolutions in each of the eight levels.
        num_classes: Width of the output.
        channels: 3 (grey repeated) or 1.
        widths: Channels of each level; a bottleneck level gives four times as many.
        image_size: Side of the square input in pixels, or None for any size.
        include_top: Whether to end in the average pool and the 1x1 convolution that is the classifier.
        mean: What `(images - mean) / std` takes off pixels of 0 to 1 before the first layer: a number, or one a
            channel; ImageNet's are in `models.preprocessing.IMAGENET`.
        std: What it divides by, alike.

    Raises:
        ModelError: An unknown arch or block, or not eight positive depths and widths; or `mean` or `std` out of range.
    """

    pixel_range = UNIT

    def __init__(
        self,
        arch="D",
        block="basic",
        depths=(1, 1, 2, 2, 2, 2, 1, 1),
        num_classes=1,
        channels=3,
        widths=(16, 32, 64, 128, 256, 512, 512, 512),
        image_size: int | None = 224,
        include_top=True,
        mean: float | tuple = 0.0,
        std: float | tuple = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if arch not in ("C", "D") or block not in BLOCKS:
            raise ModelError(f"arch must be C or D, block basic or bottleneck. Received: {arch!r}, {block!r}")
        if any(len(eight) != 8 or min(eight) < 1 for eight in (depths, widths)):
            raise ModelError(
                f"depths and widths must be eight positive numbers each. Received: {depths}, {widths}"
            )
        self.arch, self.block, self.depths = arch, block, tuple(depths)
        self.num_classes, self.channels, self.widths = num_classes, channels, tuple(widths)
        self.image_size, self.include_top = image_size, include_top
        self.mean, self.std = checked_normalisation(mean, std, channels)

        if arch == "C":
            self.conv1, self.bn1, self.relu = _convolution(widths[0], 7, ("conv1", "bn1", "relu"))
        else:
            self.layer0 = keras.Sequential(_convolution(widths[0], 7), name="layer0")
        channels_in = widths[0]
        for level in range(8):
            plain = level in (0, 1, 6, 7)
            if plain and arch == "D":
                layer, channels_in = self._convolutions(level), widths[level]
            else:
                layer, channels_in = self._blocks(level, BasicBlock if plain else BLOCKS[block], channels_in)
            setattr(self, f"layer{level + 1}", layer)
        if include_top:
            self.avgpool = layers.GlobalAveragePooling2D(keepdims=True, name="avgpool")
            self.fc = conv(num_classes, 1, use_bias=True, dtype="float32", name="fc")
        self.build((None, image_size, image_size, channels))

    def _convolutions(self, level):
        steps = []
        for index in range(self.depths[level]):
            stride = STRIDES[level] if index == 0 else 1
            names = [str(3 * index + step) for step in range(3)]
            steps += _convolution(self.widths[level], 3, names, stride, DILATIONS[level])
        return keras.Sequential(steps, name=f"layer{level + 1}")

    def _blocks(self, level, block, channels_in):
        filters, residual = self.widths[level], level < 6
        channels_out, dilation = filters * block.expansion, (DILATIONS[level],) * 2
        project = residual and (STRIDES[level] > 1 or channels_in != channels_out)
        blocks = [block(filters, STRIDES[level], project, dilation, residual, name="0")]
        blocks += [
            block(filters, 1, False, dilation, residual, name=str(number))
            for number in range(1, self.depths[level])
        ]
        return keras.Sequential(blocks, name=f"layer{level + 1}"), channels_out

    @property
    def unused_projections(self):
        """Blocks of the authors' code whose projection is never used: a dict of name to (in, out) channels."""
        if self.arch == "D":
            return {}
        channels = [width * (BLOCKS[self.block].expansion if 1 < level < 6 else 1)
                    for level, width in enumerate(self.widths)]  # fmt: skip
        pairs = {f"layer{level + 1}.0": (channels[level - 1], channels[level]) for level in (6, 7)}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def _parts(self):
        stem = [self.conv1, self.bn1, self.relu] if self.arch == "C" else [self.layer0]
        return stem + [getattr(self, f"layer{level}") for level in range(1, 9)]

    def build(self, input_shape):
        shape = tuple(input_shape)
        for layer in self._parts() + ([self.avgpool, self.fc] if self.include_top else []):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.built = True

    def features(self, images, training=None):
        """Returns the last maps `(batch, image_size / 8, image_size / 8, widths[-1])`."""
        return run_through(self._parts(), normalise(images, self.mean, self.std), training)

    def classify(self, maps, training=None):
        """Returns the logits of what `features` gave."""
        return ops.squeeze(self.fc(self.avgpool(maps)), (1, 2))

    def call(self, images, training=False):
        maps = self.features(images, training)
        return self.classify(maps, training) if self.include_top else maps

    def get_config(self):
        return super().get_config() | {
            "arch": self.arch,
            "block": self.block,
            "depths": self.depths,
            "num_classes": self.num_classes,
            "channels": self.channels,
            "widths": self.widths,
            "image_size": self.image_size,
            "include_top": self.include_top,
            "mean": self.mean,
            "std": self.std,
        }
