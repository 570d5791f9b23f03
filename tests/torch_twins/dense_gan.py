"""PyTorch twins of the poster's generator and discriminator."""

from torch import nn


def dense_generator(latent_dim=128, image_size=64, channels=3, width=1.0):
    side, inner = image_size // 8, int(128 * width)
    layers = [nn.Linear(latent_dim, side * side * inner), nn.Unflatten(1, (inner, side, side))]
    for outer in (int(128 * width), int(256 * width), int(512 * width)):
        layers += [nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        inner = outer
    return nn.Sequential(*layers, nn.Conv2d(inner, channels, 5, padding=2), nn.Tanh())


def dense_discriminator(image_size=64, channels=3, width=1.0):
    layers, inner = [], channels
    for outer in (int(64 * width), int(128 * width), int(128 * width)):
        layers += [nn.Conv2d(inner, outer, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        inner = outer
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inner * (image_size // 8) ** 2, 1))
