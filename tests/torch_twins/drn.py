"""PyTorch twin of DRN-C and DRN-D, with the authors' parameter names."""

import torch
from torch import nn

from tests.torch_twins.resnet import stage

STRIDE = {1: 1, 2: 2, 3: 2, 4: 2, 5: 1, 6: 1, 7: 1, 8: 1}
DILATION = {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 4, 7: 2, 8: 1}


class DRN(nn.Module):
    def __init__(
        self,
        arch,
        depths,
        bottleneck,
        num_classes=2,
        channels=3,
        widths=(16, 32, 64, 128, 256, 512, 512, 512),
    ):
        super().__init__()
        self.arch = arch
        first = nn.Conv2d(channels, widths[0], 7, padding=3, bias=False), nn.BatchNorm2d(widths[0])
        if arch == "C":
            self.conv1, self.bn1 = first
        else:
            self.layer0 = nn.Sequential(*first, nn.ReLU())
        inner = widths[0]
        for level in range(1, 9):
            width, depth, edge = widths[level - 1], depths[level - 1], level in (1, 2, 7, 8)
            if edge and arch == "D":
                made = []
                for index in range(depth):
                    stride, spread = (STRIDE[level] if index == 0 else 1), DILATION[level]
                    made += [
                        nn.Conv2d(inner, width, 3, stride, spread, spread, bias=False),
                        nn.BatchNorm2d(width),
                        nn.ReLU(),
                    ]
                    inner = width
                self.add_module(f"layer{level}", nn.Sequential(*made))
                continue
            block = (width, depth, bottleneck and not edge, STRIDE[level], DILATION[level])
            made, inner = stage(inner, *block, shortcut=level < 7)
            self.add_module(f"layer{level}", made)
        self.fc = nn.Conv2d(inner, num_classes, 1)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x))) if self.arch == "C" else self.layer0(x)
        for level in range(1, 9):
            x = getattr(self, f"layer{level}")(x)
        return self.fc(x.mean((2, 3), keepdim=True)).flatten(1)
