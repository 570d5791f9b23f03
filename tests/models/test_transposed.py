import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_fracture.models import transposed


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 2), (5, 2), (3, 1), (2, 3)])
def test_outputs_and_gradients_equal_keras_conv2d_transpose(monkeypatch, size, stride):
    monkeypatch.setattr(transposed, "_own_kernels", lambda dtype: True)  # whatever machine this is
    generator = np.random.default_rng(0)
    maps = tf.constant(generator.standard_normal((2, 5, 7, 4)), tf.float32)
    layer_of = {"filters": 3, "kernel_size": size, "strides": stride, "padding": "same", "activation": "tanh"}
    ours, theirs = transposed.Conv2DTranspose(**layer_of), layers.Conv2DTranspose(**layer_of)
    ours.build(maps.shape)
    theirs.build(maps.shape)
    weights = [generator.standard_normal(w.shape) * 0.2 for w in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)

    @tf.function
    def both(maps):
        results = []
        for layer in (ours, theirs):
            with tf.GradientTape() as tape:
                tape.watch(maps)
                outputs = layer(maps, **({"training": True} if layer is ours else {}))
                loss = keras.ops.sum(outputs * outputs)
            results.append([outputs, *tape.gradient(loss, [maps, *layer.trainable_variables])])
        return results

    for one, other in zip(*both(maps), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_second_derivatives_are_those_of_keras():
    maps, kernel = (
        tf.random.stateless_normal((1, 3, 3, 2), (1, 2)),
        tf.random.stateless_normal((4, 4, 3, 2), (3, 4)),
    )

    @tf.function
    def penalty(convolve):
        with tf.GradientTape() as outer:
            outer.watch(kernel)
            with tf.GradientTape() as inner:
                inner.watch(kernel)
                loss = tf.reduce_sum(convolve(maps, kernel) ** 3)
            squares = tf.reduce_sum(inner.gradient(loss, kernel) ** 2)
        return outer.gradient(squares, kernel)

    expected = penalty(lambda maps, kernel: tf.nn.conv2d_transpose(maps, kernel, (1, 6, 6, 3), 2, "SAME"))
    results = penalty(lambda maps, kernel: transposed.transposed_convolution(maps, kernel, 2))
    np.testing.assert_allclose(
        results, expected, rtol=1e-4, atol=1e-3 * float(tf.reduce_max(tf.abs(expected)))
    )


@pytest.mark.parametrize(
    ("flags", "dtype", "own"),
    [("fma avx2", "float32", True), ("avx2 avx512f", "float32", False), ("avx2", "bfloat16", False)],
)
def test_onednn_computes_the_gradient_where_it_is_faster(monkeypatch, flags, dtype, own):
    monkeypatch.setattr(transposed, "cpu_fields", lambda: {"flags": flags})
    assert transposed._own_kernels.__wrapped__(dtype) == own
