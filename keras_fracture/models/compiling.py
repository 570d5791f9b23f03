"""What a classifier is compiled with: its outputs are logits, and Keras takes those of its own for probabilities."""

import functools
import inspect
import logging
import warnings

import keras
import numpy as np

from keras_fracture.errors import ModelError, TrainingError
from keras_fracture.models.mistaken import mistaken

_LOG = logging.getLogger(__name__)
_ACCURACY = ("accuracy", "acc")  # of which Keras chooses the kind, by the shapes
_CROSSENTROPY = ("crossentropy", "ce")  # likewise, and always of probabilities
_METRICS = {  # of one logit, of several
    True: "keras.metrics.BinaryAccuracy(threshold=0), keras.metrics.AUC(from_logits=True) or "
    "keras.metrics.Recall(thresholds=0)",
    False: "'accuracy', or take scikit-learn's of the softmax of what predict gives",
}


def for_logits(cls):
    """Class decorator: `compile` refuses losses and metrics that take a classifier's logits for probabilities.

    They run without a word, and what they give is nonsense. "accuracy" is understood: of a single logit, a finding is
    what lies above 0, and not above 0.5.
    """
    compile_ = cls.compile
    if hasattr(compile_, "looks_at_logits"):  # decorated already
        return cls

    @functools.wraps(compile_)
    def compile_for_logits(self, *args, **kwargs):
        network = getattr(self, "classifier", self)  # of what trains one
        if getattr(network, "include_top", True):
            single = network.num_classes == 1
            bound = inspect.signature(keras.Model.compile).bind(self, *args, **kwargs)
            _check_loss(bound.arguments.get("loss"), single)
            for name in {"metrics", "weighted_metrics"} & set(bound.arguments):
                bound.arguments[name] = _checked(bound.arguments[name], single)
            args, kwargs = bound.args[1:], bound.kwargs
        self.__dict__.pop("first_rate", None)
        return compile_(self, *args, **kwargs)

    def compile_from_config(self, config):
        """Compiles a model of a file as it was, which Keras leaves where `compile` is not its own."""
        try:
            self.compile(**keras.saving.deserialize_keras_object(config))
        except TrainingError as error:
            warnings.warn(f"Loaded, but not compiled as it was saved: {error}", stacklevel=2)
            return
        if self.built:
            self.optimizer.build(self.trainable_variables)

    compile_for_logits.looks_at_logits = True
    if compile_ is keras.Model.compile:
        compile_for_logits.__doc__ = (
            "`keras.Model.compile`, which refuses what takes logits for probabilities."
        )
    cls.compile, cls.compile_from_config = compile_for_logits, compile_from_config
    return cls


def check_labels(model, labels):
    """Raises `TrainingError` unless labels are of a model's classes.

    Looked at are those of a GAN with classes, and of a classifier with one logit that learns by cross-entropy: whole or
    soft labels from 0 to 1. Others, such as -1 and 1, have a loss that has no lowest value, without a word.

    Args:
        model: A compiled `keras.Model`.
        labels: Array or tensor; a dict of them, of which "finding" is looked at; or None.
    """
    if labels is None:
        return
    if getattr(model, "label_classes", None) is not None:
        from keras_fracture.data.ranges import check_classes  # here: see `registry`

        check_classes(labels, model.label_classes)
    network = getattr(model, "classifier", model)
    if not hasattr(type(model).compile, "looks_at_logits") or not getattr(network, "include_top", True):
        return
    loss = getattr(model, "loss", None)
    loss, labels = (one.get("finding") if isinstance(one, dict) else one for one in (loss, labels))
    if isinstance(labels, list | tuple) and any(
        hasattr(one, "shape") for one in labels
    ):  # one for each output
        return
    if labels is not None and network.num_classes > 1 and any(map(_is_sparse, keras.tree.flatten(loss))):
        from keras_fracture.data.ranges import check_classes

        check_classes(labels, network.num_classes)
    if labels is None or network.num_classes != 1 or not any(map(_is_binary, keras.tree.flatten(loss))):
        return
    values = np.asarray(labels)
    if values.dtype.kind in "biuf" and not ((values >= 0) & (values <= 1)).all():  # NaN is not
        raise TrainingError(
            "labels of a network with one logit must lie from 0 to 1, 1 for a finding: map yours to 0 and 1, or build "
            f"a network of more classes (num_classes). Received: {np.unique(values)[:9].tolist()}"
        )


def check_class_weight(model, weights):
    """Raises `TrainingError` unless the keys of a `class_weight` are numbers of a classifier's classes, or it is None.

    Keras looks up the number of each label, and takes 1 where it finds none.
    """
    network = getattr(model, "classifier", model)
    if not isinstance(weights, dict) or not hasattr(type(model).compile, "looks_at_logits"):
        return
    if not getattr(network, "include_top", True):
        return
    classes = range(max(network.num_classes, 2))
    if any(key not in classes for key in weights):
        raise TrainingError(
            f"class_weight is a dict of numbers of classes, from 0 to {classes[-1]}, to their weights (see "
            f"training.class_weights). Received: {weights}"
        )


def check_image_size(model, shape, purpose):
    """Warns of images of another size than a classifier was built for, or raises `ModelError` if it takes no others."""
    network = getattr(model, "classifier", model)
    side = getattr(network, "image_size", None)
    classifies = hasattr(network, "classify") and getattr(network, "include_top", True)
    if not classifies or side is None or shape[1:3] == (side, side):
        return
    if not _answers(network, shape):
        raise ModelError(
            f"The images to {purpose} must be of the model's size, since it takes no others: prepare them at {side} x "
            f"{side} pixels. Received: {shape}"
        )
    warnings.warn(
        f"The images to {purpose} are of another size than the model's, for which it answers, but far worse unless "
        f"it was trained so: prepare them at {side} x {side} pixels. Received: {shape}",
        stacklevel=2,
    )


def _answers(network, shape):
    # Others average their maps, of any size; to try them takes seconds.
    if any(isinstance(layer, keras.layers.Flatten) for layer in network._flatten_layers()):
        try:
            network.compute_output_spec(keras.KerasTensor((1, *shape[1:3], network.channels)))
        except ValueError:
            return False
    return True


def _is_binary(loss):
    """Whether a loss is a cross-entropy of labels from 0 to 1."""
    known = _known(loss, keras.losses.get)
    kinds = keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy
    functions = keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy
    return isinstance(known, kinds) or getattr(known, "func", known) in functions


def _is_sparse(loss):
    """Whether a loss is a cross-entropy of labels that are numbers of classes, and leaves none of them out."""
    known = _known(loss, keras.losses.get)
    own = keras.losses.SparseCategoricalCrossentropy, keras.losses.sparse_categorical_crossentropy
    if getattr(known, "ignore_class", None) is not None or getattr(known, "keywords", {}).get("ignore_class"):
        return False
    return isinstance(known, own[0]) or getattr(known, "func", known) is own[1]


def constant_rate(optimizer):
    """The learning rate that an optimizer has now; None where a schedule or a function gives it, or there is none."""
    rate = getattr(getattr(optimizer, "inner_optimizer", optimizer), "_learning_rate", None)
    return float(keras.ops.convert_to_numpy(rate)) if isinstance(rate, keras.Variable) else None


def steps_taken(optimizer):
    """How many steps an optimizer has taken, also where a strategy mirrors their number."""
    return int(keras.ops.convert_to_numpy(optimizer.iterations))


def note_rate(model):
    """Keeps a constant learning rate as `first_rate` before a first step; callbacks may lower it later."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not steps_taken(optimizer):
        model.first_rate = constant_rate(optimizer)


def check_schedule(model, steps, epochs, initial_epoch=0):
    """Warns of a training that goes on where a cosine has taken the learning rate to 0, as of the steps of one epoch.

    Args:
        model: A compiled `keras.Model`.
        steps: Of an epoch, or None, of which nothing is said.
        epochs: As in `keras.Model.fit`, and so is the next.
        initial_epoch: The first epoch.
    """
    optimizer = getattr(model, "optimizer", None)
    schedule = getattr(getattr(optimizer, "inner_optimizer", optimizer), "_learning_rate", None)
    if not steps or not isinstance(schedule, keras.optimizers.schedules.CosineDecay) or schedule.alpha:
        return
    end = schedule.decay_steps + (schedule.warmup_steps if schedule.warmup_target is not None else 0)
    last = steps_taken(optimizer) + (epochs - initial_epoch) * steps
    if last > 1.05 * end:  # whole blocks of `steps_per_execution` may be a few more
        _LOG.warning(
            "the learning rate falls to 0 at step %d, and stays there to the end of this training, step %d, so that "
            "nothing is learnt: give its schedule the steps of all epochs. Received: %d epochs of %d steps",
            end, last, epochs - initial_epoch, steps,
        )  # fmt: skip


def _check_loss(loss, single):
    if isinstance(loss, dict):  # an output each; body parts, which are learnt beside, are several
        for name, one in loss.items():
            _check_loss(one, single and name != "body_part")
    elif isinstance(loss, list | tuple):
        for one in loss:
            _check_loss(one, single if len(loss) == 1 else None)  # whose output is whose is not known
    elif given := mistaken(_known(loss, keras.losses.get), single):
        kind = "BinaryCrossentropy" if single else "SparseCategoricalCrossentropy"
        raise TrainingError(
            f"This network gives {given}, of which the loss must know: write "
            f"keras.losses.{kind}(from_logits=True). Received: {_words(loss)}"
        )


def _checked(metrics, single):
    """Metrics as they were given, "accuracy" of a single logit excepted."""
    if isinstance(metrics, dict):
        return {name: _checked(one, single and name != "body_part") for name, one in metrics.items()}
    if isinstance(metrics, list | tuple):
        return [_checked(one, single) for one in metrics]
    if metrics in _ACCURACY:
        return keras.metrics.BinaryAccuracy(metrics, threshold=0.0) if single else metrics
    given = "logits" if metrics in _CROSSENTROPY else mistaken(_known(metrics, keras.metrics.get), single)
    if given:
        raise TrainingError(
            f"This network gives {given}, of which metrics must know: write {_METRICS[single]}. "
            f"Received: {_words(metrics)}"
        )
    return metrics


def _known(given, get):
    """What a string stands for; Keras itself will say that it knows it not."""
    try:
        return get(given) if isinstance(given, str) else given
    except ValueError:
        return given


def _words(given):
    """A loss or metric as an error shows it."""
    name = getattr(given, "__name__", type(given).__name__)
    return repr(given) if isinstance(given, str) else name
