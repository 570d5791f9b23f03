import numpy as np
import pytest
from PIL import Image

from keras_fracture import synthesis
from keras_fracture.errors import SynthesisError
from keras_fracture.synthesis import resampling


@pytest.mark.parametrize("shape", [(17, 40), (64, 64), (31, 5), (90, 33)])
def test_scaling_is_pillows_lanczos(shape):
    image = np.random.default_rng(0).uniform(0, 255, (31, 40)).astype("float32")
    pillow = np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.LANCZOS))
    ours = resampling.resize(image[..., None], *shape)[..., 0]
    np.testing.assert_allclose(ours, pillow, atol=2e-3)


def test_channels_are_scaled_apart_and_the_same_size_changes_nothing():
    image = np.random.default_rng(1).uniform(0, 255, (12, 9, 3))
    scaled = resampling.resize(image, 20, 7)
    for channel in range(3):
        alone = resampling.resize(image[..., channel : channel + 1], 20, 7)
        np.testing.assert_allclose(scaled[..., channel : channel + 1], alone, atol=1e-9)
    np.testing.assert_allclose(resampling.resize(image, 12, 9), image, atol=1e-9)


def test_cut_takes_the_windows_pixels():
    image = np.random.default_rng(2).integers(0, 256, (30, 40, 1), np.uint8)
    np.testing.assert_array_equal(synthesis.cut(image, (3, 5, 8, 8), 8), image[3:11, 5:13])
    black_and_white = np.where(image > 128, 255, 0).astype(np.uint8)
    assert synthesis.cut(black_and_white, (0, 0, 10, 10), 37).dtype == np.uint8  # overshoots, clipped
    assert np.isin([0, 255], synthesis.cut(black_and_white, (0, 0, 10, 10), 37)).all()


@pytest.mark.parametrize(
    "window", [(-1, 0, 8, 8), (0, -1, 8, 8), (23, 0, 8, 8), (0, 33, 8, 8), (0, 0, 31, 8), (0, 0, 2, 8)]
)
def test_windows_must_lie_in_the_image(window):
    image = np.zeros((30, 40, 1), np.uint8)
    with pytest.raises(SynthesisError, match=r"30 x 40 pixels and be 3 x 3 or more. Received: \(") as caught:
        synthesis.cut(image, window, 8)
    assert "\n" not in str(caught.value)
    with pytest.raises(SynthesisError, match="must lie in its image"):
        synthesis.blend(image, np.zeros((8, 8, 1), np.uint8), window, 1)


@pytest.mark.parametrize("size", [0, -4, 2.5])
def test_size_must_be_positive(size):
    image = np.zeros((30, 40, 1), np.uint8)
    with pytest.raises(SynthesisError, match=f"1 pixel or more. Received: {size}"):
        synthesis.cut(image, (0, 0, 9, 9), size)
    with pytest.raises(SynthesisError, match=f"1 pixel or more. Received: {size}"):
        synthesis.border(image[None], [(0, 0, 9, 9)], size)


def test_images_from_0_to_1_are_not_rounded_to_black():
    image, patch = np.full((30, 40, 1), 0.8, np.float32), np.full((1, 8, 8, 1), 200, np.uint8)
    window, grey = (0, 0, 9, 9), np.full((1, 30, 40, 1), 200, np.uint8)
    for call in (
        lambda: synthesis.cut(image, window, 8),
        lambda: synthesis.blend(grey[0], patch[0] / 255, window, 1),
        lambda: synthesis.blend(image, patch[0], window, 1),
        lambda: synthesis.copy_paste(grey, [window], patch / 255, 1, seed=0),
    ):
        with pytest.raises(SynthesisError, match=r"must be uint8, from 0 to 255: .* Received: float"):
            call()
