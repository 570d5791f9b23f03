import numpy as np
import pytest

from keras_fracture import synthesis  # isort: skip  (before TensorFlow)
from keras_fracture.errors import SynthesisError

import tensorflow as tf  # isort: skip


@pytest.mark.parametrize(("height", "width", "n"), [(9, 9, 1), (17, 33, 2), (5, 101, 0.5), (3, 3, 7)])
def test_weights_are_one_in_the_centre_and_nothing_on_the_border(height, width, n):
    seen = synthesis.weights(height, width, n)
    assert seen.shape == (height, width) and seen[height // 2, width // 2] == 1
    border = np.ones((height, width), bool)
    border[1:-1, 1:-1] = False
    assert (seen[border] == 0).all() and (seen[~border] > 0).all() and seen.max() == 1
    np.testing.assert_allclose(seen, seen[::-1], atol=1e-15)
    np.testing.assert_allclose(seen, seen[:, ::-1], atol=1e-15)


def test_weights_have_their_closed_form():
    # Nine pixels: i = -1, -3/4, -1/2, -1/4, 0 ... Half way out cos(pi/4) and cos(pi/8).
    for n, half in ((1, np.sqrt(0.5)), (2, np.sqrt(2 + np.sqrt(2)) / 2)):
        seen = synthesis.weights(9, 9, n)
        np.testing.assert_allclose(seen[2, 4], half, rtol=1e-12)
        np.testing.assert_allclose(seen[2, 6], half**2, rtol=1e-12)
    i = np.linspace(-1, 1, 12)
    expected = np.cos(np.abs(i)[:, None] ** 3 * np.pi / 2) * np.cos(
        np.abs(np.linspace(-1, 1, 7)) ** 3 * np.pi / 2
    )
    np.testing.assert_allclose(synthesis.weights(12, 7, 3), expected, atol=1e-12)


def test_a_larger_exponent_shows_more_of_the_patch():
    shares = [synthesis.weights(41, 41, n).mean() for n in (0.5, 1, 2, 4, 8)]
    assert (np.diff(shares) > 0.05).all()
    np.testing.assert_allclose(synthesis.weights(2001, 2001, 1).mean(), (2 / np.pi) ** 2, rtol=2e-3)


def test_outside_the_window_not_a_bit_changes():
    rng = np.random.default_rng(0)
    for _ in range(20):
        image = rng.integers(0, 256, (40, 50, 3), np.uint8)
        height, width = rng.integers(3, 40), rng.integers(3, 50)
        top, left = rng.integers(0, 41 - height), rng.integers(0, 51 - width)
        blended = synthesis.blend(
            image, rng.integers(0, 256, (16, 16, 3), np.uint8), (top, left, height, width), 2
        )
        inner = np.zeros((40, 50), bool)
        inner[top + 1 : top + height - 1, left + 1 : left + width - 1] = True
        np.testing.assert_array_equal(blended[~inner], image[~inner])
        assert blended.dtype == np.uint8
        if inner.sum() > 50:
            assert (blended[inner] != image[inner]).mean() > 0.3


def test_a_blended_pixel_is_the_weighted_mean():
    image, patch = np.full((30, 30, 1), 40, np.uint8), np.full((8, 8, 1), 200, np.uint8)
    mixed = synthesis.mix(image, patch, (5, 6, 11, 21), 1)
    expected = 40 + 160 * synthesis.weights(11, 21, 1)
    np.testing.assert_allclose(mixed[5:16, 6:27, 0], expected, atol=1e-4)
    np.testing.assert_array_equal(
        synthesis.blend(image, patch, (5, 6, 11, 21), 1)[5:16, 6:27, 0], np.rint(expected)
    )
    assert synthesis.blend(image, patch, (5, 6, 11, 21), 1)[10, 16, 0] == 200
    assert image.max() == 40


@pytest.mark.parametrize("n", [1, 2.5])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_graph_gives_what_numpy_gives(n, channels):
    rng = np.random.default_rng(3)
    windows = np.array([(0, 0, 48, 64), (7, 9, 3, 50), (20, 30, 28, 34), (5, 2, 16, 16), (11, 12, 5, 7)])
    images = rng.uniform(0, 1, (5, 48, 64, channels)).astype("float32")
    patches = rng.uniform(0, 1, (5, 16, 16, channels)).astype("float32")
    traces = []

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 48, 64, channels]),
            tf.TensorSpec([None, 16, 16, channels]),
            tf.TensorSpec([None, 4], tf.int32),
        ]
    )
    def graph(*given):
        traces.append(given)
        return synthesis.blend_graph(*given, n)

    for order in (np.arange(5), np.array([3, 1])):
        mixed = graph(images[order], patches[order], windows[order]).numpy()
        each = zip(images[order], patches[order], windows[order], strict=True)
        expected = np.stack([synthesis.mix(*one, n) for one in each])
        assert mixed.dtype == expected.dtype == np.float32
        np.testing.assert_allclose(mixed, expected, rtol=0, atol=1e-6)
    assert len(traces) == 1
    outside = np.ones((48, 64), bool)
    outside[8:9, 10:58] = False
    np.testing.assert_array_equal(mixed[1][outside], images[1][outside])


def test_gradients_reach_patches_and_images():
    images, patches = tf.Variable(tf.zeros([1, 12, 12, 1])), tf.Variable(tf.zeros([1, 4, 4, 1]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(synthesis.blend_graph(images, patches, [[2, 2, 8, 8]], 1))
    to_images, to_patches = tape.gradient(total, [images, patches])
    seen = np.zeros((12, 12))
    seen[2:10, 2:10] = synthesis.weights(8, 8, 1)
    np.testing.assert_allclose(to_images[0, ..., 0], 1 - seen, atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(to_patches), seen.sum(), rtol=1e-6)


@pytest.mark.parametrize("n", [np.int64(4), np.float32(4)])
def test_an_exponent_may_be_a_number_of_numpy(n):
    np.testing.assert_array_equal(synthesis.weights(9, 5, n), synthesis.weights(9, 5, 4))


@pytest.mark.parametrize("n", [0, -1, float("nan"), float("inf"), "2", True])
def test_the_exponent_must_be_positive(n):
    image, patch = np.zeros((9, 9, 1), np.uint8), np.zeros((4, 4, 1), np.uint8)
    for call in (
        lambda: synthesis.weights(9, 9, n),
        lambda: synthesis.blend(image, patch, (0, 0, 9, 9), n),
        lambda: synthesis.blend_graph(image[None], patch[None], [[0, 0, 9, 9]], n),
    ):
        with pytest.raises(SynthesisError, match=r"must be a positive number. Received: "):
            call()


def test_channels_must_agree_and_a_window_have_a_middle():
    with pytest.raises(SynthesisError, match=r"as many channels. Received: \(9, 9, 1\) and \(4, 4, 3\)"):
        synthesis.blend(np.zeros((9, 9, 1), np.uint8), np.zeros((4, 4, 3), np.uint8), (0, 0, 9, 9), 1)
    with pytest.raises(SynthesisError, match="Received: 2 x 9"):
        synthesis.weights(2, 9, 1)
