"""PyTorch twins of the UNIT translator and its discriminators, and of one training step of them."""

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    def __init__(self, width, mode):
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1, padding_mode=mode) for _ in range(2))
        norm = nn.InstanceNorm2d
        self.inner = nn.Sequential(first, norm(width), nn.ReLU(), second, norm(width))

    def forward(self, x):
        return x + self.inner(x)


class SampleNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        flat = x.flatten(1)
        mean, std = flat.mean(1), flat.std(1)
        x = (x - mean[:, None, None, None]) / (std[:, None, None, None] + 1e-5)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Unit(nn.Module):
    def __init__(self, preset="nips2017", channels=3, width=64):
        super().__init__()
        self.nips, self.width = preset == "nips2017", width
        self.mode = "zeros" if self.nips else "reflect"
        self.encoder_a, self.encoder_b = self.encoder(channels), self.encoder(channels)
        self.shared_encoder, self.shared_decoder = (
            nn.Sequential(*[Residual(4 * width, self.mode)] * self.nips) for _ in range(2)
        )
        self.decoder_a, self.decoder_b = self.decoder(channels), self.decoder(channels)

    def blocks(self):
        return [Residual(4 * self.width, self.mode) for _ in range(3 if self.nips else 4)]

    def conv(self, inner, outer, size, stride=1):
        return nn.Conv2d(inner, outer, size, stride, (size - 1) // 2, padding_mode=self.mode)

    def encoder(self, channels):
        layers, inner = [], channels
        for level, outer in enumerate((self.width, 2 * self.width, 4 * self.width)):
            layers.append(self.conv(inner, outer, (3 if self.nips else 4) if level else 7, 2 if level else 1))
            layers += [nn.LeakyReLU(0.01)] if self.nips else [nn.InstanceNorm2d(outer), nn.ReLU()]
            inner = outer
        return nn.Sequential(*layers, *self.blocks())

    def decoder(self, channels):
        layers, width = self.blocks(), self.width
        for inner, outer in ((4 * width, 2 * width), (2 * width, width)):
            if self.nips:
                layers += [nn.ConvTranspose2d(inner, outer, 3, 2, 1, output_padding=1), nn.LeakyReLU(0.01)]
            else:
                layers += [nn.Upsample(scale_factor=2), self.conv(inner, outer, 5)]
                layers += [SampleNorm(outer), nn.ReLU()]
        last = nn.ConvTranspose2d(width, channels, 1) if self.nips else self.conv(width, channels, 7)
        return nn.Sequential(*layers, last, nn.Tanh())

    def encode(self, images, domain):
        return self.shared_encoder((self.encoder_a if domain == "a" else self.encoder_b)(images))

    def decode(self, latents, domain):
        return (self.decoder_a if domain == "a" else self.decoder_b)(self.shared_decoder(latents))


class Discriminator(nn.Module):
    def __init__(self, preset="nips2017", channels=3, width=64):
        super().__init__()
        size, slope, mode = (3, 0.01, "zeros") if preset == "nips2017" else (4, 0.2, "reflect")
        self.judges = nn.ModuleList()
        for _ in range(3):
            layers, inner = [], channels
            for level in range(4):
                outer = width * 2**level
                layers += [nn.Conv2d(inner, outer, size, 2, 1, padding_mode=mode), nn.LeakyReLU(slope)]
                inner = outer
            self.judges.append(nn.Sequential(*layers, nn.Conv2d(inner, 1, 1)))

    def forward(self, images):
        scales = [images]
        for _ in range(2):
            scales.append(functional.avg_pool2d(scales[-1], 3, 2, 1, count_include_pad=False))
        return [judge(each) for judge, each in zip(self.judges, scales, strict=True)]


def d_terms(judges, real, fake, nips):
    """The discriminators' adversarial terms, summed over domains and scales."""
    total = 0.0
    for judge, good, bad in zip(judges, real, fake, strict=True):
        for on_good, on_bad in zip(judge(good), judge(bad.detach()), strict=True):
            total = total + _distance(on_good, 1.0, nips) + _distance(on_bad, 0.0, nips)
    return total


def g_terms(unit, judges, a, b, noises, nips):
    """Returns the images in the other domain, and a function to the translator's terms, for any judges."""
    first_a, first_b, second_a, second_b = noises
    mean_a, mean_b = unit.encode(a, "a"), unit.encode(b, "b")
    latent_a, latent_b = mean_a + first_a, mean_b + first_b
    own_a, own_b = unit.decode(latent_a, "a"), unit.decode(latent_b, "b")
    from_a, from_b = unit.decode(latent_a, "b"), unit.decode(latent_b, "a")
    again_a, again_b = unit.encode(from_a, "b"), unit.encode(from_b, "a")
    back_a, back_b = unit.decode(again_a + second_a, "a"), unit.decode(again_b + second_b, "b")
    l1 = functional.l1_loss

    def terms():
        judged = [
            logits for judge, fake in zip(judges, (from_b, from_a), strict=True) for logits in judge(fake)
        ]
        return {
            "gan": sum(_distance(logits, 1.0, nips) for logits in judged),
            "reconstruction": l1(own_a, a) + l1(own_b, b),
            "kl": (mean_a**2).mean() + (mean_b**2).mean(),
            "cycle": l1(back_a, a) + l1(back_b, b),
            "cycle_kl": (again_a**2).mean() + (again_b**2).mean(),
        }

    return (from_b, from_a), terms


def step(unit, judges, adams, a, b, noises, weights):
    """One update of the discriminators, then of the translator; returns all losses as floats."""
    d_adam, g_adam = adams
    fake, terms = g_terms(unit, judges, a, b, noises, unit.nips)
    d_adam.zero_grad()
    d_loss = weights["gan"] * d_terms(judges, (a, b), fake, unit.nips)
    d_loss.backward()
    d_adam.step()
    g_adam.zero_grad()
    for judge in judges:
        judge.requires_grad_(False)
    found = terms()
    g_loss = sum(weight * found[name] for name, weight in weights.items())
    g_loss.backward()
    for judge in judges:
        judge.requires_grad_(True)
    g_adam.step()
    return {name: loss.item() for name, loss in (found | {"d_loss": d_loss, "g_loss": g_loss}).items()}


def _distance(logits, target, nips):
    if nips:
        return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
    return ((logits - target) ** 2).mean()
