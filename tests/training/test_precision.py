import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.errors import ModelError
from keras_fracture.evaluation import extractor
from keras_fracture.evaluation.predicting import probabilities
from keras_fracture.machine import cpu_fields
from keras_fracture.models.layers import DilatedConv2D
from keras_fracture.training import precision
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


def test_onednn_bfloat16_leaves_probabilities_in_float32(options):
    """Between two products TensorFlow would take the softmax in bfloat16 too, where 0.9999 is 1."""
    logits = tf.constant([[9.0, 0.0]] * 8)
    one = tf.eye(2)

    @tf.function
    def rest(logits):
        return (1 - tf.nn.softmax(logits @ one)) @ one

    onednn_bfloat16()
    np.testing.assert_allclose(rest(logits)[:, 0], 1 / (1 + np.exp(9)), rtol=0.01)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_a_focal_loss_has_finite_gradients_in_onednn_bfloat16(gamma, options):
    """The gradient of `(1 - p) ** 0` is not finite where `p` was rounded to 1."""
    loss = keras.losses.CategoricalFocalCrossentropy(1.0, gamma, from_logits=True, label_smoothing=0.1)
    weights = tf.Variable(tf.eye(2))
    logits = tf.stack([tf.linspace(0.0, 20.0, 64), tf.zeros(64)], axis=1)
    labels = tf.one_hot(tf.zeros(64, "int32"), 2)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            value = loss(labels, logits @ weights @ weights)
        return value, tape.gradient(value, weights)

    onednn_bfloat16()
    value, slope = gradient()
    assert np.isfinite(value) and np.isfinite(slope).all()


def test_dilated_convolutions_train_in_float32_and_then_in_onednn_bfloat16(options):
    """What a CPU has no bfloat16 kernel for is asked again, and not remembered from float32."""
    images, labels = np.ones((2, 16, 16, 1), "float32"), np.array([[0.0], [1.0]])
    for rewritten in (False, True):
        onednn_bfloat16(rewritten)
        model = keras.Sequential([keras.Input((16, 16, 1)), DilatedConv2D(4, 3, dilation_rate=2, padding="same"),
                                  keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])  # fmt: skip
        model.compile(keras.optimizers.SGD(0.01), keras.losses.BinaryCrossentropy(from_logits=True))
        assert np.isfinite(model.train_on_batch(images, labels))


@pytest.mark.parametrize("variable", precision._KEPT_IN_FLOAT32)
def test_what_stays_in_float32_is_named_beside_what_the_user_named(variable, options, monkeypatch):
    monkeypatch.setenv(variable, "Tanh,Softmax")
    for _ in range(2):
        onednn_bfloat16()
        assert os.environ[variable] == "Tanh,Softmax," + precision._KEPT_IN_FLOAT32[variable]
    onednn_bfloat16(False)
    assert os.environ[variable] == "Tanh,Softmax"


def test_gradients_of_depthwise_convolutions_stay_float32(options):
    """In bfloat16 oneDNN takes three times as long for them."""
    maps, upstream = (
        tf.constant(np.random.default_rng(seed).random((1, 8, 8, 16), "float32")) for seed in (0, 1)
    )

    @tf.function
    def gradients(maps, upstream):
        kernel = tf.ones((3, 3, 16, 1))
        place = {"strides": (1, 1, 1, 1), "padding": "SAME"}
        return (
            tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=maps, filter_sizes=kernel.shape, out_backprop=upstream, **place
            ),
            tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=maps.shape, filter=kernel, out_backprop=upstream, **place
            ),
        )

    in_float32 = gradients(maps, upstream)
    onednn_bfloat16()
    for one, other in zip(in_float32, gradients(maps, upstream), strict=True):
        np.testing.assert_array_equal(one, other)


def test_cpu_fields_are_those_of_the_first_processor(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: A\nflags\t\t: avx2 amx_bf16\n\nflags\t\t: avx512_bf16\n")
    fields = cpu_fields(path)
    assert (fields["model name"], fields["flags"]) == ("A", "avx2 amx_bf16")
    assert cpu_fields(tmp_path / "missing") == {}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("avx2", "float32"), ("avx2 amx_bf16", "onednn_bfloat16"), ("avx512_bf16 sse", "onednn_bfloat16")],
)
def test_auto_takes_bfloat16_where_the_cpu_computes_in_it(flags, expected, options, monkeypatch):
    monkeypatch.setattr(precision, "cpu_fields", lambda: {"flags": flags})
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    before = keras.config.dtype_policy()
    with precision.using("auto") as chosen:
        assert chosen == expected
        assert bool(options().get(ONEDNN)) == (expected == "onednn_bfloat16")
        assert keras.config.dtype_policy().name == "float32"
    assert keras.config.dtype_policy() == before and not options()[ONEDNN]


@pytest.mark.parametrize(
    ("capability", "policy"),
    [((9, 0), "mixed_bfloat16"), ((8, 0), "mixed_bfloat16"), ((7, 5), "mixed_float16"), ((6, 1), "float32")],
)
def test_auto_on_a_gpu_goes_by_its_compute_capability(capability, policy):
    assert precision.by_capability(capability) == policy


def test_a_policy_holds_within_its_context_and_others_are_refused():
    with precision.using("mixed_bfloat16") as chosen:
        assert chosen == keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(ModelError, match=r"precision must be one of auto, float32, .*Received: 'half'"):
        precision.configure("half")


def test_what_is_measured_is_what_a_saved_model_answers():
    """In a run that trains in bfloat16, probabilities and features are float32's, to the last digit."""
    keras.utils.set_random_seed(3)
    model = models.create("resnet18", image_size=32, width=4, num_classes=2)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 1), np.uint8)

    def measured():
        return probabilities(model, images), extractor(model).run(images)

    before = measured()
    onednn_bfloat16()
    try:
        during = measured()
        assert onednn_bfloat16(), "what trains goes on as it was"
    finally:
        onednn_bfloat16(False)
    for one, other in zip(before, during, strict=True):
        np.testing.assert_array_equal(one, other)
