"""The numbers of `ibrahim_gan`."""

import dataclasses
from typing import ClassVar

from keras_fracture.errors import FractureError
from keras_fracture.experiment import config
from keras_fracture.papers.bai_dcgan.config import IMAGE_SIZES

STUDIES = {
    "poster": ("poster",),
    "modern": ("modern", "few_labels"),
    "both": ("poster", "modern", "few_labels"),
}

# Settings of one study alone.
_POSTER = (
    "gan_epochs", "gan_steps", "gan_width", "discriminator_width", "gan_channels", "gan_learning_rate", "gan_ema",
    "synthetic_per_class", "epochs",
)  # fmt: skip
_MODERN = (
    "sizes", "few_labels", "modern_width", "modern_steps", "modern_passes", "modern_learning_rate", "modern_ema",
    "auxiliary", "classifier_steps", "ratios", "filters",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """Does a classifier learn from synthetic X-rays? The poster's four arms, then how many real images one has.

        keras-fracture reproduce ibrahim_gan                                        # embedded data
        keras-fracture reproduce ibrahim_gan --data fracatlas --profile paper --variant modern

    Source: Ibrahim and Bukhari, "Leveraging GANs for Improved Medical Image Classification". Reported accuracy
    of the four arms: 92, 87, 91 and 93 %; ours: results/ibrahim_gan.json. Quick: less than a quarter of an hour on
    two cores. The poster states neither optimizer nor learning rates: Adam, 2e-4 with beta 0.5 for the GAN and 1e-3
    for the classifier.

    The variant `poster` has the poster's networks: a dense GAN a class, and a compact CNN. `modern` is the poster's
    outlook, "given a more advanced GAN this can be improved": one DCGAN that knows the classes, with DiffAugment and a
    weight average, and its discriminator's network as the classifier; at several numbers of real images, and with few
    labels among many images. `both` shows them side by side.

    Attributes:
        variant: One of `STUDIES`.
        policies: Split policies of the poster's study; the modern one is carried out on the first.
        gans_per_class: GANs of each kind, no more than seeds; seed k uses GAN k modulo their number, and the images it
            saw.
        gan_epochs: Epochs of each of the poster's GANs.
        gan_steps: Steps a GAN epoch; None is a pass over the class.
        gan_width: Factor on the generator's channel counts; 1 is the poster's.
        discriminator_width: The same of the discriminator; None is `gan_width`.
        gan_channels: 3 as the poster, or 1: the images are grey.
        gan_learning_rate: Adam's learning rate for both networks.
        gan_ema: Decay of the generator's weight average that makes the images; None makes them without.
        synthetic_per_class: Synthetic images a class that the poster's GANs make.
        epochs: Epochs of each of the poster's classifiers.
        batch_size: Of GANs and classifiers.
        image_size: Side of all images in pixels: 32, 64 or 128 for the modern study.
        sizes: How many real images the modern study learns from, beside all; a GAN sees no others.
        few_labels: How many labels a classifier has while the GAN sees all training images without labels.
        modern_width: Channels of the DCGAN's widest maps, and of the classifier's.
        modern_steps: Steps of each DCGAN.
        modern_passes: Most passes over its images that a DCGAN makes, where they are few; None for no such end.
        modern_learning_rate: Adam's learning rate for both networks.
        modern_ema: Decay of the generator's weight average.
        auxiliary: Weight of the class loss, see `training.AdversarialModel`.
        classifier_steps: Steps of each classifier of the modern study, the same for every arm.
        ratios: Synthetic images for each real one; of several the first is the curve's, the others get arms of their
            own.
        filters: Further arms: of the synthetic images only those stay whose class a classifier of the real images
            gives at least this probability. None for none.
        extractor: Of features, see `evaluation.features.extractor`.
    """

    key = "ibrahim_gan"
    title = "Leveraging GANs for Improved Medical Image Classification (Ibrahim, Bukhari)"
    REPORTED: ClassVar = {"original": 0.92, "classic": 0.87, "synthetic": 0.91, "warm_start": 0.93}
    PROFILES: ClassVar = {
        "smoke": {
            "seeds": 2, "gan_epochs": 1, "gan_steps": 2, "gan_width": 1 / 16, "gan_channels": 1,
            "synthetic_per_class": 64, "epochs": 1, "image_size": 32, "modern_width": 8, "modern_steps": 4,
            "classifier_steps": 16, "sizes": (20,), "few_labels": (20,),
        },
        # A tenth of the steps at five times the rate; the average keeps that from showing.
        "quick": {
            "seeds": 3, "gan_epochs": 8, "gan_width": 1 / 8, "discriminator_width": 1 / 2,
            "gan_channels": 1, "gan_learning_rate": 1e-3, "gan_ema": 0.98, "synthetic_per_class": 1000,
            "policies": ("grouped",), "precision": "auto", "sizes": (100,), "few_labels": (100,),
            "modern_steps": 3000, "modern_passes": 300, "classifier_steps": 800, "gan_steps": 60,
        },
        "paper": {"seeds": 5, "gans_per_class": 5},
    }  # fmt: skip
    VARIANTS: ClassVar = {"poster": {}, "modern": {"policies": ("grouped",)}, "both": {}}
    TOLD: ClassVar = (*config.Config.TOLD, "sizes", "few_labels")
    MAY_BE_ZERO: ClassVar = (*config.Config.MAY_BE_ZERO, "auxiliary")
    SHARES: ClassVar = ("gan_ema", "modern_ema", "filters")
    # Earlier versions had the poster's study alone; as `config.json` holds them.
    ADDED: ClassVar = config.Config.ADDED | {
        "variant": "poster", "sizes": [50], "few_labels": [50], "modern_width": 16, "modern_steps": 6000,
        "modern_passes": None, "modern_learning_rate": 5e-4, "modern_ema": 0.995, "auxiliary": 1.0,
        "classifier_steps": 2000, "ratios": [1.0], "filters": None, "extractor": "xray",
    }  # fmt: skip

    variant: str = "both"
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
    sizes: tuple = (50, 100, 200, 500)
    few_labels: tuple = (50, 100, 200, 500)
    modern_width: int = 16
    modern_steps: int = 6000
    modern_passes: int | None = None
    modern_learning_rate: float = 5e-4
    modern_ema: float = 0.995
    auxiliary: float = 1.0
    classifier_steps: int = 2000
    ratios: tuple = (1.0,)
    filters: tuple | None = None
    extractor: str = "xray"

    def __post_init__(self):
        super().__post_init__()
        if "modern" in self.studies and self.image_size not in IMAGE_SIZES:
            raise FractureError(
                f"image_size of {self.key} must be one of {', '.join(map(str, IMAGE_SIZES))} for the modern study. "
                f"Received: {self.image_size}"
            )
        if not all(isinstance(one, float) for one in self.filters or ()):
            raise FractureError(f"filters of {self.key} must be numbers below 1. Received: {self.filters}")
        for name in ("sizes", "few_labels"):
            sizes = getattr(self, name)
            if any(size % 2 for size in sizes) or list(sizes) != sorted(set(sizes)):
                raise FractureError(
                    f"{name} of {self.key} must be even numbers in rising order: half of each class. "
                    f"Received: {sizes}"
                )

    def unused(self):
        """See `experiment.config.Config.unused`."""
        idle = {} if "poster" in self.studies else dict.fromkeys(_POSTER, "the poster's study")
        if idle and len(self.policies) > 1:
            idle["policies"] = "the poster's study where it names several"
        if self.gans_per_class > self.seeds:
            idle["gans_per_class"] = f"{self.gans_per_class} seeds or more (--seeds)"
        idle |= {} if "modern" in self.studies else dict.fromkeys(_MODERN, "the modern study")
        return super().unused() | idle

    @property
    def gans(self):
        """How many GANs of each kind are trained: `gans_per_class`, but none that no seed uses."""
        return min(self.gans_per_class, self.seeds)

    @property
    def studies(self):
        """Which of "poster", "modern" and "few_labels" are carried out."""
        return STUDIES[self.variant]
