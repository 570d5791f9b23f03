"""Models with custom train_step, callbacks, precision."""

from keras_fracture.training import precision
from keras_fracture.training.adversarial import AdversarialModel, sample
from keras_fracture.training.callbacks import Progress, SampleGrid, StopOnNaN
from keras_fracture.training.running import Reseed, epochs_of, fit

__all__ = [
    "AdversarialModel",
    "Progress",
    "Reseed",
    "SampleGrid",
    "StopOnNaN",
    "epochs_of",
    "fit",
    "precision",
    "sample",
]
