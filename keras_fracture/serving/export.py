"""SavedModels for TensorFlow Serving: numeric versions, fixed names, float32 in."""

import dataclasses
import json
from pathlib import Path

import keras
import tensorflow as tf

from keras_fracture import files
from keras_fracture.errors import ModelError, OutputError
from keras_fracture.serving import graph


def export(model, path, version=1, preprocess=None, metadata=None):
    """Exports a model as `path/version`, whole or not at all.

    Classifiers get `images` -> `probabilities`; generators get `noise` -> `images`, those with classes `noise`
    and int32 `labels` `(batch,)`; translators `images` -> `images`, healthy to lesion. Pictures and noise are
    float32 whatever the model's dtype policy.

    With `preprocess`, classifiers get a second endpoint, `serve_bytes`: `bytes`, string `(batch,)`, the contents of
    JPEG or PNG files -> `probabilities`, float32. It prepares pictures as training does, grey level by grey level, in
    TensorFlow operations alone; `graph.decode` says what it cannot read. One unreadable file fails its whole batch.

    Args:
        model: A classifier (logits out), a generator or a translator of this package.
        path: Folder of the model; TensorFlow Serving's `base_path`.
        version: Positive integer.
        preprocess: The `data.Preprocess` a classifier was trained with.
        metadata: Further facts for `metadata.json`.

    Returns:
        The version's folder.

    Raises:
        ModelError: `preprocess` makes other pictures than the model takes.
        OutputError: It exists already, or cannot be written.
    """
    if preprocess and (preprocess.size, preprocess.channels) != (model.image_size, model.channels):
        raise ModelError(
            f"preprocess must make what the model takes, {model.image_size} pixels and {model.channels} channel(s). "
            f"Received: {preprocess}"
        )
    target = Path(path) / str(version)
    if target.exists():
        raise OutputError(f"{target} exists already: choose another version")
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
        "not_for_clinical_use": True,
        **({"preprocess": dataclasses.asdict(preprocess)} if preprocess else {}),
        **(metadata or {}),
    }
    with files.new_folder(target) as folder:
        archive = keras.export.ExportArchive()
        # Not the model itself: Keras would trace it with a single input, and a generator may need labels.
        archive.add_variable_collection("model_variables", model.variables)
        serve = archive.add_endpoint("serving_default", draw if draws else classify, signature)
        endpoints = {"serving_default": serve}
        if preprocess and not draws:
            classify_bytes = _of_bytes(serve, preprocess, model)
            data = tf.TensorSpec((None,), tf.string, name="bytes")
            endpoints["serve_bytes"] = archive.add_endpoint("serve_bytes", classify_bytes, [data])
        facts["endpoints"] = {name: _describe(endpoint) for name, endpoint in endpoints.items()}
        archive.write_out(str(folder), verbose=False)
        (folder / "metadata.json").write_text(
            json.dumps(facts, indent=1, default=str) + "\n", encoding="utf-8"
        )
    return target


def _of_bytes(classify, preprocess, model):
    """The traced classifier (so that the network is saved once) behind its preprocessing."""
    picture = tf.TensorSpec((preprocess.size, preprocess.size, preprocess.channels), tf.float32)

    def classify_bytes(data):
        pictures = tf.map_fn(
            lambda each: graph.preprocess(each, preprocess, model.pixel_range),
            data,
            parallel_iterations=2,  # a picture on its way takes about 30 bytes a pixel
            fn_output_signature=picture,
        )
        return classify(pictures)

    return classify_bytes


def _describe(endpoint):
    """Names, dtypes and shapes of an endpoint's inputs and outputs, for JSON."""
    traced = endpoint.get_concrete_function()

    def facts(tensors):
        return {
            name: {"dtype": tensor.dtype.name, "shape": tensor.shape.as_list()}
            for name, tensor in tensors.items()
        }

    given = {spec.name: spec for spec in tf.nest.flatten(traced.structured_input_signature)}
    return {"inputs": facts(given), "outputs": facts(traced.structured_outputs)}
