import numpy as np
import pytest

from keras_fracture.data import decoding
from keras_fracture.errors import ImageError
from keras_fracture.inference.heat import occlusion


def corner(contents):
    """A classifier of (healthy, finding): how bright the upper left ninth is."""
    images = [decoding.decode(data).image for data in contents]
    bright = [image[: len(image) // 3, : image.shape[1] // 3].mean() / 255 for image in images]
    return np.stack([1 - np.array(bright), bright], axis=1).astype("float32")


def image_of(height, width):
    made = np.full((height, width), 20, np.uint8)
    made[: height // 3, : width // 3] = 250
    return made


@pytest.mark.parametrize("shape", [(90, 90), (90, 60), (31, 200)])
def test_the_heat_lies_where_the_classifier_looks(shape):
    given = image_of(*shape)
    image, heat = occlusion(corner, decoding.encode_png(given), -1)
    np.testing.assert_array_equal(image[..., 0], given)
    assert heat.shape == shape and heat.dtype == np.float32 and heat.max() == 1 and heat.min() == 0
    row, column = np.unravel_index(heat.argmax(), shape)
    assert row < shape[0] / 3 and column < shape[1] / 3
    assert heat[2 * shape[0] // 3 :].max() == 0 and heat[:, 2 * shape[1] // 3 :].max() == 0


def test_a_large_image_is_shrunk_and_fits_one_request():
    asked = []

    def remember(contents):
        asked.append(len(contents))
        return corner(contents)

    image, heat = occlusion(remember, decoding.encode_png(image_of(600, 1200)), 0)
    assert image.shape == (256, 512, 1) and heat.shape == (256, 512)
    assert asked == [50]


def test_where_nothing_speaks_for_a_finding_there_is_no_heat():
    _, heat = occlusion(
        lambda contents: np.zeros((len(contents), 1)), decoding.encode_png(image_of(40, 40)), 0
    )
    assert not heat.any()


def test_what_is_no_image_has_no_heat():
    with pytest.raises(ImageError, match="not an image"):
        occlusion(corner, b"text", 0)
