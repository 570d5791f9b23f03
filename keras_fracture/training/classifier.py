"""The pieces classifier recipes are put together from; losses are Keras's own."""

import keras
import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from keras_fracture.errors import TrainingError


def sgd(rate, steps, momentum=0.9, warmup=0):
    """SGD with momentum whose learning rate follows half a cosine down to 0.

    Args:
        rate: Highest learning rate.
        steps: Steps of the whole training.
        momentum: Of the running gradient.
        warmup: Steps of linear growth from 0 to `rate` before the cosine; they count among `steps`.
    """
    if not 0 <= warmup < steps:
        raise TrainingError(f"warmup must be at least 0 and below steps. Received: {warmup}, {steps}")
    if warmup:
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, steps - warmup, warmup_target=rate, warmup_steps=warmup
        )
    else:
        schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.SGD(schedule, momentum=momentum)


def add_l2(model, decay):
    """Adds `decay / 2` times the squared kernels to a model's loss: PyTorch's `weight_decay` on kernels.

    Biases and normalisation are left alone. Call it before `compile`.

    Args:
        model: A built model.
        decay: Factor; 0 changes nothing.
    """
    for variable in model.trainable_variables if decay else ():
        if variable.name == "kernel":
            variable.regularizer = keras.regularizers.L2(decay / 2)


def class_weights(labels):
    """Weights for `fit` that let every class count alike: pictures / (classes * pictures of the class).

    Args:
        labels: 0 or 1 a picture, both present.
    """
    labels = np.asarray(labels)
    classes = np.unique(labels)
    if len(classes) < 2:
        raise TrainingError(f"Class weights need both classes. Received: labels {classes.tolist()}")
    values = compute_class_weight("balanced", classes=classes, y=labels)
    return dict(zip(classes.tolist(), values.tolist(), strict=True))
