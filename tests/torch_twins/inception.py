"""PyTorch twin of the Inception network."""

import torch
from torch import nn

PAPER = ((32, False), (64, True), (128, False), (256, True))


def unit(inner, outer, kernel, stride=1):
    return nn.Sequential(
        nn.Conv2d(inner, outer, kernel, stride, kernel // 2), nn.BatchNorm2d(outer), nn.ReLU()
    )


class Inception(nn.Module):
    def __init__(self, inner, width, reduced):
        super().__init__()
        self.one = unit(inner, width, 1)
        self.three = nn.Sequential(unit(inner, reduced, 1), unit(reduced, width, 3))
        self.five = nn.Sequential(unit(inner, reduced, 1), unit(reduced, width, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), unit(inner, width, 1))

    def forward(self, x):
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


def inception_net(num_classes=2, stem_width=32, stages=PAPER, reduction=0.5, channels=3):
    layers = [unit(channels, stem_width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inner = stem_width
    for width, pool in stages:
        layers.append(Inception(inner, width, int(width * reduction)))
        inner = 4 * width
        if pool:
            layers.append(nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, num_classes))
