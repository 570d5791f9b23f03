"""The numbers of `garcia_inception`."""

import dataclasses
from typing import ClassVar

from keras_fracture.papers.classifier_config import ClassifierConfig


@dataclasses.dataclass(frozen=True)
class Config(ClassifierConfig):
    """One Inception net, training images doubled by flipping, thirty epochs.

        keras-fracture reproduce garcia_inception                    # quick: 64 x 64 pixels, 4 epochs
        keras-fracture reproduce garcia_inception --profile paper    # the paper's own schedule
        keras-fracture reproduce garcia_inception --variant tuned --data fracatlas --set policies=grouped --epochs 8

    Source: García Aguirre, "Convolutional neural network for fracture detection in x-ray images". Reported:
    validation accuracy 85 %, test accuracy 81 %, the weakest on hands; ours: results/garcia_inception.json. Quick:
    ten minutes on two cores. Under the split policy `paper` the images are doubled *before* a tenth is drawn for
    validation, as the text says, so that validation holds mirror images and rotated copies of training images.
    """

    key = "garcia_inception"
    title = "Convolutional neural network for fracture detection in x-ray images (García Aguirre)"
    REPORTED: ClassVar = {"inception_net": {"validation_accuracy": 0.85, "accuracy": 0.81}}
    PROFILES: ClassVar = {
        "smoke": {"data": "phantom", "image_size": 32, "epochs": 1},
        "quick": {"image_size": 64, "epochs": 4},
        "paper": {},
    }
    # What the paper does not do: vary the images, learn body parts beside findings.
    VARIANTS: ClassVar = {"paper": {}, "tuned": {"augment": True, "body_parts": True}}

    data: str = "kaggle_fracture"
    models: tuple = ("inception_net",)
    epochs: int = 30
    learning_rate: float = 1e-3
    threshold: float | None = 0.5  # the paper takes the likelier class
