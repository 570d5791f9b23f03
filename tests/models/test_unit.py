"""The translator of `gupta_unit` and its discriminators."""

import keras
import numpy as np
import pytest

from keras_fracture import models
from keras_fracture.errors import ModelError
from keras_fracture.models.layers import (
    CroppedConv2DTranspose,
    NearestUpSampling2D,
    ReflectConv2D,
    SampleNormalization,
)
from keras_fracture.models.unit import _halved
from keras_fracture.serving import export

PRESETS = ("nips2017", "munit")
SMALL = {"width": 4, "channels": 1}


def _images(size, channels=1, count=2):
    return np.random.default_rng(0).uniform(-1, 1, (count, size, size, channels)).astype("float32")


def _lively(model):
    """Weights large enough for every path to show in the output, biases off zero."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        spread = 0.2 if len(weight.shape) == 1 else 1.5 / np.sqrt(np.prod(weight.shape[:3]))
        weight.assign(rng.normal(0, spread, weight.shape) + (weight.name == "gamma"))
    return model


@pytest.mark.parametrize(
    ("preset", "translator", "discriminator"),
    [("nips2017", 18_017_286, 9_308_934 // 2), ("munit", 2 * 11_140_483, 8_271_171)],
)
def test_golden_parameter_counts(preset, translator, discriminator):
    counts = [models.create(name, preset=preset, image_size=64) for name in ("unit", "unit_discriminator")]
    assert [sum(int(np.prod(w.shape)) for w in net.trainable_weights) for net in counts] == [
        translator, discriminator,
    ]  # fmt: skip
    assert all(len(net.trainable_weights) == len(net.weights) for net in counts)


@pytest.mark.parametrize("preset", ["nips2017", pytest.param("munit", marks=pytest.mark.slow)])
def test_a_latent_is_a_quarter_of_the_side_and_four_times_as_wide(preset):
    model = _lively(models.create("unit", preset=preset, image_size=20, width=4, channels=3))
    images = _images(20, 3)
    latents = model.encode(images, "a")
    assert latents.shape == (2, 5, 5, 16)
    made = np.asarray(model(images))
    assert made.shape == images.shape and made.dtype == "float32" and np.abs(made).max() <= 1
    np.testing.assert_array_equal(made, model.decode(latents, "b"))
    np.testing.assert_array_equal(made, model.translate(images, "a", "b"))
    ways = [np.asarray(model.translate(images, *way)) for way in ("aa", "ab", "ba", "bb")]
    assert all(np.abs(ways[i] - ways[j]).max() > 0.01 for i in range(4) for j in range(i))


def test_nips2017_shares_one_block_of_both_encoders_and_one_of_both_decoders():
    model = _lively(models.create("unit", image_size=8, **SMALL))
    images, latents = _images(8), np.random.default_rng(2).normal(size=(2, 2, 2, 16)).astype("float32")
    for part, run, given in (("encoder", model.encode, images), ("decoder", model.decode, latents)):
        before = [np.asarray(run(given, domain)) for domain in "ab"]
        (block,) = getattr(model, f"shared_{part}")
        kernel = block.inner.layers[0].kernel
        assert sum(weight is kernel for weight in model.weights) == 1
        kernel.assign(-kernel)
        for domain, old in zip("ab", before, strict=True):
            assert np.abs(np.asarray(run(given, domain)) - old).max() > 0.01
        kernel.assign(-kernel)
        own = getattr(model, f"{part}_a").trainable_weights[0]
        own.assign(-own)
        assert np.abs(np.asarray(run(given, "a")) - before[0]).max() > 0.01
        np.testing.assert_array_equal(run(given, "b"), before[1])


def test_munit_shares_nothing():
    model = models.create("unit", preset="munit", image_size=8, **SMALL)
    parts = [getattr(model, f"{part}_{domain}") for part in ("encoder", "decoder") for domain in "ab"]
    ids = [id(weight) for part in parts for weight in part.weights]
    assert len(ids) == len(set(ids)) == len(model.weights)


@pytest.mark.parametrize(
    ("preset", "size", "sides"),
    [
        ("nips2017", 8, (1, 1, 1)),
        ("nips2017", 100, (7, 4, 2)),
        ("munit", 64, (4, 2, 1)),
        ("munit", 100, (6, 3, 1)),
    ],
)
def test_discriminators_judge_three_scales(preset, size, sides):
    model = models.create("unit_discriminator", preset=preset, image_size=size, **SMALL)
    logits = model(_images(size))
    assert [tuple(each.shape) for each in logits] == [(2, side, side, 1) for side in sides]
    assert all(each.dtype == "float32" for each in logits)


def test_only_the_coarser_scales_see_the_average():
    model = _lively(models.create("unit_discriminator", image_size=16, **SMALL))
    images = _images(16)
    before = [np.asarray(each) for each in model(images)]
    for scale, network in enumerate(model.judges):
        network.trainable_weights[0].assign(-network.trainable_weights[0])
        changed = [np.abs(a - b).max() > 1e-3 for a, b in zip(before, model(images), strict=True)]
        assert changed == [each == scale for each in range(3)]
        network.trainable_weights[0].assign(-network.trainable_weights[0])
    np.testing.assert_allclose(before[1], model.judges[1](_halved(images)), atol=1e-6)


@pytest.mark.parametrize("size", [5, 6])
def test_padding_is_left_out_of_averages(size):
    images = _images(size)
    halved = np.asarray(_halved(images))
    for i, j in np.ndindex(halved.shape[1:3]):
        around = images[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
        np.testing.assert_allclose(halved[:, i, j], around.mean((1, 2)), atol=1e-6)


def test_sample_normalisation_is_its_closed_form_and_survives_a_blank_image():
    import tensorflow as tf

    layer = SampleNormalization()
    maps = np.random.default_rng(0).normal(2, 3, (2, 3, 4, 5)).astype("float32")
    layer.build(maps.shape)
    gains = layer.gamma.numpy()
    assert gains.min() >= 0 and gains.max() <= 1 and np.ptp(gains) > 0
    layer.beta.assign(np.arange(5.0))
    flat = maps.reshape(2, -1)
    mean, std = (n[:, None, None, None] for n in (flat.mean(1), flat.std(1, ddof=1)))
    np.testing.assert_allclose(layer(maps), (maps - mean) / (std + 1e-5) * gains + np.arange(5), atol=1e-5)
    blank = tf.zeros((1, 3, 4, 5))
    with tf.GradientTape() as tape:
        tape.watch(blank)
        total = tf.reduce_sum(layer(blank) ** 2)
    assert np.isfinite(tape.gradient(total, blank)).all()


def test_nearest_upsampling_repeats_each_value():
    maps = _images(5)
    np.testing.assert_array_equal(NearestUpSampling2D()(maps), np.repeat(np.repeat(maps, 2, 1), 2, 2))


@pytest.mark.parametrize(
    "layer", [ReflectConv2D(2, 4, 2), CroppedConv2DTranspose(2), SampleNormalization(), NearestUpSampling2D()]
)
def test_layers_say_their_shape_and_round_trip(layer):
    maps = _images(6)
    out = layer(maps)
    assert tuple(layer.compute_output_shape(maps.shape)) == tuple(out.shape)
    again = type(layer).from_config(layer.get_config())
    again.build(maps.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(maps), out)


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("unit", "nips2017"),
        ("unit_discriminator", "nips2017"),
        pytest.param("unit", "munit", marks=pytest.mark.slow),
        ("unit_discriminator", "munit"),
    ],
)
def test_config_and_file_round_trips(name, preset, tmp_path):
    size = 64 if (name, preset) == ("unit_discriminator", "munit") else 8
    model = _lively(models.create(name, preset=preset, image_size=size, **SMALL))
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()
    images = _images(size)
    expected = np.concatenate([np.ravel(each) for each in model(images)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.concatenate([np.ravel(each) for each in loaded(images)]), expected)


def test_an_exported_translator_is_the_translator(tmp_path):
    import tensorflow as tf

    model = _lively(models.create("unit", preset="munit", image_size=8, **SMALL))
    folder = export(model, tmp_path / "unit")
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    made = served(images=tf.constant(_images(8)))["images"]
    np.testing.assert_allclose(made, model(_images(8)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("unit", {"preset": "cyclegan"}, r"^preset must be one of nips2017, munit\. Received: 'cyclegan'$"),
        ("unit", {"image_size": 30}, r"^image_size must be a multiple of 4, .* Received: 30$"),
        ("unit", {"image_size": 4}, "8 or more for nips2017. Received: 4"),
        ("unit", {"channels": 2}, "channels must be 1 or 3 and width positive. Received: 2, 64"),
        ("unit", {"width": 0}, "Received: 3, 0"),
        ("unit_discriminator", {"image_size": 4}, "8 or more for nips2017. Received: 4"),
        ("unit_discriminator", {"preset": "munit", "image_size": 60}, "64 or more for munit. Received: 60"),
    ],
)
def test_what_cannot_be_built_is_said(name, wrong, message):
    with pytest.raises(ModelError, match=message):
        models.create(name, **wrong)


def test_unknown_domains_are_refused():
    model = models.create("unit", image_size=8, **SMALL)
    with pytest.raises(ModelError, match=r"^A domain is one of a, b\. Received: 'healthy'$"):
        model.translate(_images(8), "healthy", "b")


@pytest.mark.parametrize(("preset", "channels"), [("nips2017", 1), ("munit", 3)])
def test_agrees_with_the_pytorch_twin_by_name_there_and_back(preset, channels):
    torch = pytest.importorskip("torch")
    from keras_fracture.interop.torch import load_torch_weights, to_torch_state_dict
    from tests.torch_twins import unit as twins

    torch.manual_seed(0)
    shape = {"preset": preset, "channels": channels, "width": 4}
    images = _images(64, channels)
    first = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    for name, kind in (("unit", twins.Unit), ("unit_discriminator", twins.Discriminator)):
        twin, back = kind(**shape), kind(**shape)
        model = models.create(name, image_size=64, **shape)
        load_torch_weights(model, twin.state_dict())
        state = to_torch_state_dict(model)
        assert list(state) == list(twin.state_dict())
        back.load_state_dict(state)
        assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), back.parameters(), strict=True))
        with torch.no_grad():
            if name == "unit":
                theirs = [twin.decode(twin.encode(first, a), b) for a in "ab" for b in "ab"]
                ours = [model.translate(images, a, b) for a in "ab" for b in "ab"]
            else:
                theirs, ours = twin(first), model(images)
        for mine, their in zip(ours, theirs, strict=True):
            their = their.numpy().transpose(0, 2, 3, 1)
            assert np.ptp(their) > 1e-3 or their.size < 9
            np.testing.assert_allclose(mine, their, atol=1e-5)
