"""Gradients of biases in half precision, which Keras's own layers get wrong on CPUs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.models import layers as ours
from keras_fracture.models.biases import Dense, add_bias, summed_in_half
from keras_fracture.models.convolution import Conv2D, Conv2DTranspose

LAYERS = {
    "Conv2D": (Conv2D, {"kernel_size": 3, "padding": "same"}),
    "strided": (ours.PaddedConv2D, {"kernel_size": 3, "strides": 2}),
    "reflecting": (ours.ReflectConv2D, {"kernel_size": 3}),
    "dilated": (ours.DilatedConv2D, {"kernel_size": 3, "padding": "same", "dilation_rate": 2}),
    "narrow": (ours.NarrowConv2D, {"kernel_size": 3, "padding": "same"}),
    "spectral": (ours.SpectralConv2D, {"kernel_size": 3, "padding": "same"}),
    "transposed": (Conv2DTranspose, {"kernel_size": 4, "strides": 2, "padding": "same"}),
    "transposed, valid": (Conv2DTranspose, {"kernel_size": 1}),
    "cropped": (ours.CroppedConv2DTranspose, {}),
}


def gradient_of_ones(layer, inputs):
    """The gradient with regard to a bias of the sum of all outputs: how many there are a filter."""
    layer.build(inputs.shape)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            outputs = layer(inputs, training=True)
            loss = keras.ops.sum(keras.ops.cast(outputs, "float32"))
        return tape.gradient(loss, layer.bias.value), tf.size(outputs) // outputs.shape[-1]

    result, count = gradient()
    return result.numpy(), int(count)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_biases_of_convolutions_get_the_sum_of_all_gradients(name, dtype):
    kind, settings = LAYERS[name]
    gradient, count = gradient_of_ones(kind(filters=2, dtype=dtype, **settings), tf.ones((2, 32, 32, 3)))
    assert count >= 512
    np.testing.assert_allclose(gradient, count, rtol=0.004)  # bfloat16 has eight bits


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_biases_of_dense_layers_get_the_sum_of_all_gradients(dtype):
    gradient, count = gradient_of_ones(Dense(2, dtype=dtype), tf.ones((4096, 3)))
    assert count == 4096
    np.testing.assert_allclose(gradient, count, rtol=0.004)


def test_keras_own_layer_still_needs_this():
    """Fails once TensorFlow sums in float32: `models/biases.py` can go then."""
    if not summed_in_half("bfloat16"):
        return
    gradient, count = gradient_of_ones(
        keras.layers.Conv2D(2, 3, padding="same", dtype="mixed_bfloat16"), tf.ones((2, 32, 32, 3))
    )
    assert gradient.max() < count / 4


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_dense_answers_as_keras(dtype):
    inputs = keras.random.normal((5, 7), seed=1)
    layers = [kind(4, activation="relu", dtype=dtype) for kind in (Dense, keras.layers.Dense)]
    weights = [np.random.default_rng(0).standard_normal(shape) for shape in ((7, 4), (4,))]
    for layer in layers:
        layer.build((None, 7))
        layer.set_weights(weights)
    one, other = (np.asarray(layer(inputs), "float32") for layer in layers)
    np.testing.assert_array_equal(one, other)


def test_outputs_keep_their_dtype():
    for dtype in ("float32", "bfloat16"):
        outputs = add_bias(tf.ones((2, 3), dtype), tf.ones(3))
        assert outputs.dtype == dtype and float(tf.reduce_sum(outputs)) == 12


@pytest.mark.parametrize("name", models.names())
def test_no_architecture_has_layers_of_keras_that_tensorflow_gets_wrong(name):
    """None with a bias that is not kept in float32, and no strided convolution of single pixels."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = models.create(name)
    finally:
        keras.config.set_dtype_policy(before)
    biased = [each for each in network._flatten_layers() if getattr(each, "use_bias", False)]
    wrong = [
        each.path
        for each in biased
        if type(each).__module__.startswith("keras.") and each.compute_dtype != "float32"
    ]
    assert not wrong
    strided = [
        each
        for each in network._flatten_layers()
        if getattr(each, "kernel_size", None) == (1, 1) and max(each.strides) > 1
    ]
    assert all(isinstance(each, Conv2D) for each in strided)
    assert strided or not name.startswith(("resnet", "drn")), "they are found"
