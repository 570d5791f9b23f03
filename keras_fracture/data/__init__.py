"""Data sets as records with a known source, honest splits, audit, and tf.data pipelines."""

from keras_fracture.data.loading import load, load_all, names, prepare

__all__ = ["Augmentation", "Preprocess", "Records", "batches", "load", "load_all", "names", "prepare"]


def __getattr__(name):
    # These import TensorFlow, which takes seconds that listing data sets should not cost.
    if name in ("Augmentation", "Preprocess", "Records", "batches"):
        from keras_fracture.data import augmentation, pipeline

        return getattr(augmentation if name == "Augmentation" else pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
