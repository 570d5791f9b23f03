import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_fracture.models.layers import NarrowConv2D


@pytest.mark.parametrize(("filters", "size"), [(1, 5), (3, 5), (2, 3)])
def test_outputs_and_gradients_equal_keras_conv2d(filters, size):
    generator = np.random.default_rng(0)
    images = tf.constant(generator.standard_normal((2, 9, 7, 4)), tf.float32)
    ours = NarrowConv2D(filters, size, padding="same", activation="tanh")
    theirs = layers.Conv2D(filters, size, padding="same", activation="tanh")
    ours.build(images.shape)
    theirs.build(images.shape)
    weights = [generator.standard_normal(w.shape) * 0.2 for w in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    results = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images)
            loss = keras.ops.sum(outputs * outputs)
        results.append([outputs, *tape.gradient(loss, [images, *layer.trainable_variables])])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
