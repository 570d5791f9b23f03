"""PyTorch twins of the DCGAN's two networks, with the attribute names of PyTorch's own example."""

from torch import nn


class Generator(nn.Module):
    def __init__(self, latent_dim=100, image_size=64, channels=3, width=64):
        super().__init__()
        layers, inner, side = [], latent_dim, 1
        while side < image_size // 2:
            outer = width * image_size // 2 // (4 if side == 1 else 2 * side)
            stride, padding, side = (1, 0, 4) if side == 1 else (2, 1, 2 * side)
            layers += [nn.ConvTranspose2d(inner, outer, 4, stride, padding, bias=False)]
            layers += [nn.BatchNorm2d(outer), nn.ReLU()]
            inner = outer
        self.main = nn.Sequential(
            *layers, nn.ConvTranspose2d(inner, channels, 4, 2, 1, bias=False), nn.Tanh()
        )

    def forward(self, noise):
        return self.main(noise[:, :, None, None])


class Discriminator(nn.Module):
    def __init__(self, image_size=64, channels=3, width=64, activation="silu"):
        super().__init__()
        layers, inner, outer, side = [], channels, width, image_size
        while side > 4:
            layers.append(nn.Conv2d(inner, outer, 4, 2, 1, bias=False))
            if inner != channels:
                layers.append(nn.BatchNorm2d(outer))
            layers.append(nn.SiLU() if activation == "silu" else nn.LeakyReLU(0.2))
            inner, outer, side = outer, outer * 2, side // 2
        self.main = nn.Sequential(*layers, nn.Conv2d(inner, 1, 4, bias=False))

    def forward(self, images):
        return self.main(images).flatten(1)
