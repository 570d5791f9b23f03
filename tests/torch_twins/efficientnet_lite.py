"""PyTorch twin of EfficientNet-Lite, with TensorFlow's padding: more below and to the right."""

import math

from torch import nn
from torch.nn import functional

# Kernel, stride, expansion, channels out, repeats.
PLAN = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)  # fmt: skip


def scaled(width, depth):
    """EfficientNet's rule: channels to a multiple of 8, blocks rounded up; of first and last stage the blocks stay."""
    stages = []
    for number, (kernel, stride, expansion, channels, repeats) in enumerate(PLAN):
        wide = max(8, int(channels * width + 4) // 8 * 8)
        wide += 8 * (wide < 0.9 * channels * width)
        deep = repeats if number in (0, len(PLAN) - 1) else math.ceil(repeats * depth)
        stages.append((kernel, stride, expansion, wide, deep))
    return tuple(stages)


PLANS = (PLAN, scaled(1.0, 1.1), scaled(1.1, 1.2))


class SamePadded(nn.Conv2d):
    def forward(self, x):
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        total = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:]]
        (top, left) = (each // 2 for each in total)
        return super().forward(functional.pad(x, (left, total[1] - left, top, total[0] - top)))


def convolution(inner, outer, kernel=1, stride=1, groups=1):
    return SamePadded(inner, outer, kernel, stride, groups=groups, bias=False)


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    def __init__(self, inner, outer, kernel, stride, expansion):
        super().__init__()
        wide = inner * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = convolution(inner, wide), norm(wide)
        self._depthwise_conv, self._bn1 = convolution(wide, wide, kernel, stride, groups=wide), norm(wide)
        self._project_conv, self._bn2 = convolution(wide, outer), norm(outer)
        self.expands, self.adds = expansion > 1, stride == 1 and inner == outer

    def forward(self, x):
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """Takes pixels of 0 to 1."""

    def __init__(self, num_classes=2, stages=PLAN, stem_width=32, head_width=1280):
        super().__init__()
        self._conv_stem, self._bn0 = convolution(3, stem_width, 3, 2), norm(stem_width)
        blocks, inner = [], stem_width
        for kernel, stride, expansion, outer, repeats in stages:
            for number in range(repeats):
                blocks.append(Block(inner, outer, kernel, stride if number == 0 else 1, expansion))
                inner = outer
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = convolution(inner, head_width), norm(head_width)
        self._fc = nn.Linear(head_width, num_classes)

    def forward(self, x):
        x = (x - 127 / 255) / (128 / 255)
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        x = functional.relu6(self._bn1(self._conv_head(self._blocks(x))))
        return self._fc(x.mean((2, 3)))
