"""Pictures to probabilities, through a SavedModel."""

import numpy as np
import tensorflow as tf

from keras_fracture.data import Preprocess, images
from keras_fracture.errors import DataError, ModelError
from keras_fracture.models.preprocessing import scale
from keras_fracture.serving import pictures as files
from keras_fracture.versions import facts_of, loaded, version_of


def predict(model, pictures):
    """Applies an exported classifier to picture files, preprocessed as its `metadata.json` says.

    A warning says how many of them look inverted.

    Args:
        model: SavedModel folder; without a version, the highest is taken.
        pictures: Paths of JPEG or PNG files.

    Returns:
        A list of (path, list of probabilities), in the order of `pictures`.

    Raises:
        ModelError: Not a classifier exported by this package.
        ImageError: A file is missing or no picture; nothing is predicted then.
    """
    names = [str(path) for path in pictures]
    classifier = Classifier(model)
    contents = [files.read(path) for path in pictures]
    answers = classifier.predict(contents, names)
    files.warn_of_inverted(contents, classifier.inverts)
    return list(zip(names, answers.tolist(), strict=True))


class Classifier:
    """An exported classifier in this process; asked as a server's client is (`client.Client`).

    Args:
        model: SavedModel folder; without a version, the highest is taken.

    Attributes:
        classes: Names of its probabilities, or None where the SavedModel says none.
        finding: The name of the one that is the finding, or None where only the classes' names tell.
        inverts: Whether it turns black and white itself.

    Raises:
        ModelError: Not a classifier exported by this package.
    """

    def __init__(self, model):
        folder = version_of(model)
        facts = facts_of(folder)
        self.classes, self.finding = facts.get("classes"), facts.get("finding")
        self._preprocess, self._pixel_range = preparation(folder)
        self.inverts = self._preprocess.invert
        self._loaded = loaded(folder)

    def predict(self, pictures, names=None):
        """Probabilities, float32 `(n, classes)`, of the bytes of n picture files; `names` is for errors."""
        names = names or ["picture"] * len(pictures)
        prepared = [
            scale(self._preprocess(images.decode(data, name).image)[None], self._pixel_range)
            for data, name in zip(pictures, names, strict=True)
        ]
        serve = self._loaded.signatures["serving_default"]
        return np.concatenate([serve(images=tf.constant(each))["probabilities"].numpy() for each in prepared])

    def close(self):
        """Does nothing; a client has a connection to close."""


def preparation(folder):
    """How pictures are prepared for an exported classifier: its `Preprocess` and its pixel range.

    Args:
        folder: Path of the SavedModel's version.

    Raises:
        ModelError: Not a classifier, or exported without its preprocessing.
    """
    facts = facts_of(folder)
    if "preprocess" not in facts:
        raise ModelError(
            f"{folder} is no classifier, or was exported without --preprocess: its metadata.json says nothing of "
            "preprocessing"
        )
    try:
        settings = facts["preprocess"]
        preprocess = Preprocess(**settings | {"clahe": settings["clahe"] and tuple(settings["clahe"])})
        low, high = map(float, facts["pixel_range"])
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise ModelError(
            f"{folder}/metadata.json says nothing of preprocessing that can be used: {error}"
        ) from None
    return preprocess, (low, high)
