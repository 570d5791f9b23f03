import numpy as np
import pytest

from keras_fracture.data import images
from keras_fracture.errors import ImageError
from keras_fracture.serving.heat import occlusion


def corner(contents):
    """A classifier of (healthy, finding): how bright the upper left ninth is."""
    pictures = [images.decode(data).image for data in contents]
    bright = [picture[: len(picture) // 3, : picture.shape[1] // 3].mean() / 255 for picture in pictures]
    return np.stack([1 - np.array(bright), bright], axis=1).astype("float32")


def picture_of(height, width):
    made = np.full((height, width), 20, np.uint8)
    made[: height // 3, : width // 3] = 250
    return made


@pytest.mark.parametrize("shape", [(90, 90), (90, 60), (31, 200)])
def test_the_heat_lies_where_the_classifier_looks(shape):
    given = picture_of(*shape)
    picture, heat = occlusion(corner, images.encode_png(given), -1)
    np.testing.assert_array_equal(picture[..., 0], given)
    assert heat.shape == shape and heat.dtype == np.float32 and heat.max() == 1 and heat.min() == 0
    row, column = np.unravel_index(heat.argmax(), shape)
    assert row < shape[0] / 3 and column < shape[1] / 3
    assert heat[2 * shape[0] // 3 :].max() == 0 and heat[:, 2 * shape[1] // 3 :].max() == 0


def test_a_large_picture_is_shrunk_and_fits_one_request():
    asked = []

    def remember(contents):
        asked.append(len(contents))
        return corner(contents)

    picture, heat = occlusion(remember, images.encode_png(picture_of(600, 1200)), 0)
    assert picture.shape == (256, 512, 1) and heat.shape == (256, 512)
    assert asked == [50]


def test_where_nothing_speaks_for_a_finding_there_is_no_heat():
    _, heat = occlusion(
        lambda contents: np.zeros((len(contents), 1)), images.encode_png(picture_of(40, 40)), 0
    )
    assert not heat.any()


def test_what_is_no_picture_has_no_heat():
    with pytest.raises(ImageError, match="not a picture"):
        occlusion(corner, b"text", 0)
