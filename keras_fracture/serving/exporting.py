"""SavedModels for TensorFlow Serving: numeric versions, fixed names, float32 in."""

import dataclasses
import json
import logging
from pathlib import Path

import keras
import tensorflow as tf

from keras_fracture import files
from keras_fracture.data.ranges import not_finite
from keras_fracture.errors import ModelError, OutputError
from keras_fracture.models.registry import architecture_of
from keras_fracture.serving import card, endpoints, warmup
from keras_fracture.serving.loading import KEPT_QUANTISED

_LOG = logging.getLogger(__name__)


def export(model, path, version=1, preprocess=None, metadata=None, exponent=2.0):
    """Exports a model as `path/version`, whole or not at all.

    | model | endpoint | inputs | outputs |
    | --- | --- | --- | --- |
    | classifier | `serving_default` | `images` | `probabilities` |
    | classifier, with `preprocess` | `serve_bytes` | `bytes` | `probabilities` |
    | generator | `serving_default` | `noise`, with classes `labels` | `images` |
    | generator | `generate` | `seed`, `number`, with classes `label` | `images`, uint8 |
    | translator | `serving_default` | `images`, healthy | `images`, with a lesion |
    | translator | `translate` | `bytes`, `windows` | `images_bytes`, PNG |

    Images are float32 in the model's pixel range and noise float32, whatever the model's dtype policy, unless the
    table says otherwise. `bytes` is string `(batch,)`, the contents of JPEG or PNG files. `serve_bytes` prepares them
    as training does, grey level by grey level, in TensorFlow operations alone; `graph.decode` says what it cannot
    read. One unreadable file fails its whole batch. See `endpoints` for the others. Every input has one row an image,
    so that a server can answer several requests as one batch.

    Beside the SavedModel lie `metadata.json`, the same as a model card, `model_card.md`, and, where
    `tensorflow-serving-api` is installed, a warm-up request an endpoint for TensorFlow Serving.

    Args:
        model: A classifier (logits out), a generator or a translator of this package.
        path: Folder of the model; TensorFlow Serving's `base_path`.
        version: Positive integer.
        preprocess: The `data.Preprocess` a classifier was trained with.
        metadata: Further facts for `metadata.json`, see `card`. A classifier's `classes` are the names of its outputs
            in their order, `finding` is one of them; of a model of `models.load` both are known, but not its
            `threshold`, which further training changes: a warning says where it is left out.
        exponent: Of the blending of `translate`, see `synthesis.blending.weights`.

    Returns:
        The version's folder.

    Raises:
        ModelError: The model is none of this package, `preprocess` makes other images than it takes, or `classes` or
            `finding` do not fit it, or a weight is NaN or infinite.
        OutputError: It exists already, or cannot be written.
    """
    if not hasattr(model, "image_size"):
        raise ModelError(
            "export takes a classifier, generator or translator made by keras_fracture.models.create; for any other "
            f"model use its own export(). Received: {type(model).__name__} {model.name!r}"
        )
    if preprocess and (preprocess.size, preprocess.channels) != (model.image_size, model.channels):
        raise ModelError(
            f"preprocess must make what the model takes, {model.image_size} pixels and {model.channels} channel(s). "
            f"Received: {preprocess}"
        )
    if spoilt := not_finite(model.weights):
        raise ModelError(
            "weights must be finite to be exported: train anew, or go back to an earlier epoch. "
            f"Received: NaN or infinity in {spoilt}"
        )
    named = _named(model, metadata or {})
    target = Path(path) / str(version)
    if target.exists():
        raise OutputError(f"{target} exists already: choose another version")
    _warn_of_changes(model, preprocess)
    facts = {
        "architecture": architecture_of(model),
        "config": model.get_config(),
        "parameters": model.count_params(),
        "pixel_range": getattr(model, "pixel_range", None),  # the dense discriminator takes any
        "not_for_clinical_use": True,
        **({"preprocess": dataclasses.asdict(preprocess)} if preprocess else {}),
        **({"exponent": exponent} if hasattr(model, "translate") else {}),
        **(metadata or {}),
        **named,
    }
    with files.new_folder(target) as folder:
        archive = keras.export.ExportArchive()
        # Not the model itself: Keras would trace it with a single input, and a generator may need labels.
        # TensorFlow's own variables, which the endpoints hold too: Keras's would be saved a second time.
        archive.add_variable_collection("model_variables", [variable.value for variable in model.variables])
        served = _add_endpoints(archive, model, preprocess, exponent)
        facts["endpoints"] = {name: _describe(endpoint) for name, endpoint in served.items()}
        archive.write_out(str(folder), verbose=False)
        facts["warm_up_requests"] = warmup.write(folder, Path(path).name, facts["endpoints"])
        text = json.dumps(facts, indent=1, default=str) + "\n"
        (folder / "metadata.json").write_text(text, encoding="utf-8")
        (folder / "model_card.md").write_text(card.text(Path(path).name, json.loads(text)), encoding="utf-8")
    return target


def _warn_of_changes(model, preprocess):
    """Says what of a model is served as it is, but cannot be built again, and that images are prepared otherwise."""
    quantised, adapted = (
        [one for one in model._flatten_layers() if getattr(one, attribute, None)]
        for attribute in ("quantization_mode", "lora_enabled")
    )
    odd = [f"layer {one.path}, quantised or with LoRA" for one in quantised + adapted]
    if "." in (kind := architecture_of(model)):
        odd.insert(0, f"class {kind}")
    if odd:
        _LOG.warning(
            "servers answer as this model does, but models.load cannot build it again, nor can it be exported anew: "
            "keep %s, too. Received: %s",
            # Keras cannot load a quantised .keras file of a model that is written as a class.
            KEPT_QUANTISED if quantised else "it as a .keras file", odd[0],
        )  # fmt: skip
    own = getattr(model, "preprocess", None)
    if own and preprocess and dataclasses.replace(preprocess, jpeg=own.jpeg) != own:
        _LOG.warning(
            "exported with images prepared otherwise than those this model was loaded with, which is right only if it "
            "was trained further on such: preprocess=model.preprocess keeps them. Received: %s where it had %s",
            preprocess, own,
        )  # fmt: skip


def _named(model, metadata):
    """A classifier's `classes` and `finding`, where they are known; those of a generator are left as they are.

    Raises:
        ModelError: They do not fit its outputs or labels, or a model of `models.load` is said to have its own in
            another order.
    """
    if hasattr(model, "latent_dim"):
        names, known = list(metadata.get("classes") or ()), getattr(model, "num_classes", None) or 0
        if names and not len(names) == len(set(names)) == known:
            raise ModelError(
                f"classes of this generator must be {known} different names, in the order of its labels. "
                f"Received: {', '.join(names)}"
            )
        return {}
    if not hasattr(model, "classify") or not getattr(model, "include_top", True):
        return {}
    own, outputs = getattr(model, "classes", None), model.num_classes
    classes, finding = metadata.get("classes"), metadata.get("finding")
    if classes is None and own:
        classes = own
        finding = own[model.finding] if finding is None and model.finding is not None else finding
    classes = list(classes or ())
    if classes and not len(classes) == len(set(classes)) == outputs:
        raise ModelError(
            f"classes must be {outputs} different names, in the order of the outputs. Received: {', '.join(classes)}"
        )
    if own and classes != list(own) and set(classes) == set(own):
        raise ModelError(
            f"classes of this model, as models.load gives it, are {', '.join(own)} in this order, or left out. "
            f"Received: {', '.join(classes)}"
        )
    if finding is not None and finding not in [*classes, *map(str.lower, classes)]:
        raise ModelError(f"finding must be one of the classes that are named. Received: {finding!r}")
    if (threshold := getattr(model, "threshold", 0.5)) != 0.5 and "threshold" not in metadata:
        _LOG.warning(
            'exported with a threshold of 0.5, not of %g, as it was loaded with: metadata={"threshold": {"value": %g}} '
            "keeps it, unless the model was trained further",
            threshold, threshold,
        )  # fmt: skip
    theirs = {getattr(one, "threshold", 0.5) for one in getattr(model, "members", ())} - {0.5}
    if theirs and not hasattr(model, "threshold") and "threshold" not in metadata:
        _LOG.warning(
            "exported with a threshold of 0.5: that of an ensemble is none of its members', choose it on images of "
            'validation and pass metadata={"threshold": {"value": ...}}. Received: members with %s',
            ", ".join(f"{one:g}" for one in sorted(theirs)),
        )  # fmt: skip
    facts = {"classes": classes or None, "finding": finding}
    return {name: value for name, value in facts.items() if value is not None}


def _add_endpoints(archive, model, preprocess, exponent):
    """Adds a model's endpoints to an archive; returns them, traced, by name."""
    default_fn, further = archive.add_endpoint("serving_default", *endpoints.default(model)), {}
    if hasattr(model, "latent_dim"):
        further = {"generate": endpoints.generate(default_fn, model)}
    elif hasattr(model, "translate"):
        further = {"translate": endpoints.translate_bytes(default_fn, model, exponent)}
    elif preprocess:
        further = {"serve_bytes": endpoints.classify_bytes(default_fn, model, preprocess)}
    return {"serving_default": default_fn} | {
        name: archive.add_endpoint(name, *function) for name, function in further.items()
    }


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
