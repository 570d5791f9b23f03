"""Models with custom train_step, callbacks, precision."""

from keras_fracture.training import distribution, losses, precision
from keras_fracture.training.adversarial import AdversarialModel, sample
from keras_fracture.training.augmentation import AdaptiveAugment, DiffAugment
from keras_fracture.training.boxes import AugmentWithMasks, BoxLoss, WithBoxes, split_masks, with_masks
from keras_fracture.training.callbacks import Progress, SampleGrid, StopOnNaN
from keras_fracture.training.classifier import (
    WithBodyPart,
    WithTeacher,
    adam,
    adamw,
    add_l2,
    class_weights,
    sgd,
)
from keras_fracture.training.optimizers import Adam
from keras_fracture.training.resetting import reset_weights
from keras_fracture.training.running import (
    Reseed,
    fit,
    fit_briefly,
    make_train_dataset,
    pairs_of,
)
from keras_fracture.training.unit import UNITModel

__all__ = [
    "Adam",
    "AdaptiveAugment",
    "AdversarialModel",
    "AugmentWithMasks",
    "BoxLoss",
    "DiffAugment",
    "Progress",
    "Reseed",
    "SampleGrid",
    "StopOnNaN",
    "UNITModel",
    "WithBodyPart",
    "WithBoxes",
    "WithTeacher",
    "adam",
    "adamw",
    "add_l2",
    "class_weights",
    "distribution",
    "fit",
    "fit_briefly",
    "losses",
    "make_train_dataset",
    "pairs_of",
    "precision",
    "reset_weights",
    "sample",
    "sgd",
    "split_masks",
    "with_masks",
]


def __dir__():
    return sorted(__all__)
