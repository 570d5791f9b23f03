"""PyTorch twins of the DCGAN's two networks, with the attribute names of PyTorch's own example."""

import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self, latent_dim=100, image_size=64, channels=3, width=64, num_classes=0):
        super().__init__()
        self.num_classes = num_classes
        layers, inner, side = [], latent_dim + num_classes, 1
        while side < image_size // 2:
            outer = width * image_size // 2 // (4 if side == 1 else 2 * side)
            stride, padding, side = (1, 0, 4) if side == 1 else (2, 1, 2 * side)
            layers += [nn.ConvTranspose2d(inner, outer, 4, stride, padding, bias=False)]
            layers += [nn.BatchNorm2d(outer), nn.ReLU()]
            inner = outer
        self.main = nn.Sequential(
            *layers, nn.ConvTranspose2d(inner, channels, 4, 2, 1, bias=False), nn.Tanh()
        )

    def forward(self, noise, labels=None):
        if self.num_classes:
            noise = torch.cat([noise, torch.eye(self.num_classes, dtype=noise.dtype)[labels]], 1)
        return self.main(noise[:, :, None, None])


class Discriminator(nn.Module):
    def __init__(self, image_size=64, channels=3, width=64, activation="silu", num_classes=0):
        super().__init__()
        layers, inner, outer, side = [], channels, width, image_size
        while side > 4:
            layers.append(nn.Conv2d(inner, outer, 4, 2, 1, bias=False))
            if inner != channels:
                layers.append(nn.BatchNorm2d(outer))
            layers.append(nn.SiLU() if activation == "silu" else nn.LeakyReLU(0.2))
            inner, outer, side = outer, outer * 2, side // 2
        self.main = nn.Sequential(*layers, nn.Conv2d(inner, 1 + num_classes, 4, bias=False))

    def forward(self, images, labels=None):
        logits = self.main(images).flatten(1)
        if labels is None:
            return logits
        return logits[:, :1] + logits.gather(1, 1 + labels[:, None])
