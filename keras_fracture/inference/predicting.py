"""Images to probabilities, through a SavedModel."""

import numpy as np
import tensorflow as tf

from keras_fracture.data import decoding
from keras_fracture.data.images import prepare
from keras_fracture.serving import limits
from keras_fracture.serving.metadata import facts_of, preparation, threshold_of
from keras_fracture.serving.versions import loaded, version_of


def predict(model, images):
    """Applies an exported classifier to image files, preprocessed as its `metadata.json` says.

    A warning says how many of them look inverted.

    Args:
        model: SavedModel folder; without a version, the highest is taken.
        images: Paths of JPEG, PNG or DICOM files.

    Returns:
        A list of (path, list of probabilities), in the order of `images`.

    Raises:
        ModelError: Not a classifier exported by this package.
        DataError: A DICOM file, and pydicom is not installed.
        ImageError: A file is missing or no image; nothing is predicted then.
    """
    names = [str(path) for path in images]
    classifier = Classifier(model)
    contents = [limits.read(path) for path in images]
    probabilities = classifier.predict(contents, names)
    limits.warn_of_inverted(limits.inverted(contents, classifier.inverts), len(contents))
    return list(zip(names, probabilities.tolist(), strict=True))


class Classifier:
    """An exported classifier in this process; asked as a server's client is (`client.Client`).

    Args:
        model: SavedModel folder; without a version, the highest is taken.

    Attributes:
        classes: Names of its probabilities, or None where the SavedModel says none.
        finding: The name of the one that is the finding, or None where only the classes' names tell.
        threshold: From which probability on it says that there is a finding; 0.5 where the SavedModel says none.
        chosen: How that was chosen, in words, or None.
        inverts: Whether it turns black and white itself.
        crops: Whether it sees the middle square alone of images that are none.

    Raises:
        ModelError: Not a classifier exported by this package.
    """

    def __init__(self, model):
        folder = version_of(model)
        facts = facts_of(folder)
        self.classes, self.finding = facts.get("classes"), facts.get("finding")
        self.threshold, self.chosen = threshold_of(facts, folder)
        self._preprocess, self._pixel_range = preparation(folder)
        self.inverts, self.crops = self._preprocess.invert, self._preprocess.crop
        self._loaded = loaded(folder)

    def predict(self, images, names=None):
        """Probabilities, float32 `(n, classes)`, of the bytes of n image files; `names` is for errors."""
        prepared = prepare(images, self._preprocess, self._pixel_range, names)
        serve = self._loaded.signatures["serving_default"]
        return np.concatenate(
            [serve(images=tf.constant(each[None]))["probabilities"].numpy() for each in prepared]
        )

    def prepare(self, data, name="image"):
        """What the network is shown of an image file's bytes, uint8 `(size, size, channels)`, before it is scaled."""
        return self._preprocess(decoding.decode(data, name).image)

    def close(self):
        """Does nothing; a client has a connection to close."""
