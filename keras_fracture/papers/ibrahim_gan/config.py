"""The numbers of `ibrahim_gan`."""

import dataclasses
from typing import ClassVar

from keras_fracture.experiment import config


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """One GAN per class, then four ways to train a compact CNN.

        keras-fracture reproduce ibrahim_gan                                        # embedded data
        keras-fracture reproduce ibrahim_gan --data kaggle_fracture --profile quick

    Source: Ibrahim and Bukhari, "Leveraging GANs for Improved Medical Image Classification". Reported accuracy
    of the four arms: 92, 87, 91 and 93 %; ours: results/ibrahim_gan.json. Quick: a quarter of an hour on two cores.
    The poster states neither optimizer nor learning rates: Adam, 2e-4 with beta 0.5 for the GAN and 1e-3 for the
    classifier.

    Attributes:
        policies: Split policies, each carried out in full.
        gans_per_class: GANs a class; seed k uses GAN k modulo `gans_per_class`.
        gan_epochs: Epochs of each GAN.
        gan_steps: Steps a GAN epoch; None is a pass over the class.
        gan_width: Factor on the generator's channel counts; 1 is the poster's.
        discriminator_width: The same of the discriminator; None is `gan_width`.
        gan_channels: 3 as the poster, or 1: the images are grey.
        gan_learning_rate: Adam's learning rate for both networks.
        gan_ema: Decay of the generator's weight average that makes the images; None makes them without.
        synthetic_per_class: Synthetic images a class.
        epochs: Epochs of each classifier.
        batch_size: Of GAN and classifier.
        image_size: Side of all images in pixels.
    """

    key = "ibrahim_gan"
    title = "Leveraging GANs for Improved Medical Image Classification (Ibrahim, Bukhari)"
    REPORTED: ClassVar = {"original": 0.92, "classic": 0.87, "synthetic": 0.91, "warm_start": 0.93}
    PROFILES: ClassVar = {
        "smoke": {
            "seeds": 2, "gan_epochs": 1, "gan_steps": 2, "gan_width": 1 / 16, "gan_channels": 1,
            "synthetic_per_class": 64, "epochs": 1,
        },
        # A tenth of the steps at five times the rate; the average keeps that from showing.
        "quick": {
            "seeds": 3, "gan_epochs": 8, "gan_steps": 40, "gan_width": 1 / 8, "discriminator_width": 1 / 2,
            "gan_channels": 1, "gan_learning_rate": 1e-3, "gan_ema": 0.98, "synthetic_per_class": 1000,
        },
        "paper": {"seeds": 5, "gans_per_class": 5},
    }  # fmt: skip
    SHARES: ClassVar = ("gan_ema",)

    policies: tuple = ("grouped", "paper")
    gans_per_class: int = 1
    gan_epochs: int = 100
    gan_steps: int | None = None
    gan_width: float = 1.0
    discriminator_width: float | None = None
    gan_channels: int = 3
    gan_learning_rate: float = 2e-4
    gan_ema: float | None = None
    synthetic_per_class: int = 10_500
    epochs: int = 20
    batch_size: int = 32
    image_size: int = 64
