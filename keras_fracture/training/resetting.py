"""A compiled model back to before its first step."""

import logging

import keras

from keras_fracture.models.compiling import constant_rate, steps_taken
from keras_fracture.training import distribution

_LOG = logging.getLogger(__name__)


def reset_weights(model, seed):
    """Takes a compiled model back to before its first step, with the first weights that `seed` draws.

    What it has traced stays, and that is half of what a brief training of a deep network takes. A teacher's weights
    stay, too. A constant learning rate becomes that with which the model began to train, whatever callbacks made of it.
    Of models of other packages that is not known: one that has trained keeps the rate that it has, with a warning.

    Args:
        model: Built and compiled.
        seed: Of Python's, NumPy's and TensorFlow's random numbers, too.
    """
    now, trained = constant_rate(model.optimizer), steps_taken(model.optimizer) > 0
    rate = getattr(model, "first_rate", None) if trained else None
    if trained and now is not None and not hasattr(model, "first_rate"):
        _LOG.warning(
            "the learning rate with which %s began is not known, and stays what it is now, which callbacks may "
            "have lowered: compile the model anew to be sure. Received: %g", model.name, now,
        )  # fmt: skip
    keras.utils.set_random_seed(seed)
    with distribution.of(model.distribute_strategy).scope():
        if not model.optimizer.built:  # a LossScaleOptimizer would add its variables a second time
            model.optimizer.build(model.trainable_variables)
        fresh = type(model).from_config(model.get_config())
        optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
        optimizer.build(model.trainable_variables)
        if now is not None and rate is not None:
            optimizer.learning_rate = rate
    teacher = getattr(model, "teacher", None)
    kept = {id(one) for one in teacher.variables} if isinstance(teacher, keras.Model) else ()
    for old, new in (
        *zip(model.variables, fresh.variables, strict=True),
        *zip(model.optimizer.variables, optimizer.variables, strict=True),
    ):
        if id(old) not in kept:
            old.assign(new)
