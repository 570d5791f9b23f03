"""The numbers of `lisbon_resnet`."""

import dataclasses
from typing import ClassVar

from keras_fracture.errors import FractureError
from keras_fracture.papers.classifier_config import ClassifierConfig

DEPTHS = (18, 34, 50, 101, 152)
LITE = tuple(f"efficientnet_lite{size}" for size in range(3))
OPTIMIZERS = {"sgd": 0.0, "adamw": 0.01}  # and their weight decay where none is given
# What a user would start from today: no ResNet and no focal loss, but weights that know ImageNet.
_IMAGENET = {
    "models": ("efficientnet_lite0",),
    "pretrained": "imagenet",
    "optimizer": "adamw",
    "epochs": 8,
    "image_size": 224,
    "augment": True,
    "smoothing": 0.1,
    "alpha": 1.0,
    "gamma": 0.0,
    "learning_rate": 1e-3,
    "warmup": 0.1,
}
# What the paper does not do: vary the images, learn body parts beside findings, decay the weights, smooth the labels,
# train longer; cross-entropy (focal loss without its two numbers) at a higher learning rate.
_TUNED = {
    "epochs": 60,
    "augment": True,
    "body_parts": True,
    "weight_decay": 5e-4,
    "smoothing": 0.1,
    "alpha": 1.0,
    "gamma": 0.0,
    "learning_rate": 0.05,
    "warmup": 0.05,
}


@dataclasses.dataclass(frozen=True)
class Config(ClassifierConfig):
    """Five ResNets, each image's contrast equalised, focal loss, ten epochs.

        keras-fracture reproduce lisbon_resnet --depth 18                    # quick: 112 x 112 pixels
        keras-fracture reproduce lisbon_resnet --depth 34 --profile paper    # the paper's own schedule
        keras-fracture reproduce lisbon_resnet --variant imagenet            # EfficientNet-Lite0, pretrained
        keras-fracture reproduce lisbon_resnet --variant imagenet --set models=efficientnet_lite2
        keras-fracture reproduce lisbon_resnet --variant scratch             # the same net, not pretrained
        keras-fracture reproduce lisbon_resnet --variant distilled           # ResNet-34, EfficientNet-Lite0 its teacher

    Source: Lisbon, "Detecting Bone Fractures Utilizing Res-Net Variants". Reported in Table 1, ResNet-34:
    validation accuracy 77 %, AUC 0.85; ours: results/lisbon_resnet.json, and `COMPARED`. The learning rate
    is not stated: 0.01, falling by half a cosine. Focal loss with gamma 2 and alpha 0.25 as Keras's
    `CategoricalFocalCrossentropy`, whose alpha scales both classes alike.

    Profile `quick` differs in the size of the images, and so in time, a quarter: ResNet-18 takes ten minutes on two
    cores.

    Attributes:
        width: Channels of the first stage of a ResNet; 64 is the paper's.
        optimizer: "sgd" as in the paper, or "adamw".
        weight_decay: Of the kernels: with "sgd" L2 in the loss, with "adamw" its own decoupled decay. None is 0 with
            the first, 0.01 with the second, which needs more than 0.
        warmup: Share of the steps in which the learning rate grows to its highest.
        gamma: Of the focal loss; 0 is cross-entropy.
        alpha: Of the focal loss.
        smoothing: Share of a label that is spread over both classes.
    """

    key = "lisbon_resnet"
    title = "Detecting Bone Fractures Utilizing Res-Net Variants (Lisbon)"
    # Table 1; the precision of ResNet-152 is printed as "456".
    REPORTED: ClassVar = {
        "resnet18": {"train_accuracy": 0.78, "validation_accuracy": 0.72, "f1": 0.74, "precision": 0.70,
                     "recall": 0.80, "auc": 0.84},
        "resnet34": {"train_accuracy": 0.83, "validation_accuracy": 0.77, "f1": 0.77, "precision": 0.78,
                     "recall": 0.77, "auc": 0.85},
        "resnet50": {"train_accuracy": 0.85, "validation_accuracy": 0.80, "f1": 0.76, "precision": 0.75,
                     "recall": 0.77, "auc": 0.80},
        "resnet101": {"train_accuracy": 0.72, "validation_accuracy": 0.62, "f1": 0.67, "precision": 0.65,
                      "recall": 0.69, "auc": 0.75},
        "resnet152": {"train_accuracy": 0.73, "validation_accuracy": 0.63, "f1": 0.64,
                      "recall": 0.66, "auc": 0.73},
        **{name: {} for name in LITE},
    }  # fmt: skip
    # Of fractures at FracAtlas's 17.6 %, precision and recall of the first four mean accuracies of 0.88 to 0.92.
    COMPARED: ClassVar = (
        "Accuracy, precision and F1 of the paper's Table 1 fit together only where fractures are about as many as "
        "healthy images: hold them against ours at as many, such as balanced accuracy, not against those of the images "
        "as they come."
    )
    PROFILES: ClassVar = {
        "smoke": {"data": "phantom", "models": ("resnet18",), "image_size": 32, "epochs": 1},
        "quick": {"image_size": 112},
        "paper": {},
    }
    VARIANTS: ClassVar = {
        "paper": {},
        "tuned": _TUNED,
        "imagenet": _IMAGENET,
        "scratch": _IMAGENET | {"pretrained": None},  # what these weights are worth
        # A ResNet that learns from networks which knew ImageNet first, in place of body parts.
        "distilled": _TUNED
        | {
            "models": ("resnet34",),
            "teacher": "efficientnet_lite0_ensemble",
            "body_parts": False,
            "weight_decay": 1e-4,
            "epochs": 24,
            "image_size": 224,
        },
    }
    ADDED: ClassVar = ClassifierConfig.ADDED | {"optimizer": "sgd"}
    MAY_BE_ZERO: ClassVar = (*ClassifierConfig.MAY_BE_ZERO, "warmup", "gamma", "smoothing")
    SHARES: ClassVar = (*ClassifierConfig.SHARES, "warmup", "smoothing")
    OPTIONS: ClassVar = {
        "depth": (
            "models",
            "resnet{}".format,
            f"of the ResNets, of {', '.join(map(str, DEPTHS))} (default: all)",
        )
    }

    data: str = "fracatlas"
    policies: tuple = ("grouped",)
    models: tuple = tuple(f"resnet{depth}" for depth in DEPTHS)
    learning_rate: float = 0.01
    weight_decay: float | None = None
    width: int = 64
    optimizer: str = "sgd"
    warmup: float = 0.0
    gamma: float = 2.0
    alpha: float = 0.25
    smoothing: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        unknown = [name for name in self.models if name not in self.REPORTED]
        if unknown:
            raise FractureError(
                f"lisbon_resnet has depths {DEPTHS}, and {', '.join(LITE)}. Received: {', '.join(unknown)}"
            )
        if self.optimizer not in OPTIMIZERS:
            raise FractureError(
                f"optimizer must be one of {', '.join(OPTIMIZERS)}. Received: {self.optimizer!r}"
            )
        if self.weight_decay is None:
            object.__setattr__(self, "weight_decay", OPTIMIZERS[self.optimizer])
        if self.optimizer == "adamw" and self.weight_decay == 0:
            raise FractureError(
                f"weight_decay of {self.key} must be above 0 with adamw: leave it out for its usual "
                f"{OPTIMIZERS['adamw']}. Received: {self.weight_decay}"
            )
        if self.smoothing == 1:
            raise FractureError(
                f"smoothing of {self.key} must be below 1, where all labels are alike. Received: {self.smoothing}"
            )
        if self.warmup == 1:
            raise FractureError(
                f"warmup of {self.key} must be below 1: it is a share of all steps, and some must follow it. "
                f"Received: {self.warmup}"
            )

    @classmethod
    def understood(cls, settings):
        """See `experiment.config.Config.understood`: AdamW of earlier versions decayed by 0.01 whatever was set."""
        plain = settings.get("optimizer") == "adamw" and settings.get("weight_decay") == 0
        return super().understood(settings | ({"weight_decay": OPTIMIZERS["adamw"]} if plain else {}))

    @property
    def l2(self):
        """See `ClassifierConfig.l2`."""
        return 0.0 if self.optimizer == "adamw" else self.weight_decay

    def unused(self):
        """See `experiment.config.Config.unused`."""
        resnets = any(name.startswith("resnet") for name in self.models)
        return super().unused() | ({} if resnets else {"width": "ResNets"})
