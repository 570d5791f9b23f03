import numpy as np
import pytest

from keras_fracture.data import decoding
from keras_fracture.errors import ImageError
from keras_fracture.inference.heat import gradcam_effect, occlusion, occlusion_effect
from tests.evaluation.test_gradcam import Averaging


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


def test_the_effect_is_the_fall_of_the_probability():
    data = decoding.encode_png(image_of(90, 90))
    image, effect = occlusion_effect(corner, data, -1)
    # The first square, two cells wide but for the rim, is all bright; its mean level is that of the whole image.
    greyed = image[..., 0].copy()
    greyed[:19, :19] = image.mean()
    fall = corner([data])[0, 1] - corner([decoding.encode_png(greyed)])[0, 1]
    assert effect[0, 0] == pytest.approx(fall, abs=1e-6) and 0.1 < effect.max() < 0.95
    np.testing.assert_allclose(occlusion(corner, data, -1)[1], effect / effect.max())
    np.testing.assert_array_equal(occlusion(corner, data, -1)[0], image)


def test_grad_cam_is_as_hot_as_the_finding_is_probable():
    class Classifier:
        def __init__(self, probability):
            self.probability = probability

        def prepare(self, data):
            return np.repeat(decoding.decode(data).image[:12, :8, None], 2, axis=2)

        def predict(self, contents):
            return np.array([[1 - self.probability, self.probability]], np.float32)

    image = np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8)
    network = Averaging([[0.0, 0.7], [0.0, 0.2]])
    for probability in (0.9, 0.1):
        shown, heat = gradcam_effect(network, Classifier(probability), decoding.encode_png(image), 1)
        np.testing.assert_array_equal(shown[..., 0], image[:12, :8])
        np.testing.assert_allclose(heat, probability * shown[..., 0] / shown.max(), atol=1e-6)


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
