"""Which of Keras's losses and metrics take a classifier's logits for something else."""

import functools
import inspect
import logging

import keras

_LOG = logging.getLogger(__name__)
# Keras's own that take outputs for probabilities or numbers of classes, whatever their settings, by function or class.
_OF_PROBABILITIES = {
    "accuracy", "categorical_generalized_cross_entropy", "dice", "kl_divergence", "poisson", "tversky",
}  # fmt: skip
# Those that choose among the outputs: of one there is no choice, and it is always right.
_OF_SEVERAL = {
    "categorical_accuracy", "categorical_crossentropy", "categorical_focal_crossentropy", "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy", "sparse_top_k_categorical_accuracy", "top_k_categorical_accuracy",
    "F1Score", "FBetaScore", "SparseTopKCategoricalAccuracy", "TopKCategoricalAccuracy",
}  # fmt: skip
_OF_DIFFERENCES = {
    "mean_absolute_error", "mean_squared_error", "mean_squared_logarithmic_error", "RootMeanSquaredError",
}  # fmt: skip
# Those that take each output by itself for a probability, or its logit: several are classes, of which one is chosen.
_OF_ONE = {
    "binary_accuracy", "binary_crossentropy", "binary_focal_crossentropy", "AUC", "BinaryIoU", "FalseNegatives",
    "FalsePositives", "Precision", "PrecisionAtRecall", "Recall", "RecallAtPrecision", "SensitivityAtSpecificity",
    "SpecificityAtSensitivity", "TrueNegatives", "TruePositives",
}  # fmt: skip


def mistaken(one, single):
    """What a loss or a metric of Keras's own, object or function, takes for something else, in words; or None.

    `single` says whether a network has one logit; None where that is not known. A warning is given of those that
    compare logits with labels, which may be meant.
    """
    kind, one = type(one).__name__, _within(one)
    function = getattr(one, "func", one)  # of a functools.partial
    is_function = inspect.isfunction(function)
    home = function if is_function else type(function)
    if home.__module__.partition(".")[0] != "keras":  # others may well know of logits
        return None
    names = {kind, function.__name__ if is_function else type(function).__name__}
    if names & _OF_DIFFERENCES:
        _LOG.warning(
            "outputs are compared with labels as they are, which suits numbers such as ages: to tell findings take a "
            "cross-entropy with from_logits=True. Received: %s", min(names & _OF_DIFFERENCES),
        )  # fmt: skip
    of_classes = isinstance(one, keras.metrics.IoU) and not isinstance(one, keras.metrics.BinaryIoU)
    of_classes = of_classes and (single or one.sparse_y_pred)
    if of_classes or names & _OF_PROBABILITIES or _by_settings(one, function):
        return "logits"
    if single is False and names & _OF_ONE and getattr(one, "top_k", None) is None:
        return "logits of several classes, of which a softmax chooses one"
    none_to_choose = single and names & _OF_SEVERAL and getattr(one, "threshold", None) is None
    return "one logit alone" if none_to_choose else None


def _within(one):
    """The function of a wrapper of Keras's own with its settings, as a partial; anything else as it is."""
    function = getattr(one, "_fn", getattr(one, "fn", None))
    if not callable(function) or type(one).__module__.partition(".")[0] != "keras":
        return one
    return functools.partial(_within(function), **one._fn_kwargs)


def _by_settings(one, function):
    """Whether the settings of what is Keras's own are those for probabilities."""
    if inspect.isfunction(function):
        defaults = {name: each.default for name, each in inspect.signature(one).parameters.items()}
        return defaults.get("from_logits") is False or defaults.get("threshold") == 0.5
    of_logits = getattr(function, "from_logits", getattr(function, "_from_logits", None))
    if of_logits is not None:
        return not of_logits
    # Several thresholds must be probabilities, says Keras.
    several = any(0 < each < 1 for each in getattr(function, "thresholds", None) or ())
    return several or getattr(function, "threshold", None) == 0.5
