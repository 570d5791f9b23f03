import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.training.precision import onednn_bfloat16

ONEDNN = "auto_mixed_precision_onednn_bfloat16"


@pytest.fixture
def options():
    """TensorFlow's own view of the options, put back afterwards."""
    before = tf.config.optimizer.get_experimental_options()
    yield tf.config.optimizer.get_experimental_options
    tf.config.optimizer.set_experimental_options({ONEDNN: False, "layout_optimizer": True} | before)


def test_onednn_bfloat16_is_set_and_unset_and_keeps_other_options(options):
    tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
    assert onednn_bfloat16() is False
    assert options()[ONEDNN] is True and options()["layout_optimizer"] is False
    assert onednn_bfloat16(False) is True
    assert options()[ONEDNN] is False and options()["layout_optimizer"] is False


def test_a_step_in_onednn_bfloat16_learns_and_leaves_float32_weights(options):
    onednn_bfloat16()
    keras.utils.set_random_seed(0)
    model = models.create("resnet18", width=4, depths=(1, 1, 1, 1), image_size=32)
    model.compile(keras.optimizers.SGD(0.01), keras.losses.BinaryCrossentropy(from_logits=True))
    before = model.get_weights()
    images = np.random.default_rng(0).random((4, 32, 32, 3)).astype("float32")
    loss = model.train_on_batch(images, np.array([[0.0], [1.0], [1.0], [0.0]]))
    assert np.isfinite(loss)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert any((now != then).any() for now, then in zip(model.get_weights(), before, strict=True))
