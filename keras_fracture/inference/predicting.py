"""Images to probabilities, through a SavedModel."""

import functools
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_fracture import parallel
from keras_fracture.data import scan
from keras_fracture.data.images import prepare
from keras_fracture.serving import limits
from keras_fracture.serving.metadata import facts_of, preparation, threshold_of
from keras_fracture.serving.versions import loaded, version_of

_AT_A_TIME = 32  # image files in memory


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
    names, probabilities = answers(model, [str(path) for path in images])
    return list(zip(names, probabilities.tolist(), strict=True))


def answers(model, paths, workers=parallel.HERE, parts=None):
    """What `predict` says, as an array, some files in memory at a time.

    Args:
        model: As in `predict`.
        paths: Of image files.
        workers: `parallel.Workers`, which see model and images.
        parts: As in `parallel.Workers.map`.

    Returns:
        The paths, of which those are missing that `workers` skipped, and float32 `(n, classes)`.

    Raises:
        ModelError: As in `predict`, and so are all below.
        DataError: A DICOM file, and pydicom is not installed.
        ImageError: A file is missing or no image.
        ClusterError: As in `parallel.Workers.map`.
    """
    version = version_of(model)
    shared = {"model": os.path.abspath(version), "changed": scan.folder_fingerprint(version)}
    if parts:
        shared["images"] = scan.fingerprint([Path(path) for path in paths], copied=True)
    told = workers.map(
        _answers, [(path, os.path.abspath(path)) for path in paths], batch=_AT_A_TIME, shared=shared, title="predict",
        unit=" images", parts=parts, name=lambda row: row[0], progress=len(paths) > _AT_A_TIME,
    )  # fmt: skip
    told = [(path, *answer) for path, answer in zip(paths, told, strict=True) if answer is not None]
    limits.warn_of_inverted(sum(inverted for *_, inverted in told), len(told))
    return [path for path, *_ in told], np.array([probabilities for _, probabilities, _ in told], "float32")


def _answers(rows, shared):
    """A task of `answers`: of each path, as it was given and absolute, probabilities and whether it looks inverted."""
    classifier = _opened(shared["model"], shared["changed"])
    contents = [limits.read(path) for _, path in rows]
    probabilities = classifier.predict(contents, [name for name, _ in rows])
    inverted = [bool(limits.inverted([data], classifier.inverts)) for data in contents]
    return list(zip(probabilities.tolist(), inverted, strict=True))


@functools.lru_cache(maxsize=1)
def _opened(version, changed):
    """A `Classifier`: once a process, and anew if its files have `changed`."""
    return Classifier(version)


def opened(model):
    """The `Classifier` that `answers` asks in this process; arguments and errors as there."""
    version = version_of(model)
    return _opened(os.path.abspath(version), scan.folder_fingerprint(version))


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
        return self._preprocess(self._preprocess.decode(data, name))

    def close(self):
        """Does nothing; a client has a connection to close."""
