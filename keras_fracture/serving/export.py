"""SavedModels for TensorFlow Serving: numeric versions, fixed names, float32 in."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from keras_fracture import files
from keras_fracture.errors import OutputError


def export(model, path, version=1, preprocess=None, metadata=None):
    """Exports a model as `path/version`, whole or not at all.

    Classifiers get `images` -> `probabilities`; generators get `noise` -> `images`, those with classes `noise`
    and int32 `labels` `(batch,)`; translators `images` -> `images`, healthy to lesion. Pictures and noise are
    float32 whatever the model's dtype policy.

    Args:
        model: A classifier (logits out), a generator or a translator of this package.
        path: Folder of the model; TensorFlow Serving's `base_path`.
        version: Positive integer.
        preprocess: The `data.Preprocess` a classifier was trained with.
        metadata: Further facts for `metadata.json`.

    Returns:
        The version's folder.

    Raises:
        OutputError: It exists already, or cannot be written.
    """
    target = Path(path) / str(version)
    if target.exists():
        raise OutputError(f"{target} exists already: choose another version")
    beside = files.folder(path) / f".{version}.{os.getpid()}"
    generator = hasattr(model, "latent_dim")
    shape = (model.latent_dim,) if generator else (model.image_size, model.image_size, model.channels)
    name = "noise" if generator else "images"
    draws = generator or hasattr(model, "translate")
    signature = [tf.TensorSpec((None, *shape), tf.float32, name=name)]
    if generator and getattr(model, "num_classes", None):
        signature.append(tf.TensorSpec((None,), tf.int32, name="labels"))

    def draw(given, *labels):
        return {"images": tf.cast(model(given, *labels, training=False), tf.float32)}

    def classify(images):
        logits = tf.cast(model(images, training=False), tf.float32)
        return {"probabilities": tf.sigmoid(logits) if logits.shape[-1] == 1 else tf.nn.softmax(logits)}

    facts = {
        "architecture": type(model).__name__,
        "config": model.get_config(),
        "pixel_range": list(model.pixel_range),
        "input": {spec.name: spec.shape.as_list() for spec in signature},
        "not_for_clinical_use": True,
        **({"preprocess": dataclasses.asdict(preprocess)} if preprocess else {}),
        **(metadata or {}),
    }
    try:
        archive = keras.export.ExportArchive()
        # Not the model itself: Keras would trace it with a single input, and a generator may need labels.
        archive.add_variable_collection("model_variables", model.variables)
        archive.add_endpoint("serving_default", draw if draws else classify, signature)
        archive.write_out(str(beside), verbose=False)
        (beside / "metadata.json").write_text(
            json.dumps(facts, indent=1, default=str) + "\n", encoding="utf-8"
        )
        beside.replace(target)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target
