"""The small Inception net on the Kaggle set: the `garcia_inception` paper."""

import dataclasses
from typing import ClassVar

import keras
import numpy as np

from keras_fracture import models
from keras_fracture.data import Preprocess
from keras_fracture.models.preprocessing import UNIT, scale
from keras_fracture.papers.classifier_recipe import ClassifierRecipe
from keras_fracture.papers.recipe import joined


@dataclasses.dataclass(frozen=True)
class GarciaInception(ClassifierRecipe):
    """One Inception net, training images doubled by flipping, thirty epochs.

        keras-fracture reproduce garcia_inception                    # quick: 64 x 64 pixels, 4 epochs
        keras-fracture reproduce garcia_inception --profile paper    # the paper's own schedule
        keras-fracture reproduce garcia_inception --variant tuned --data fracatlas --set policies=grouped --epochs 8

    Source: García Aguirre, "Convolutional neural network for fracture detection in x-ray images". Reported:
    validation accuracy 85 %, test accuracy 81 %, the weakest on hands; ours: results/garcia_inception.json.
    Under the split policy `paper` the images are doubled *before* a tenth is drawn for validation, as the
    text says, so that validation holds mirror images and rotated copies of training images.
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

    @property
    def preprocess(self):
        """The whole image, fitted into a grey square; the copies are 224 x 224 already."""
        return Preprocess(size=self.image_size)

    def prepare_splits(self, sets, policy):
        """Doubles what is trained on by flipping; under `paper` the validation tenth is drawn after that."""
        if policy != "paper":
            return sets | {"train": doubled(sets["train"])}
        both = doubled(joined(sets["train"], sets["validation"]))
        order = np.random.default_rng(self.seed).permutation(len(both.labels))
        cut = round(0.9 * len(order))
        return sets | {"train": both.take(order[:cut]), "validation": both.take(order[cut:])}

    def build(self, name, train):
        """The net, which normalises by the mean and standard deviation of the training images."""
        # Counted, not summed: a float32 sum over 10^9 pixels is off in the second digit.
        levels = sum(np.bincount(image.ravel(), minlength=256) for image in train.images) / train.images.size
        values = scale(np.arange(256, dtype=np.uint8), UNIT).astype(float)
        mean = float(levels @ values)
        std = float(np.sqrt(levels @ (values - mean) ** 2))
        return models.create(name, num_classes=2, image_size=self.image_size, mean=mean, std=std)

    def optimizer(self, steps):
        """Adam."""
        return keras.optimizers.Adam(self.learning_rate)

    def loss(self):
        """Cross-entropy."""
        return keras.losses.CategoricalCrossentropy(from_logits=True)


def doubled(split):
    """A split and its mirror images."""
    mirrored = dataclasses.replace(split, images=split.images[:, :, ::-1])
    return joined(split, mirrored)
