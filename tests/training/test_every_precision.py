"""Two hundred steps of every network are finite in every precision."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.training import Adam, AdversarialModel, UNITModel, precision
from tests.models.test_policies import DISTINCT, TINY, tiny

PRECISIONS = tuple(each for each in precision.CHOICES if each != "auto")
CLASSIFIERS = [name for name in DISTINCT.values() if not name.startswith(("dcgan", "dense_gan", "unit"))]
STEPS = 200


@pytest.fixture(params=PRECISIONS)
def computed_in(request):
    with precision.using(request.param):
        yield request.param


def images(model, count=8, low=-1.0):
    shape = (count, model.image_size, model.image_size, model.channels)
    return np.random.default_rng(0).uniform(low, 1.0, shape).astype("float32")


def trained(model, *data):
    """The losses of 200 steps on one batch."""
    return [model.train_on_batch(*data, return_dict=True) for _ in range(STEPS)]


def all_finite(steps, *nets):
    rows = pd.DataFrame(steps).astype(float)
    assert len(rows) == STEPS and np.isfinite(rows.to_numpy()).all(), rows[
        ~np.isfinite(rows).all(axis=1)
    ].head(1)
    assert all(np.isfinite(weight.numpy()).all() for net in nets for weight in net.weights)


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_trains_in_every_precision(name, gamma, computed_in):
    keras.utils.set_random_seed(0)
    model = tiny(name)
    logits = model(images(model, 1, model.pixel_range[0]), training=False)
    classes = int(np.shape(logits[0] if isinstance(logits, list) else logits)[-1])
    labels = np.eye(classes, dtype="float32")[np.arange(8) % classes]
    if classes == 1:
        loss, labels = (
            keras.losses.BinaryFocalCrossentropy(gamma=gamma, from_logits=True),
            (np.arange(8) % 2).reshape(8, 1),
        )
    else:
        loss = keras.losses.CategoricalFocalCrossentropy(1.0, gamma, from_logits=True, label_smoothing=0.1)
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), loss)
    all_finite(trained(model, images(model, low=model.pixel_range[0]), labels), model)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["dcgan", "dense_gan"])
def test_a_gan_trains_in_every_precision(family, computed_in):
    keras.utils.set_random_seed(0)
    parts = [f"{family}_{part}" for part in ("generator", "discriminator")]
    nets = [
        models.create(part, **TINY[part] | ({"num_classes": None} if family == "dcgan" else {}))
        for part in parts
    ]
    model = AdversarialModel(*nets)
    model.compile(g_optimizer=Adam(2e-4, 0.5, 0.999), d_optimizer=Adam(2e-4, 0.5, 0.999))
    all_finite(trained(model, images(nets[1])), *nets)


@pytest.mark.slow
def test_unit_trains_in_every_precision(computed_in):
    keras.utils.set_random_seed(0)
    nets = [tiny("unit"), tiny("unit_discriminator"), tiny("unit_discriminator")]
    model = UNITModel(*nets)
    model.compile()
    pair = images(nets[0], 2), images(nets[0], 2)[::-1]
    step = tf.function(model.train_step)
    all_finite([step(tuple(map(tf.constant, pair))) for _ in range(STEPS)], *nets)
