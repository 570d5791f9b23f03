"""Data sets as records with a known source, honest splits, audit, and tf.data pipelines."""

from keras_fracture.data.loading import load, load_all, names, prepare
from keras_fracture.lazy import on_first_use

__all__ = ["Augmentation", "Preprocess", "Records", "batches", "load", "load_all", "names", "prepare"]

# All but `Preprocess` import TensorFlow, which takes seconds that listing data sets should not cost.
_HOMES = {
    "Augmentation": "augmentation",
    "Preprocess": "images",
    "Records": "pipeline",
    "batches": "pipeline",
}
__getattr__, __dir__ = on_first_use(__name__, __all__, _HOMES)
