"""The numbers of `bai_dcgan`."""

import dataclasses
from typing import ClassVar

from keras_fracture.errors import FractureError
from keras_fracture.experiment import config

CONDITIONS = (None, "label", "body_part")
IMAGE_SIZES = (32, 64, 128)  # of a DCGAN's networks
_LOSSES = ("non_saturating", "hinge", "least_squares", "wasserstein")


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A DCGAN on images with a finding, evaluated by more than its loss.

        keras-fracture reproduce bai_dcgan                                     # quick: half the width
        keras-fracture reproduce bai_dcgan --profile paper --epochs 60
        keras-fracture reproduce bai_dcgan --profile paper --epochs 60 --variant modern

    Source: Bai, "Bone fractured X-ray data generation based on DCGAN". Reported: both losses at some epochs
    (`REPORTED`), no distance to the real images; ours: results/bai_dcgan.json. Quick: half an hour on two cores, a
    quarter of that where they compute in bfloat16 (`--set precision=auto`). Under the `paper` policy the GAN learns
    from all 4,480 fractured training images, as in the paper. They are rotated copies of 109 X-rays (112 names).

    The variant `modern` is the paper's own wish list (classes, better optimisation) and what small data call for:
    DiffAugment, a weight average, DCGAN's own learning rate, one class per label.

    Attributes:
        policy: Split policy.
        variant: "paper" or "modern", see `VARIANTS`.
        seeds: How many GANs are trained.
        epochs: Passes over the training images.
        steps: Steps an epoch; None is a pass.
        batch_size: Images a step.
        image_size: Side of the images: 32, 64 or 128.
        channels: 3 as in the paper, or 1: the images are grey.
        width: Channels of the networks' widest maps; 64 is the paper's.
        activation: Of the discriminator, "silu" as in the paper or "leaky_relu".
        dropout: Share of the values of the discriminator's maps that are dropped in training; none in the paper.
        loss: Name of a loss, see `training.losses`.
        g_learning_rate: Adam's learning rate for the generator.
        d_learning_rate: The same for the discriminator.
        fresh_noise: Whether the generator is updated on noise of its own; the paper draws twice.
        augment: Whether the discriminator sees images through DiffAugment.
        ema: Decay of the generator's weight average that makes the images, or None.
        condition: What images are classed by: "label" (then healthy images are learnt too), "body_part", None.
        generated_images: How many are generated for the report.
        eval_every: Epochs between evaluations of distances and copies during training.
        neighbours: Of precision, recall, density and coverage. More than the 40 copies that the Kaggle set has of
            each X-ray: with fewer, every image's neighbours are its own copies. Of fewer than 500 images a side
            (FracAtlas, `phantom`) 50 say little; where an X-ray has few images, 5 say more.
        extractor: Of features, see `evaluation.features.extractor`.
    """

    key = "bai_dcgan"
    title = "Bone fractured X-ray data generation based on DCGAN (Bai)"
    # Losses by epoch, as the text gives them; a pair is a range.
    REPORTED: ClassVar = {
        "g_loss": [(1, 3.1071), ((2, 100), (1.2, 2.9)), ((100, 900), (1.5, 2.2)), (900, 1.9012)],
        "d_loss": [(1, 1.6084), ((210, 900), (0.84, 0.84)), (900, 0.8281)],
    }
    PROFILES: ClassVar = {
        "smoke": {
            "data": "phantom", "epochs": 2, "steps": 2, "image_size": 32, "channels": 1, "width": 8,
            "generated_images": 64, "eval_every": 1, "neighbours": 5,
        },
        "quick": {"epochs": 30, "width": 32},
        "paper": {},
    }  # fmt: skip
    VARIANTS: ClassVar = {
        "paper": {},
        "modern": {
            "g_learning_rate": 2e-4, "d_learning_rate": 2e-4, "augment": True, "ema": 0.995,
            "condition": "label",
        },
    }  # fmt: skip
    SHARES: ClassVar = ("dropout", "ema")
    MAY_BE_ZERO: ClassVar = (*config.Config.MAY_BE_ZERO, "dropout")
    ADDED: ClassVar = config.Config.ADDED | {"dropout": 0.0}

    data: str = "kaggle_fracture"
    policy: str = "paper"
    variant: str = "paper"
    seeds: int = 1
    epochs: int = 900
    steps: int | None = None
    batch_size: int = 32
    image_size: int = 64
    channels: int = 3
    width: int = 64
    activation: str = "silu"
    dropout: float = 0.0
    loss: str = "non_saturating"
    g_learning_rate: float = 2e-3
    d_learning_rate: float = 2e-3
    fresh_noise: bool = True
    augment: bool = False
    ema: float | None = None
    condition: str | None = None
    generated_images: int = 2000
    eval_every: int = 5
    neighbours: int = 50
    extractor: str = "xray"

    def __post_init__(self):
        super().__post_init__()
        if self.condition not in CONDITIONS:
            raise FractureError(f"condition must be label, body_part or None. Received: {self.condition!r}")
        if self.image_size not in IMAGE_SIZES:
            raise FractureError(
                f"image_size of bai_dcgan must be one of {', '.join(map(str, IMAGE_SIZES))}. "
                f"Received: {self.image_size}"
            )
        if self.loss not in _LOSSES:  # one of your own, or none: only then Keras is worth its time here
            from keras_fracture.training import losses

            losses.get(self.loss)
        if self.dropout == 1:
            raise FractureError("dropout of bai_dcgan must be below 1, else nothing is left. Received: 1.0")
