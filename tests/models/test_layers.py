import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture.models import layers as ours
from keras_fracture.models.layers import (
    FusedBatchNormalization,
    PaddedConv2D,
    PaddedMaxPooling2D,
    SpectralConv2D,
    conv,
)


def images(*shape, dtype="float32", seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 3 + 1).astype(dtype)


def norms(shape, **kwargs):
    ours = FusedBatchNormalization(momentum=0.8, **kwargs)
    keras_own = keras.layers.BatchNormalization(momentum=0.8, **kwargs)
    for layer in (ours, keras_own):
        layer.build(shape)
    values = [
        np.random.default_rng(number).uniform(0.5, 1.5, weight.shape)
        for number, weight in enumerate(ours.weights)
    ]
    ours.set_weights(values)
    keras_own.set_weights(values)
    return ours, keras_own


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_fused_norm_is_kerass_own(scale, center, training):
    x = images(3, 5, 4, 6)
    ours, keras_own = norms(x.shape, scale=scale, center=center)
    with tf.GradientTape(persistent=True) as tape:
        batch = tf.constant(x)
        tape.watch(batch)
        a, b = ours(batch, training=training), keras_own(batch, training=training)
        loss_a, loss_b = tf.reduce_sum(a**3), tf.reduce_sum(b**3)
    np.testing.assert_allclose(a, b, atol=1e-5)
    for weight_a, weight_b in zip(
        [batch, *ours.trainable_weights], [batch, *keras_own.trainable_weights], strict=True
    ):
        grad_a = tape.gradient(loss_a, getattr(weight_a, "value", weight_a))
        grad_b = tape.gradient(loss_b, getattr(weight_b, "value", weight_b))
        np.testing.assert_allclose(grad_a, grad_b, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(ours.moving_mean, keras_own.moving_mean, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (12, 6), (3, 4, 6)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "mixed_float16"])
def test_moving_variance_is_unbiased_on_every_path(shape, dtype):
    x = images(*shape)
    layer = FusedBatchNormalization(momentum=0.8, dtype=dtype)
    layer(x, training=True)
    axes = tuple(range(len(shape) - 1))
    tolerance = 1e-5 if dtype in ("float32", "float64") else 2e-2
    wanted = 0.8 + 0.2 * x.var(axis=axes, ddof=1)
    np.testing.assert_allclose(np.asarray(layer.moving_variance, "float32"), wanted, rtol=tolerance)
    np.testing.assert_allclose(
        np.asarray(layer.moving_mean, "float32"), 0.2 * x.mean(axes), rtol=tolerance, atol=tolerance
    )


def test_float16_counts_no_further_than_65504():
    x = images(1, 300, 300, 1)
    layer = FusedBatchNormalization(momentum=0.8, dtype="float16")
    assert np.isfinite(layer(x, training=True)).all()
    np.testing.assert_allclose(np.asarray(layer.moving_variance), 0.8 + 0.2 * x.var(), rtol=2e-2)


def test_masked_input_is_left_to_keras():
    x, mask = images(2, 5, 4, 6), np.ones((2, 5, 4), bool)
    ours, keras_own = norms(x.shape)
    np.testing.assert_array_equal(ours(x, training=True, mask=mask), keras_own(x, training=True, mask=mask))
    np.testing.assert_array_equal(ours.moving_variance, keras_own.moving_variance)


def test_frozen_norm_keeps_its_statistics():
    x = images(2, 5, 4, 6)
    ours, keras_own = norms(x.shape)
    ours.trainable = keras_own.trainable = False
    np.testing.assert_allclose(ours(x, training=True), keras_own(x, training=True), atol=1e-5)
    np.testing.assert_array_equal(ours.moving_variance, keras_own.moving_variance)


def test_norm_has_kerass_weights_and_config():
    ours, keras_own = norms((None, 5, 4, 6))
    assert [w.name for w in ours.weights] == [w.name for w in keras_own.weights]
    assert set(ours.get_config()) == set(keras_own.get_config())
    again = FusedBatchNormalization.from_config(ours.get_config())
    assert again.momentum == 0.8


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (7, 2, 1), (3, 1, 2), (1, 2, 1)])
def test_conv_pads_the_same_on_every_side(size, kernel, stride, dilation):
    layer = conv(2, kernel, stride, dilation)
    x = images(1, size, size, 3)
    out = layer(x)
    margin = dilation * (kernel - 1) // 2
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    wanted = tf.nn.conv2d(padded, layer.kernel.value, stride, "VALID", dilations=dilation)
    np.testing.assert_allclose(out, wanted, atol=1e-4)
    assert layer.compute_output_shape((1, size, size, 3)) == out.shape
    assert layer.compute_output_shape((None, None, None, 3)) == (None, None, None, 2)


def test_padded_layers_round_trip_their_config():
    layer = PaddedConv2D(4, 3, strides=2, use_bias=False)
    again = PaddedConv2D.from_config(layer.get_config())
    assert (again.margin, again.strides, again.use_bias) == (1, (2, 2), False)
    pool = PaddedMaxPooling2D.from_config(PaddedMaxPooling2D().get_config())
    assert (
        pool.compute_output_shape((1, 7, 8, 3))
        == pool(np.ones((1, 7, 8, 3), "float32")).shape
        == (1, 4, 4, 3)
    )


@pytest.mark.parametrize("in_kernel", [True, False])
@pytest.mark.parametrize(("size", "dilation"), [(12, 2), (12, 4), (11, 2), (5, 4)])
def test_dilated_conv_is_kerass_own(size, dilation, in_kernel, monkeypatch):
    monkeypatch.setattr(ours, "_dilation_has_gradient", lambda *_: in_kernel)
    keras.utils.set_random_seed(0)
    theirs = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=dilation)
    mine = conv(4, 3, dilation=dilation, use_bias=True)
    images = tf.random.normal((2, size, size + 1, 3))
    mine.build(images.shape)
    theirs.build(images.shape)
    theirs.set_weights(mine.get_weights())

    @tf.function
    def gradients(layer):
        outputs = layer(images)
        return outputs, tf.gradients(tf.reduce_sum(outputs**2), [images, layer.kernel.value])

    for one, other in zip(tf.nest.flatten(gradients(mine)), tf.nest.flatten(gradients(theirs)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_spectral_convolution_divides_by_the_largest_singular_value():
    keras.utils.set_random_seed(0)
    layer = SpectralConv2D(5, 3, padding="same")
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype("float32")
    for _ in range(60):
        layer(x, training=True)
    layer.bias.assign(np.arange(5.0))
    kernel = layer.kernel.numpy()
    norm = np.linalg.norm(kernel.reshape(-1, 5), 2)
    expected = keras.ops.conv(x, kernel / norm, padding="same") + np.arange(5.0)
    for training in (False, True):
        np.testing.assert_allclose(layer(x, training=training), expected, atol=1e-4)
    np.testing.assert_array_equal(layer.kernel.numpy(), kernel)
    vector = layer.singular.numpy()
    layer(2 * x, training=False)
    np.testing.assert_array_equal(layer.singular.numpy(), vector)


def test_spectral_convolution_differentiates_through_the_norm_as_pytorch_does():
    torch = pytest.importorskip("torch")
    from torch.nn.utils.parametrizations import spectral_norm

    torch.manual_seed(0)
    twin = spectral_norm(torch.nn.Conv2d(4, 5, 3, padding=1, bias=False))
    original = twin.parametrizations.weight.original
    layer = SpectralConv2D(5, 3, padding="same", use_bias=False)
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype("float32")
    layer.build(x.shape)
    layer.kernel.assign(original.detach().numpy().transpose(2, 3, 1, 0))
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    for _ in range(60):  # PyTorch begins its step at the other side
        twin(images), layer(x, training=True)
    theirs = twin(images)
    (theirs**3).sum().backward()
    with tf.GradientTape() as tape:
        ours = layer(x, training=True)
        loss = tf.reduce_sum(ours**3)
    np.testing.assert_allclose(ours, theirs.detach().numpy().transpose(0, 2, 3, 1), atol=1e-5)
    gradient = tape.gradient(loss, layer.kernel.value).numpy().transpose(3, 2, 0, 1)
    np.testing.assert_allclose(gradient, original.grad.numpy(), rtol=1e-3, atol=1e-2)
