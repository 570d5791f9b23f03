import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_fracture import models
from keras_fracture.models import convolution
from keras_fracture.models.layers import PaddedConv2D
from keras_fracture.training import precision


@pytest.fixture
def by_products(monkeypatch):
    monkeypatch.setattr(convolution, "_by_products", lambda *_: True)  # whatever machine, size and precision


def agree(ours, theirs, maps):
    """Outputs, and gradients with regard to maps and weights, of two layers with the same weights."""
    ours.build(maps.shape)
    theirs.build(maps.shape)
    generator = np.random.default_rng(0)
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


def random_maps(*shape):
    return tf.constant(np.random.default_rng(0).standard_normal(shape), tf.float32)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation", "sides"),
    [
        (3, 1, "same", 1, (5, 7)),
        (3, 1, "valid", 1, (5, 7)),
        (4, 2, "same", 1, (8, 6)),
        (4, 2, "same", 1, (7, 5)),  # more zeros before than the kernel of an even side gets
        (3, 2, "valid", 1, (9, 8)),  # the last column is met by no tap
        (3, 2, "same", 1, (8, 8)),
        (5, 3, "same", 1, (7, 11)),
        (2, 3, "valid", 1, (11, 9)),  # taps that leave gaps
        (3, 1, "same", 2, (6, 7)),
        (1, 2, "valid", 1, (7, 6)),
    ],
)
def test_convolutions_by_products_equal_keras(by_products, size, stride, padding, dilation, sides):
    kinds = {"filters": 3, "kernel_size": size, "strides": stride, "padding": padding, "activation": "tanh"}
    kinds["dilation_rate"] = dilation
    agree(convolution.Conv2D(**kinds), layers.Conv2D(**kinds), random_maps(2, *sides, 4))


@pytest.mark.parametrize("settings", [{}, {"padding": "same"}, {"strides": (1, 3)}, {"use_bias": False}])
@pytest.mark.parametrize("channels", [3, 15, 16])
def test_strided_convolutions_of_single_pixels_equal_keras(channels, settings):
    kinds = {"filters": 4, "kernel_size": 1, "strides": 2, **settings}
    agree(convolution.Conv2D(**kinds), layers.Conv2D(**kinds), random_maps(2, 7, 10, channels))


@pytest.mark.parametrize("kind", [convolution.Conv2D, PaddedConv2D])
def test_gradients_of_narrow_strided_kernels_are_not_onednns(kind):
    """Its kernel overwrites other memory: 8 channels, 48x48, would end the process, so that only graphs are read."""

    def strides(channels):
        layer = kind(8, 1, strides=2)
        layer.build((None, 48, 48, channels))

        @tf.function
        def gradient(maps):
            with tf.GradientTape() as tape:
                loss = keras.ops.sum(layer(maps, training=True) ** 2)
            return tape.gradient(loss, layer.trainable_variables)

        graph = gradient.get_concrete_function(tf.TensorSpec((4, 48, 48, channels))).graph
        found = [one for one in graph.get_operations() if one.type == "Conv2DBackpropFilter"]
        return [list(one.get_attr("strides")) for one in found]

    assert strides(8) == strides(15) == [[1, 1, 1, 1]]
    assert strides(16) == [[1, 2, 2, 1]], "wider ones are right, and stay as they are"


@pytest.mark.parametrize("way", ["products", "own kernels"])
@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 2), (5, 2), (3, 1), (2, 3)])
def test_transposed_convolutions_equal_keras(monkeypatch, size, stride, way):
    monkeypatch.setattr(convolution, "_own_kernels", lambda dtype: True)
    monkeypatch.setattr(convolution, "_by_products", lambda *_: way == "products")
    layer_of = {"filters": 3, "kernel_size": size, "strides": stride, "padding": "same", "activation": "tanh"}
    agree(
        convolution.Conv2DTranspose(**layer_of), layers.Conv2DTranspose(**layer_of), random_maps(2, 5, 7, 4)
    )


@pytest.mark.parametrize(
    "settings",
    [{"strides": (1, 2)}, {"groups": 2}, {"dilation_rate": (1, 2)}, {"strides": (3, 2), "padding": "same"}],
)
def test_other_convolutions_are_keras_own(by_products, settings):
    kinds = {"filters": 4, "kernel_size": 3, **settings}
    agree(convolution.Conv2D(**kinds), layers.Conv2D(**kinds), random_maps(2, 7, 8, 4))


@pytest.mark.parametrize(
    "settings", [{"strides": (1, 2)}, {"dilation_rate": 2}, {"strides": 2, "output_padding": 1}]
)
def test_other_transposed_convolutions_are_keras_own(monkeypatch, by_products, settings):
    monkeypatch.setattr(convolution, "_own_kernels", lambda dtype: True)
    kinds = {"filters": 4, "kernel_size": 3, "padding": "same", **settings}
    agree(convolution.Conv2DTranspose(**kinds), layers.Conv2DTranspose(**kinds), random_maps(2, 5, 6, 4))


def test_padded_convolutions_take_products_too(by_products, monkeypatch):
    asked = []
    own = convolution.kernel_gradient
    monkeypatch.setattr(convolution, "kernel_gradient", lambda *given: asked.append(given) or own(*given))
    layer = PaddedConv2D(3, 3, strides=2)
    with tf.GradientTape() as tape:
        loss = keras.ops.sum(layer(random_maps(1, 6, 6, 2), training=True))
    tape.gradient(loss, layer.trainable_variables)
    layer(random_maps(1, 6, 6, 2), training=False)
    assert len(asked) == 1


@pytest.mark.parametrize("kind", ["convolution", "transposed", "transposed by products"])
def test_second_derivatives_are_tensorflows(kind):
    maps, kernel = (
        tf.random.stateless_normal((1, 3, 3, 2), (1, 2)),
        tf.random.stateless_normal((4, 4, 3, 2), (3, 4)),
    )
    if kind == "convolution":
        kernel = tf.transpose(kernel, (0, 1, 3, 2))

    def ours(maps, kernel):
        if kind == "convolution":
            return convolution.convolution(maps, kernel, 2)
        return convolution.transposed_convolution(maps, kernel, 2, kind.endswith("products"))

    def theirs(maps, kernel):
        if kind == "convolution":
            return tf.nn.conv2d(maps, kernel, 2, "SAME")
        return tf.nn.conv2d_transpose(maps, kernel, (1, 6, 6, 3), 2, "SAME")

    @tf.function
    def penalties(convolve):
        with tf.GradientTape() as outer:
            outer.watch([maps, kernel])
            with tf.GradientTape() as inner:
                inner.watch([maps, kernel])
                loss = tf.reduce_sum(convolve(maps, kernel) ** 3)
            squares = sum(tf.reduce_sum(each**2) for each in inner.gradient(loss, [maps, kernel]))
        return outer.gradient(squares, [maps, kernel])

    for result, expected in zip(penalties(ours), penalties(theirs), strict=True):
        np.testing.assert_allclose(
            result, expected, rtol=1e-4, atol=1e-3 * float(tf.reduce_max(tf.abs(expected)))
        )


@pytest.mark.parametrize(
    ("flags", "dtype", "own"),
    [("fma avx2", "float32", True), ("avx2 avx512f", "float32", False), ("avx2", "bfloat16", False)],
)
def test_onednn_computes_the_gradient_where_it_is_faster(monkeypatch, flags, dtype, own):
    monkeypatch.setattr(convolution, "_flags", lambda: set(flags.split()))
    assert convolution._own_kernels.__wrapped__(dtype) == own


@pytest.mark.parametrize(
    ("maps", "kernel", "stride", "bfloat16", "expected"),
    [
        ((8, 7, 7, 512), (3, 3, 512, 512), 1, True, True),
        ((8, 16, 16, 256), (3, 3, 256, 512), 2, True, True),
        ((8, 7, 7, 512), (3, 3, 512, 512), 1, False, False),
        ((8, 7, 7, 512), (1, 1, 512, 2048), 1, True, False),
        ((8, 28, 28, 512), (3, 3, 512, 512), 1, True, False),
        ((8, 7, 7, 64), (3, 3, 64, 512), 1, True, False),
        ((8, None, None, 512), (3, 3, 512, 512), 1, True, False),
    ],
)
def test_products_are_taken_where_they_are_faster(monkeypatch, maps, kernel, stride, bfloat16, expected):
    monkeypatch.setattr(convolution, "_in_bfloat16", lambda dtype: bfloat16)
    taken = convolution._by_products(keras.KerasTensor(maps), keras.KerasTensor(kernel), stride)
    assert taken == expected


@pytest.mark.parametrize(
    ("dtype", "chosen", "flags", "expected"),
    [
        ("float32", "float32", "avx512_bf16", False),
        ("float32", "onednn_bfloat16", "avx512_bf16", True),
        ("bfloat16", "float32", "avx512_bf16", True),
        ("float32", "onednn_bfloat16", "avx2 avx512f", False),
        ("float16", "onednn_bfloat16", "avx512_bf16", False),
    ],
)
def test_bfloat16_is_what_graphs_are_rewritten_to(monkeypatch, dtype, chosen, flags, expected):
    monkeypatch.setattr(convolution, "_flags", lambda: set(flags.split()))
    monkeypatch.setattr(convolution, "without_gpu", lambda: True)
    with precision.using(chosen):
        assert convolution._in_bfloat16(dtype) == expected


def test_a_step_of_a_network_is_the_same_by_products(monkeypatch):
    """All layers of the DCGAN's discriminator, in float32, whose step is the same but for rounding."""
    images = keras.random.normal((2, 32, 32, 1), seed=1)
    gradients = []
    for taken in (False, True):
        monkeypatch.setattr(convolution, "_by_products", lambda *_, taken=taken: taken)
        keras.utils.set_random_seed(0)
        network = models.create("dcgan_discriminator", image_size=32, channels=1, width=8)
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(network(images, training=True) ** 2)
        gradients.append(tape.gradient(loss, network.trainable_variables))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "channels", "named"),
    [
        (layers.Conv2D(4, 1, 2), 8, True),
        (layers.Conv2DTranspose(4, 1, 2), 8, True),
        (convolution.Conv2D(4, 1, 2), 8, False),
        (layers.Conv2D(4, 1, 2), 16, False),
        (layers.Conv2D(4, 1), 8, False),
        (layers.Conv2D(4, 3, 2), 8, False),
        (layers.Conv2D(4, 1, 2, dtype="mixed_bfloat16"), 8, False),
        (layers.Conv2D(4, 1, 2, trainable=False), 8, False),
    ],
)
def test_layers_of_keras_that_overwrite_memory_are_named(layer, channels, named, monkeypatch):
    monkeypatch.setattr(convolution, "_overwrites", lambda: True)  # whatever the machine
    monkeypatch.setattr(convolution, "_in_bfloat16", lambda dtype: False)
    block = keras.Sequential([keras.Input((8, 8, channels)), layer])
    model = keras.Sequential([keras.Input((8, 8, channels)), block, layers.Flatten(), layers.Dense(1)])
    assert convolution.overwriting_layers(model) == ([layer.path] if named else [])
    monkeypatch.setattr(convolution, "_in_bfloat16", lambda dtype: True)
    assert not convolution.overwriting_layers(model), "in bfloat16 none does"
