"""Trained models that classifiers of a run learn from, and proof that they do not know its test images."""

import dataclasses
import logging

from keras_fracture import models
from keras_fracture.errors import ModelError
from keras_fracture.experiment.splits import seen_by_training
from keras_fracture.inference.scoring import trained_on
from keras_fracture.serving.metadata import preparation
from keras_fracture.serving.versions import version_of

_LOG = logging.getLogger(__name__)


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
    teacher = models.load(config.teacher)
    if isinstance(teacher, models.Ensemble):
        teacher = teacher.members[number % len(teacher.members)]
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
    seen, ours = trained_on(config.teacher), seen_by_training(config.data, sets)["seen_sources"]
    if seen is None:
        raise ModelError(
            f"The teacher {config.teacher} does not say which X-rays it has learnt from, which may be those of this "
            "run's test: export it again, from its run"
        )
    name, digests, salts = seen
    if name != ours["data"]:
        _LOG.warning(
            "teacher %s has learnt from %s: make sure that none of its X-rays are among those that this run tests on",
            config.teacher,
            name,
        )
    # Which of them it was trained and which tuned on it does not say, so that only the same two splits will do.
    elif digests != ours["digests"] or salts != set(ours.get("salts", ())):
        raise ModelError(
            f"The teacher {config.teacher} must have learnt from this run's training and validation split, not from "
            f"others of {name}: its tests would be none. Received: {len(digests):,} X-rays or patients, of which "
            f"{len(set(digests) & set(ours['digests'])):,} are among this run's {len(ours['digests']):,}"
        )
