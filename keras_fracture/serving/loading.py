"""Trained models of this package back from their SavedModels as Keras models: `models.load`."""

import logging
import re

import keras
import numpy as np
import tensorflow as tf

import keras_fracture.models  # noqa: F401, so that Keras knows the architectures by their names
from keras_fracture.data.levels import checked_range
from keras_fracture.errors import DataError, ModelError, one_line
from keras_fracture.serving.metadata import facts_of, finding_of, other_policy, preparation, threshold_of
from keras_fracture.serving.versions import loaded, version_of

_LOG = logging.getLogger(__name__)
KEPT_QUANTISED = (
    "its .weights.h5 file (save_weights; create a model alike, quantize it alike, then load_weights)"
)
# What Keras calls the weights of layers that were quantised, or have LoRA.
_OF_CHANGED = re.compile(r"kernel_scale|kernel_zero|amax_history|lora_")


def load(name):
    """A trained model as a Keras model, to be looked into, trained on or exported anew.

        model = keras_fracture.models.load("resnet18_fracatlas")
        images, labels = keras_fracture.data.load("fracatlas", split="test").arrays(model.preprocess)

    A classifier has the attributes `preprocess`, the `data.Preprocess` of its images, for `Records.arrays` and
    `Records.batched` (None where the SavedModel does not say it); `classes`, a tuple of names in the order of the
    outputs, or None; `finding`, the index among them of the finding, or None where they do not tell; and `threshold`,
    from which probability of a finding on it says that there is one. Of two classes the finding is always the second,
    as labels 0 and 1 are: where the SavedModel has it first, the last layer's outputs change places.

    `copy.deepcopy` and pickle of the model itself keep these attributes. None of them is in a `.keras` file of the
    model: `serving.export` with `preprocess` and `metadata` keeps them, a `threshold` too.

    Args:
        name: One of `saved_models/` in the working folder, or of those that come with the package or its release
            (`keras-fracture models list`), or the path of a SavedModel that `serving.export` wrote; without a version
            the highest is taken.

    Returns:
        A built `keras.Model` in float32, with the saved weights. Of a model that was saved in 16 bits the answers
        differ from the SavedModel's; a warning says by how much.

    Raises:
        ModelError: There is no such model, it is not of this package, or its metadata do not fit it.
    """
    version = version_of(name)
    facts, model = facts_of(version), as_saved(version)
    if not hasattr(model, "classify") or not getattr(model, "include_top", True):
        return model
    classes, finding = facts.get("classes"), _finding(facts, version)
    if classes is not None and (not isinstance(classes, list) or len(classes) != model.num_classes):
        raise ModelError(
            f"{version} must name as many classes as it has outputs, {model.num_classes}: export it again. "
            f"Received: {classes!r:.60}"
        )
    if model.num_classes == 2 and finding == 0:
        for variable in _head_of(model, version):
            variable.assign(variable[..., ::-1])
        classes, finding = classes[::-1], 1
    model.preprocess = preparation(version)[0] if "preprocess" in facts else None
    model.classes, model.finding = classes and tuple(classes), finding
    model.threshold = threshold_of(facts, version)[0]
    return model


def _head_of(model, version):
    """The last layer's kernel and bias, whether they are trained or not; of an ensemble those of all its members."""
    if members := getattr(model, "members", None):
        return [variable for one in members for variable in _head_of(one, version)]
    head = model.weights[-2:]
    if [(one.name, one.shape[-1]) for one in head] != [("kernel", 2), ("bias", 2)]:
        raise ModelError(
            f"{version} names its finding first, and its last layer's two outputs cannot change places: export it with "
            f"the finding last. Received: {', '.join(f'{one.path} {tuple(one.shape)}' for one in head)}"
        )
    return head


def _finding(facts, version):
    """The index of the finding, or None."""
    try:
        return finding_of(facts, version)
    except ModelError:
        return None


def _name(path):
    """What a weight is called in its layer, without the numbers by which equal names are told apart.

    Not the layer's name: models that were exported earlier have other ones.
    """
    return re.sub(r"_\d+$", "", path.split(":")[0].split("/")[-1])


def as_saved(version, own_dtype=False):
    """A trained model as a Keras model, its outputs in the order of the SavedModel's.

    Where it answers otherwise than the SavedModel, a warning says by how much.

    Args:
        version: Folder of its version.
        own_dtype: Whether it computes in the dtype policy that it was saved with, and not in float32.

    Raises:
        ModelError: It is none of this package, or damaged.
    """
    facts = facts_of(version)
    kind = keras.saving.get_registered_object(f"keras_fracture>{facts['architecture']}")
    if kind is None:
        raise ModelError(f"{version} is no model of this package. Received: {facts['architecture']!r}")
    saved_variables = ()
    try:
        float32 = {"dtype": "float32"}
        model = kind.from_config(float32 | facts["config"] if own_dtype else facts["config"] | float32)
        saved_model = loaded(version)
        saved_variables = saved_model.model_variables
        for variable, saved in zip(model.variables, saved_variables, strict=True):
            # Weights of one shape may have changed places since the model was saved.
            if _name(variable.path) != _name(saved.name):
                raise ValueError(f"{saved.name} where {variable.path} is expected")
            variable.assign(np.asarray(saved))
        # Somebody set another on the model, of which its class does not know.
        if (pixel_range := facts.get("pixel_range")) and tuple(pixel_range) != model.pixel_range:
            model.pixel_range = tuple(checked_range(pixel_range))
    except (DataError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        if changed := [one.name for one in saved_variables if _OF_CHANGED.search(one.name)]:
            kept = "its .keras file" if all("lora_" in one for one in changed) else KEPT_QUANTISED
            raise ModelError(
                f"{version} holds a model that was quantised or has LoRA, which cannot be built again: export it as it "
                f"was before, or load {kept}. Received: a weight {changed[0]}"
            ) from None
        raise ModelError(
            f"{version} and its metadata.json do not fit each other ({one_line(error)}): export it again"
        ) from None
    if not own_dtype:
        _warn_of_difference(version, facts, model, saved_model)
    return model


def _warn_of_difference(version, facts, model, saved_model):
    """Says where a model answers otherwise in float32 than its SavedModel, of which metrics and threshold are."""
    policy = other_policy(facts)
    if not policy:
        return
    # Here, because most models are loaded without.
    from keras_fracture.serving import comparing, endpoints
    from keras_fracture.training.precision import as_saved as without_rewriting

    function, inputs = endpoints.default(model)
    by_how_much = ""
    if not tf.distribute.has_strategy():  # in whose scope a SavedModel cannot be asked
        with without_rewriting():
            difference = comparing.difference(
                saved_model.signatures["serving_default"],
                lambda **given: function(*(given[one.name] for one in inputs)),
                facts,
            )
        if difference <= comparing.LARGEST:
            return
        by_how_much = f" by up to {difference:.2g}"
    threshold = ", of which its metrics and threshold are: choose a threshold anew, or ask the SavedModel"
    _LOG.warning(
        "%s was saved in %s and is built in float32: its answers for drawn inputs differ%s from the SavedModel's%s",
        version, policy, by_how_much, threshold if "threshold" in facts else "",
    )  # fmt: skip
