"""Trained models that classifiers of a run learn or start from, and proof that they do not know its test images."""

import dataclasses
import logging
import tempfile
from pathlib import Path

from keras_fracture import models
from keras_fracture.errors import ModelError
from keras_fracture.experiment.splits import seen_by_training
from keras_fracture.inference.scoring import Seen, trained_on, unknown_weights
from keras_fracture.interop.convert import classes_in, load_weights
from keras_fracture.interop.imagenet import weights_file
from keras_fracture.models.preprocessing import IMAGENET
from keras_fracture.serving.metadata import preparation
from keras_fracture.serving.versions import version_of

_LOG = logging.getLogger(__name__)
_IMAGENET_CLASSES = 1000
_UNKNOWN = "make sure that none of its X-rays are among those that this run tests on"


def load_teacher(config, preprocess, sets, number):
    """The teacher of one seed: of an ensemble one member after the other.

    Args:
        config: A `ClassifierConfig` whose `teacher` is set.
        preprocess: The `data.Preprocess` of this run's images.
        sets: Split name to `Split`.
        number: Of the seed, counted from 0.

    Returns:
        A built `keras.Model`.

    Raises:
        ModelError: There is no such model; it takes images that were prepared in another way; or it has learnt from
            images that this run tests on, or does not say from which.
    """
    check_teacher(config, preprocess, sets)
    teacher = _member(config.teacher, number)
    if not hasattr(teacher, "features"):
        raise ModelError(
            f"A teacher must be a classifier. Received: {config.teacher}, {type(teacher).__name__}"
        )
    return teacher


def check_teacher(config, preprocess, sets):
    """Raises `ModelError` where `load_teacher` would, without loading the weights."""
    theirs, _ = preparation(version_of(config.teacher))
    wanted = dataclasses.asdict(dataclasses.replace(preprocess, channels=theirs.channels, jpeg=theirs.jpeg))
    odd = [name for name, value in dataclasses.asdict(theirs).items() if value != wanted[name]]
    if odd:
        raise ModelError(
            f"The teacher {config.teacher} must see images prepared as this run's are, with {odd[0]} "
            f"{wanted[odd[0]]}. Received: {odd[0]} {getattr(theirs, odd[0])}"
        )
    check_unseen("teacher", config.teacher, config.data, sets)


def check_unseen(role, model, name, sets):
    """Raises `ModelError` where a trained model may know the test images of a run.

    Args:
        role: What it is to the run, "teacher" or "pretrained model".
        model: Name or path of its SavedModel.
        name: Of the run's data set, or the path of own X-rays.
        sets: Split name to `Split`.
    """
    ours = Seen(**{"salts": ()} | seen_by_training(name, sets)["seen_sources"])
    seen = trained_on(model)
    if not seen:
        raise ModelError(
            f"The {role} {model} does not say which X-rays it has learnt from, which may be those of this run's "
            "test: export it again, from its run"
        )
    if weights := unknown_weights(model):
        _LOG.warning("%s %s started from %s; %s", role, model, weights, _UNKNOWN)
    for one in seen:
        if one.data != ours.data:
            _LOG.warning("%s %s has learnt from %s; %s", role, model, one.data, _UNKNOWN)
        # Which of them it was trained and which tuned on it does not say, so that only the same two splits will do.
        elif one.digests != ours.digests or one.salts != set(ours.salts):
            raise ModelError(
                f"The {role} {model} must have learnt from this run's training and validation split, not from others "
                f"of {one.data}: its tests would be none (train anew what an earlier version trained on the policy "
                f"studies). Received: {len(one.digests):,} X-rays or patients, of which "
                f"{len(set(one.digests) & set(ours.digests)):,} are among this run's {len(ours.digests):,}"
            )


def seen_before(config):
    """What the models that a run starts or learns from have seen: `earlier` and `unknown` of `seen_by_training`."""
    named = [config.pretrained] if config.starts_from_model else []
    named += [config.teacher] if config.teacher else []
    earlier = [one for model in named for one in trained_on(model)]
    unknown = [Path(config.pretrained).name] if _of_unknown_origin(config) else []
    unknown += filter(None, map(unknown_weights, named))
    return {"earlier": earlier, "unknown": ", ".join(unknown) or None}


def _of_unknown_origin(config):
    """Whether a run starts from weights that no one knows the X-rays of."""
    given = config.pretrained
    known = given in (None, "imagenet") or config.starts_from_model
    return not known and classes_in(given) != _IMAGENET_CLASSES


def check_pretrained(config, preprocess, sets):
    """Of what a run starts from: raises as `check_unseen`, and warns of what nobody can check.

    Args:
        config: A `ClassifierConfig`.
        preprocess: The `data.Preprocess` of this run's images.
        sets: Split name to `Split`.
    """
    if config.starts_from_model:
        check_unseen("pretrained model", config.pretrained, config.data, sets)
        theirs, _ = preparation(version_of(config.pretrained))
        for name in ("clahe", "crop", "invert", "resize"):
            if getattr(theirs, name) != getattr(preprocess, name):
                _LOG.warning(
                    "pretrained model %s has seen images with %s %s, this run's have %s",
                    config.pretrained,
                    name,
                    getattr(theirs, name),
                    getattr(preprocess, name),
                )
    elif _of_unknown_origin(config):
        _LOG.warning("weights in %s do not say what they have learnt from; %s", config.pretrained, _UNKNOWN)


def normalisation_of(config, name):
    """`(mean, std)` of a model that starts from `pretrained`, or None where weights say nothing of it."""
    if config.starts_from_model:
        theirs = _member(config.pretrained, 0)
        return (theirs.mean, theirs.std) if hasattr(theirs, "mean") else None
    if config.pretrained and classes_in(_weights_file(config, name)) == _IMAGENET_CLASSES:
        return IMAGENET
    return None


def load_pretrained(config, model, name, number=0):
    """Loads what `pretrained` names into a built model; a head of another number of classes keeps its weights.

    Args:
        config: A `ClassifierConfig`.
        model: A built classifier.
        name: Of its architecture.
        number: Of the seed, counted from 0; of an ensemble each has another member.

    Raises:
        WeightsError: They do not fit.
    """
    if not config.starts_from_model:
        load_weights(model, _weights_file(config, name), any_head=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "start.weights.h5"
        _member(config.pretrained, number).save_weights(
            path
        )  # of two classes the second is the finding, as here
        load_weights(model, path, any_head=True)


def _weights_file(config, name):
    return weights_file(name) if config.pretrained == "imagenet" else config.pretrained


def _member(model, number):
    """A trained model; of an ensemble one member after the other."""
    loaded = models.load(model)
    return loaded.members[number % len(loaded.members)] if isinstance(loaded, models.Ensemble) else loaded
