"""PyTorch twin of the ResNets, with the names torchvision gives their parameters."""

import torch
from torch import nn


class Residual(nn.Module):
    """A basic block (two 3x3) or a bottleneck (1x1, 3x3, 1x1), with or without shortcut."""

    def __init__(self, inner, width, bottleneck, stride=1, dilation=1, shortcut=True):
        super().__init__()
        outer = width * 4 if bottleneck else width
        plan = [(3, stride, dilation, width), (3, 1, dilation, width)]
        if bottleneck:
            plan = [(1, 1, 1, width), (3, stride, dilation, width), (1, 1, 1, outer)]
        self.steps, channels = len(plan), inner
        for step, (kernel, step_stride, spread, filters) in enumerate(plan, 1):
            padding = spread * (kernel // 2)
            layer = nn.Conv2d(channels, filters, kernel, step_stride, padding, spread, bias=False)
            self.add_module(f"conv{step}", layer)
            self.add_module(f"bn{step}", nn.BatchNorm2d(filters))
            channels = filters
        self.shortcut = shortcut
        self.downsample = None
        if stride > 1 or inner != outer:  # in the DRN authors' code also where no shortcut uses it
            self.downsample = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, x):
        y = x
        for step in range(1, self.steps + 1):
            y = getattr(self, f"bn{step}")(getattr(self, f"conv{step}")(y))
            if step < self.steps:
                y = torch.relu(y)
        if self.shortcut:
            y = y + (x if self.downsample is None else self.downsample(x))
        return torch.relu(y)


def stage(inner, width, depth, bottleneck, stride=1, dilation=1, first_dilation=None, shortcut=True):
    """A Sequential of blocks, and its number of channels."""
    outer = width * 4 if bottleneck else width
    blocks = [Residual(inner, width, bottleneck, stride, first_dilation or dilation, shortcut)]
    blocks += [Residual(outer, width, bottleneck, 1, dilation, shortcut) for _ in range(depth - 1)]
    return nn.Sequential(*blocks), outer


class ResNet(nn.Module):
    def __init__(
        self,
        depths,
        bottleneck,
        num_classes=2,
        channels=3,
        width=64,
        strides=(1, 2, 2, 2),
        dilations=(1, 1, 1, 1),
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inner = width
        for index in range(4):
            made, inner = stage(
                inner,
                width * 2**index,
                depths[index],
                bottleneck,
                strides[index],
                dilations[index],
                first_dilation=1,
            )
            self.add_module(f"layer{index + 1}", made)
        self.fc = nn.Linear(inner, num_classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))
