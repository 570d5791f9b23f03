"""Differentiable augmentation, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture.errors import TrainingError
from keras_fracture.training import AdaptiveAugment, DiffAugment


def _images(channels=3, count=6, height=8, width=12):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (count, height, width, channels)).astype("float32")


def _draws(layer, count):
    """The numbers that the layer's next call draws."""
    seeds = keras.random.SeedGenerator(0)
    seeds.state.assign(layer.random.state)
    return np.asarray(keras.random.uniform((12, count), seed=seeds))


def _in_numpy(images, draws, probability, translation, cutout, colour=True):
    """What one call makes, written with loops and slices."""
    images = images.astype("float64")
    height, width, channels = images.shape[1:]
    done = draws[:5] < probability
    brightness, saturation, contrast, down, right, row, column = draws[5:]
    made = np.zeros_like(images)
    for k, image in enumerate(images):
        if done[0, k] and colour:
            image = image + brightness[k] - 0.5
        if done[1, k] and colour and channels == 3:
            grey = image.mean(axis=2, keepdims=True)
            image = grey + (image - grey) * 2 * saturation[k]
        if done[2, k] and colour:
            image = image.mean() + (image - image.mean()) * (contrast[k] + 0.5)
        ways = [int(side * translation + 0.5) for side in (height, width)]
        y, x = (int(draw[k] * (2 * way + 1)) - way for draw, way in zip((down, right), ways, strict=True))
        y, x = (y, x) if done[3, k] else (0, 0)
        moved = np.zeros_like(image)
        moved[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = image[
            max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)
        ]
        if done[4, k]:
            holes = [int(side * cutout + 0.5) for side in (height, width)]
            top = int(row[k] * (height + 1 - holes[0] % 2)) - holes[0] // 2
            left = int(column[k] * (width + 1 - holes[1] % 2)) - holes[1] // 2
            moved[max(top, 0) : top + holes[0], max(left, 0) : left + holes[1]] = 0
        made[k] = moved
    return made


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [
    {"probability": 1.0, "translation": 1 / 8, "cutout": 0.5},
    {"probability": 0.5, "translation": 0.3, "cutout": 0.4},
    {"probability": 1.0, "translation": 0.3, "cutout": 0.25, "colour": False},
])  # fmt: skip
def test_images_are_those_computed_with_numpy(channels, options):
    layer, images = DiffAugment(seed=3, **options), _images(channels, count=40)
    for _ in range(2):
        draws = _draws(layer, 40)
        made = layer(images)
        assert made.shape == images.shape and made.dtype == "float32"
        np.testing.assert_allclose(made, _in_numpy(images, draws, **options), atol=1e-5)


def test_nothing_changes_at_probability_zero_and_seeds_repeat():
    images = _images()
    np.testing.assert_allclose(DiffAugment(probability=0.0)(images), images, atol=1e-6)
    np.testing.assert_allclose(AdaptiveAugment()(images), images, atol=1e-6)
    one, same, other = (np.asarray(DiffAugment(seed=seed)(images)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1
    assert np.asarray(DiffAugment(seed=1).random.state)[0] != 1, "noise of the same seed would go with it"


def test_values_stay_where_colour_can_take_them():
    layer, images = DiffAugment(seed=0), np.sign(_images(1, count=200))
    made = np.asarray(layer(images))
    # Brightness reaches 1.5; contrast takes that from the mean by half of at most 2 further.
    assert 1.5 < np.abs(made).max() <= 2.5
    still = np.asarray(DiffAugment(colour=False)(images))
    assert set(np.unique(still)) == {-1.0, 0.0, 1.0}


def test_gradients_pass_through_to_the_images():
    """Of a linear map the gradient is its transpose: <augment'(d), w> = <d, gradient of <augment(x), w>>."""
    layer, rng = DiffAugment(seed=5), np.random.default_rng(1)
    images, direction, weights = (rng.normal(size=(4, 8, 8, 3)).astype("float32") for _ in range(3))
    state = np.array(layer.random.state)

    def value(given):
        layer.random.state.assign(state)
        return tf.reduce_sum(layer(given) * weights, (1, 2, 3))

    tensor = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        total = value(tensor)
    gradient = tape.gradient(total, tensor).numpy()
    slope = value(images + direction) - value(images)  # exact: every step is affine in the image
    np.testing.assert_allclose((gradient * direction).sum((1, 2, 3)), slope, rtol=1e-3, atol=1e-3)
    assert (np.abs(gradient).max(axis=(1, 2, 3)) > 0.1).all()


def test_probability_rises_while_real_logits_are_positive_and_falls_else():
    layer = AdaptiveAugment(probability=0.5, target=0.6, images=100)
    sure, mixed = tf.ones((10, 1)), tf.constant([[1.0]] * 7 + [[-1.0]] * 3)  # mean signs 1 and 0.4
    for logits, expected in ((sure, 0.6), (sure, 0.7), (mixed, 0.6), (-sure, 0.5)):
        layer.adapt(logits)
        assert float(layer.probability) == pytest.approx(expected, abs=1e-6)
    for _ in range(12):
        layer.adapt(sure)
    assert float(layer.probability) == 1.0
    for _ in range(22):
        layer.adapt(-sure)
    assert float(layer.probability) == 0.0
    assert layer.trainable_weights == [] and [weight.name for weight in layer.weights] == ["probability"]
    fixed = DiffAugment(probability=0.5)
    fixed.adapt(sure)
    assert fixed.probability == 0.5 and fixed.weights == []


def test_configurations_round_trip():
    layers = (
        DiffAugment(0.3, colour=False, translation=0.2, cutout=0.1, seed=9),
        AdaptiveAugment(probability=0.2, target=0.5, images=1000, seed=4),
    )
    for layer in layers:
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(again) is type(layer) and again.get_config() == layer.get_config()
        np.testing.assert_array_equal(again(_images()), layer(_images()))


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (DiffAugment, {"probability": 1.5}),
        (DiffAugment, {"translation": -0.1}),
        (AdaptiveAugment, {"target": 1.0}),
        (AdaptiveAugment, {"images": 0}),
    ],
)
def test_what_is_out_of_range_is_said(kind, wrong):
    with pytest.raises(TrainingError, match="Received: "):
        kind(**wrong)
