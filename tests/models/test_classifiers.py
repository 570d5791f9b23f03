import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.errors import ModelError, WeightsError

SLOW = pytest.mark.slow
GOLDEN = {
    "compact_cnn": 13_489 + 129,  # two classes: one dense column more; without the 96 moving statistics
    "resnet18": 11_177_538,
    "resnet34": 21_285_698,
    "resnet50": 23_512_130,
    "resnet101": 42_504_258,
    "resnet152": 58_147_906,
    "efficientnet_lite0": 4_652_008 - 998 * 1281,  # the authors' have 1,000 classes
    "efficientnet_lite1": 5_416_680 - 998 * 1281,
    "efficientnet_lite2": 6_092_072 - 998 * 1281,
    "drn_a_50": 23_512_130,
    "drn_c_26": 20_614_610,
    "drn_c_42": 30_722_770,
    "drn_c_58": 41_079_634 - (2048 * 512 + 2 * 512),  # without the authors' unused projection
    "drn_d_22": 15_881_778,
    "drn_d_24": 20_602_418,
    "drn_d_38": 25_989_938,
    "drn_d_40": 30_710_578,
    "drn_d_54": 35_297_202,
    "drn_d_56": 40_017_842,
    "drn_d_105": 54_289_330,
    "drn_d_107": 59_009_970,
}
QUICK = {"compact_cnn", "efficientnet_lite0", "resnet18", "resnet50", "drn_c_26", "drn_d_22"}
SMALL = {
    "compact_cnn": {"image_size": 32, "dropout": (0.0, 0.0)},
    "resnet18": {"image_size": 32, "width": 4, "depths": (1, 1, 1, 1)},
    "resnet50": {"image_size": 32, "width": 4, "depths": (1, 2, 1, 1)},
    "inception_net": {
        "image_size": 32,
        "stem_width": 4,
        "stages": ((4, True),),
        "dropout": 0.0,
    },
    "efficientnet_lite0": {
        "image_size": 32,
        "stem_width": 4,
        "head_width": 8,
        "stages": ((3, 1, 1, 4, 1), (5, 2, 2, 8, 2)),
        "dropout": 0.0,
    },
    "drn_c_26": {"image_size": 32, "depths": (1,) * 8, "widths": (4, 4, 4, 8, 8, 8, 8, 8)},
    "drn_d_22": {"image_size": 32, "depths": (1,) * 8, "widths": (4, 4, 4, 8, 8, 8, 8, 8)},
}


MAPS = {  # of four images
    "compact_cnn": (4, 3, 3, 16),
    "resnet18": (4, 1, 1, 32),
    "resnet50": (4, 1, 1, 128),
    "inception_net": (4, 8, 8, 16),
    "efficientnet_lite0": (4, 8, 8, 8),
    "drn_c_26": (4, 4, 4, 8),
    "drn_d_22": (4, 4, 4, 8),
}


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def images(model, count=4):
    return np.random.default_rng(0).random((count, 32, 32, model.channels), dtype="float32")


@pytest.fixture(scope="module", params=SMALL)
def small(request):
    keras.utils.set_random_seed(1)
    model = models.create(request.param, num_classes=2, **SMALL[request.param])
    model(images(model), training=True)  # moving statistics other than the initial ones
    model.key = request.param
    return model


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=SLOW) for n in GOLDEN])
def test_golden_parameter_count(name):
    model = models.create(name, num_classes=2)
    assert trainable(model) == GOLDEN[name]
    keras.backend.clear_session()


def test_inception_parameter_count_by_hand():
    def unit(inner, outer, kernel):
        return inner * outer * kernel**2 + outer + 2 * outer  # kernel, bias; gamma, beta

    total, inner = unit(3, 32, 7), 32
    for width in (32, 64, 128, 256):
        half = width // 2
        total += 2 * unit(inner, width, 1) + 2 * unit(inner, half, 1)
        total += unit(half, width, 3) + unit(half, width, 5)
        inner = 4 * width
    total += inner * 2 + 2
    assert trainable(models.create("inception_net")) == total == 2_012_898


def test_the_inception_net_starts_as_pytorch_does_where_it_is_told_to():
    """Kernels and biases uniform within one over the root of the fan-in; the same again of the same seed."""
    start = {"image_size": 32, "stem_width": 8, "stages": ((16, True),), "initializer": "pytorch"}
    keras.utils.set_random_seed(0)
    model = models.create("inception_net", **start)
    keras.utils.set_random_seed(0)
    again = type(model).from_config(json.loads(json.dumps(model.get_config())))
    for weight, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(weight, other)
    shares, limit = {"kernel": [], "bias": []}, None
    for weight in model.trainable_weights:
        if weight.name == "kernel":
            limit = np.prod(weight.shape[:-1]) ** -0.5
        if weight.name in shares:
            shares[weight.name].append(np.ravel(weight) / limit)
    assert model.body.get_layer("fc").bias.shape == (2,) and len(shares["bias"]) == len(shares["kernel"]) == 8
    for drawn in map(np.concatenate, shares.values()):
        assert 0.97 < np.abs(drawn).max() <= 1 and np.std(drawn) == pytest.approx(3**-0.5, rel=0.1)


def test_output_is_finite_float32_logits(small):
    logits = small(images(small))
    assert logits.shape == (4, 2)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()
    assert small.pixel_range == (0.0, 1.0)
    assert small(keras.Input((32, 32, small.channels))).shape == (None, 2)


def test_classifying_the_features_is_the_call(small):
    maps = small.features(images(small))
    assert maps.shape == MAPS[small.key]
    np.testing.assert_array_equal(small.classify(maps), small(images(small)))


def test_the_features_heed_training(small):
    saved = small.get_weights()
    small.features(images(small))
    for now, before in zip(small.get_weights(), saved, strict=True):
        np.testing.assert_array_equal(now, before)
    small.features(images(small), training=True)
    moved = [not np.array_equal(*pair) for pair in zip(small.get_weights(), saved, strict=True)]
    small.set_weights(saved)
    assert any(moved)  # moving statistics
    assert not any(now for now, weight in zip(moved, small.weights, strict=True) if weight.trainable)


def test_config_round_trip(small):
    config = json.loads(json.dumps(small.get_config()))
    again = type(small).from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    assert [w.shape for w in again.weights] == [w.shape for w in small.weights]


def test_save_and_load_give_equal_outputs(small, tmp_path):
    small.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images(small)), small(images(small)))


@pytest.mark.parametrize(
    "small", ["compact_cnn", "resnet18", "inception_net", "drn_d_22", "efficientnet_lite0"], indirect=True
)
def test_export_round_trip(small, tmp_path):
    small.export(tmp_path / "saved", verbose=False)
    saved = tf.saved_model.load(str(tmp_path / "saved"))
    for count in (1, 4):
        x = images(small, count)
        np.testing.assert_allclose(saved.serve(tf.constant(x)), small(x), rtol=1e-4, atol=1e-5)


def test_one_step_lowers_the_loss(small):
    saved = small.get_weights()
    x, y = images(small, 8), np.arange(8) % 2
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        before = loss_of(y, small(x, training=True))
    weights = small.trainable_variables
    gradients = tape.gradient(before, weights)
    assert all(gradient is not None for gradient in gradients)
    keras.optimizers.SGD(0.01).apply(gradients, weights)
    after = loss_of(y, small(x, training=True))
    small.set_weights(saved)
    assert float(after) < float(before)


@pytest.mark.parametrize("name", ["resnet18", "drn_d_22", "inception_net", "efficientnet_lite0"])
def test_any_size_and_one_channel(name):
    model = models.create(name, **(SMALL[name] | {"image_size": None, "channels": 1, "num_classes": 1}))
    for size in (32, 41):
        x = np.random.default_rng(0).random((2, size, size, 1), dtype="float32")
        assert model(x).shape == (2, 1)


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet18", (1, 1, 1, 32)), ("drn_a_50", (1, 4, 4, 128)), ("drn_c_26", (1, 4, 4, 8))]
)
def test_without_the_top_the_last_map_comes_out(name, shape):
    small = SMALL["resnet50" if name == "drn_a_50" else name]
    model = models.create(name, include_top=False, **small)
    assert model(np.zeros((1, 32, 32, 3), "float32")).shape == shape


def test_mixed_bfloat16_gives_close_float32_logits():
    model = models.create("resnet18", **SMALL["resnet18"])
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        half = models.create("resnet18", **SMALL["resnet18"])
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(model.get_weights())
    x = images(model)
    assert half(x, training=True).dtype == "float32"
    half.set_weights(model.get_weights())
    np.testing.assert_allclose(half(x), model(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("resnet18", {"block": "dense"}),
        ("resnet18", {"depths": (2, 2, 2)}),
        ("resnet18", {"dilations": (1, 1, 1, 0)}),
        ("drn_d_22", {"arch": "B"}),
        ("drn_d_22", {"widths": (16, 32)}),
        ("inception_net", {"stages": ()}),
        ("inception_net", {"dropout": 1.0}),
        ("inception_net", {"reduction": 0}),
        ("inception_net", {"initializer": "he"}),
        ("efficientnet_lite0", {"stages": ()}),
        ("efficientnet_lite0", {"stages": ((3, 1, 1, 4),)}),
        ("efficientnet_lite0", {"dropout": 1.0}),
    ],
)
def test_wrong_settings_are_named(name, wrong):
    with pytest.raises(ModelError, match="Received: "):
        models.create(name, **wrong)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("compact_cnn", 127.5),
        ("resnet18", (123.675, 116.28, 103.53)),
        ("inception_net", 127.5),
        ("efficientnet_lite0", 1.5),
        ("drn_d_22", -0.5),
    ],
)
def test_a_mean_in_grey_levels_is_refused(name, mean):
    """Pixels lie from 0 to 1: all of them would come out far below any that the network learnt from."""
    with pytest.raises(ModelError, match=r"mean must lie between 0 and 1.*by 255.*Received: [-(]?\d"):
        models.create(name, mean=mean, std=58.4)


@pytest.mark.parametrize("name", ["file.keras", "file.weights.json"])
def test_a_deeper_network_in_an_archive_or_in_parts_is_refused(name, tmp_path):
    small, path = SMALL["resnet18"], tmp_path / name
    model = models.create("resnet18", **small)

    def write(one):
        one.save(path) if path.suffix == ".keras" else one.save_weights(path, max_shard_size=5e-5)

    write(model)
    assert path.suffix == ".keras" or len(list(tmp_path.glob("*.h5"))) > 1
    models.create("resnet18", **small).load_weights(path)
    write(models.create("resnet18", **small | {"depths": (2, 1, 1, 1)}))
    with pytest.raises(WeightsError, match=rf"of a larger network, .* in .*{name}$"):
        model.load_weights(path)
    model.load_weights(path, skip_mismatch=True)


def test_weights_of_a_deeper_network_are_refused_and_nothing_else(tmp_path):
    small, path = SMALL["resnet18"], tmp_path / "file.weights.h5"
    deeper = models.create("resnet18", **small | {"depths": (2, 1, 1, 1)})
    deeper.save_weights(path)
    model = models.create("resnet18", **small)
    before = model.get_weights()
    with pytest.raises(
        WeightsError, match=r"of a larger network, .* Received: [\d,]+ weights .*file.weights.h5$"
    ):
        model.load_weights(path)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    model.load_weights(path, skip_mismatch=True)
    headless = models.create("resnet18", **small | {"depths": (2, 1, 1, 1), "include_top": False})
    headless.load_weights(path)
    np.testing.assert_array_equal(headless.conv1.kernel, deeper.conv1.kernel)
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    model.save_weights(path)  # with what Adam keeps, twice the weights
    models.create("resnet18", **small).load_weights(path)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_weights_of_a_quantised_network_are_called_so(mode, tmp_path):
    model = models.create("resnet18", **SMALL["resnet18"])
    model.quantize(mode)
    model.save_weights(tmp_path / "file.weights.h5")
    with pytest.raises(WeightsError, match="or of a quantised one"):
        models.create("resnet18", **SMALL["resnet18"]).load_weights(tmp_path / "file.weights.h5")


class Around(keras.Model):
    """A model of somebody else that leaves it to Keras to tell its layers whether it trains."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, images, training=None):
        return self.network.classify(self.network.features(images))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "ensemble"])
def test_maps_within_a_model_of_ones_own_are_trained_as_it_is(name):
    kind = "inception_net" if name == "ensemble" else name
    network = models.create(kind, num_classes=2, **SMALL[kind])
    model = models.Ensemble([network]) if name == "ensemble" else network
    around, images = Around(model), np.random.default_rng(0).random((4, 32, 32, 3), "float32")
    means = [one for one in network.variables if one.name == "moving_mean"]
    expected = model(images, training=False)
    for said in (None, False):
        np.testing.assert_allclose(around(images, training=said), expected, atol=1e-6)
    # Outside of any call nothing is trained, whoever asks.
    asked = tf.function(lambda given: model.classify(model.features(given)))
    with tf.GradientTape():
        np.testing.assert_allclose(model.classify(model.features(images)), expected, atol=1e-6)
        np.testing.assert_allclose(asked(images), expected, atol=1e-5)
    assert not any(np.any(one) for one in means)
    around(images, training=True)
    assert all(np.any(one) for one in means)
