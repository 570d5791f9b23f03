"""Pictures on disk to probabilities, through a SavedModel."""

import json
from pathlib import Path

import tensorflow as tf

from keras_fracture.data import Preprocess, images
from keras_fracture.errors import ImageError, ModelError
from keras_fracture.models.preprocessing import scale


def predict(model, pictures):
    """Applies an exported classifier to picture files, preprocessed as its `metadata.json` says.

    Args:
        model: SavedModel folder; without a version, the highest is taken.
        pictures: Paths of JPEG or PNG files.

    Returns:
        A list of (path, list of probabilities), in the order of `pictures`.

    Raises:
        ModelError: Not a classifier exported by this package.
        ImageError: A file is missing or no picture; nothing is predicted then.
    """
    folder = version_of(Path(model))
    preprocess, pixel_range = preparation(folder)
    inputs = [scale(preprocess(_read(Path(path)))[None], pixel_range) for path in pictures]
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return [
        (str(path), serve(images=tf.constant(batch))["probabilities"].numpy()[0].tolist())
        for path, batch in zip(pictures, inputs, strict=True)
    ]


def preparation(folder):
    """How pictures are prepared for an exported classifier: its `Preprocess` and its pixel range.

    Args:
        folder: Path of the SavedModel's version.

    Raises:
        ModelError: Not a classifier, or exported without its preprocessing.
    """
    facts = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    if "preprocess" not in facts:
        raise ModelError(f"{folder} is not a classifier: its metadata.json says nothing of preprocessing")
    settings = facts["preprocess"]
    preprocess = Preprocess(**settings | {"clahe": settings["clahe"] and tuple(settings["clahe"])})
    return preprocess, tuple(facts["pixel_range"])


def _read(path):
    if not path.is_file():
        raise ImageError(f"{path} does not exist: name a JPEG or PNG file")
    return images.decode(path.read_bytes(), str(path)).image


def version_of(folder):
    """The folder of a SavedModel itself if it is a version, else its highest numbered version.

    Raises:
        ModelError: It holds no SavedModel of this package.
    """
    if (folder / "metadata.json").is_file():
        return folder
    versions = [
        path for path in folder.glob("*") if path.name.isdigit() and (path / "metadata.json").is_file()
    ]
    if not versions:
        raise ModelError(f"{folder} holds no SavedModel written by this package (NUMBER/metadata.json)")
    return max(versions, key=lambda path: int(path.name))
