"""Trained models of this package back from their SavedModels as Keras models: `models.load`."""

import keras
import numpy as np

import keras_fracture.models  # noqa: F401, so that Keras knows the architectures by their names
from keras_fracture.errors import ModelError, one_line
from keras_fracture.serving.metadata import facts_of
from keras_fracture.serving.versions import loaded, version_of


def load(name):
    """A trained model as a Keras model, to be looked into, trained on or exported anew.

        model = keras_fracture.models.load("resnet18_fracatlas")

    Args:
        name: One of `saved_models/` in the working folder, or of those that come with the package or its release
            (`keras-fracture models list`), or the path of a SavedModel that `serving.export` wrote; without a version
            the highest is taken.

    Returns:
        A built `keras.Model` in float32, with the saved weights.

    Raises:
        ModelError: There is no such model, or it is not of this package.
    """
    version = version_of(name)
    facts = facts_of(version)
    kind = keras.saving.get_registered_object(f"keras_fracture>{facts['architecture']}")
    if kind is None:
        raise ModelError(f"{version} is no model of this package. Received: {facts['architecture']!r}")
    try:
        model = kind.from_config(facts["config"] | {"dtype": "float32"})
        saved = [np.asarray(each) for each in loaded(version).model_variables]
        for variable, value in zip(model.variables, saved, strict=True):
            variable.assign(value)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{version} and its metadata.json do not fit each other ({one_line(error)}): export it again"
        ) from None
    return model
