import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.errors import EvaluationError, ModelError
from keras_fracture.evaluation import (
    box_overlap,
    chance,
    chance_of_others,
    gradcam,
    gradcam_plus_plus,
    pointing_game,
)


class Averaging:
    """Maps are the image, averaged over squares; a linear layer reads their mean."""

    pixel_range = (0.0, 1.0)

    def __init__(self, kernel, square=1):
        self.kernel, self.square = np.asarray(kernel, "float32"), square

    def features(self, images):
        return tf.nn.avg_pool2d(images, self.square, self.square, "VALID")

    def classify(self, maps):
        return tf.reduce_mean(maps, (1, 2)) @ self.kernel + 0.3


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 12, 8, 2), dtype="float32")


def test_heat_behind_a_global_average_is_the_linear_layer_at_every_place(images):
    heat = gradcam(Averaging([[0.7], [-0.4]]), images)
    expected = np.maximum(images @ np.array([0.7, -0.4]), 0)
    assert heat.dtype == np.float32
    np.testing.assert_allclose(heat, expected / expected.max((1, 2), keepdims=True), atol=1e-6)


def test_grey_images_are_repeated_for_a_model_of_colours(images):
    model, grey = Averaging([[0.7], [-0.4]]), images[..., :1]
    model.channels = 2
    np.testing.assert_array_equal(gradcam(model, grey), gradcam(model, grey.repeat(2, axis=-1)))


def test_of_two_logits_the_second_is_the_finding(images):
    one = gradcam(Averaging([[0.7], [-0.4]]), images)
    two = gradcam(Averaging([[-3.0, 0.7], [9.0, -0.4]]), images)
    np.testing.assert_array_equal(two, one)


def test_the_findings_logit_may_be_any(images):
    one = gradcam(Averaging([[0.7], [-0.4]]), images)
    three = Averaging([[-3.0, 0.7, 1.0], [9.0, -0.4, 1.0]])
    np.testing.assert_array_equal(gradcam(three, images, finding=1), one)
    assert np.abs(gradcam(three, images, finding=2) - one).max() > 0.1


def test_where_nothing_speaks_for_a_finding_there_is_no_heat(images):
    assert gradcam(Averaging([[0.7], [-0.4]]), images).any()
    assert not gradcam(Averaging([[-0.7], [-0.4]]), images).any()


def test_each_image_has_its_own_scale(images):
    faint = images.copy()
    faint[1] /= 10
    model = Averaging([[1.0], [0.5]])
    np.testing.assert_allclose(gradcam(model, faint), gradcam(model, images), atol=1e-6)


def test_maps_are_enlarged_bilinearly(images):
    heat = gradcam(Averaging([[1.0], [0.5]], square=4), images)
    small = images.reshape(3, 3, 4, 2, 4, 2).mean((2, 4)) @ np.array([1.0, 0.5])
    large = np.stack([cv2.resize(one, (8, 12), interpolation=cv2.INTER_LINEAR) for one in small])
    np.testing.assert_allclose(heat, large / large.max((1, 2), keepdims=True), atol=1e-5)


def test_a_residual_networks_heat_is_its_last_layer_at_every_place():
    keras.utils.set_random_seed(2)
    model = models.create("resnet18", image_size=96, width=4, depths=(1, 1, 1, 1))
    images = np.random.default_rng(0).random((2, 96, 96, 3), dtype="float32")
    maps = np.asarray(model.features(images))
    small = np.maximum(maps @ np.asarray(model.fc.kernel)[:, 0], 0)
    assert small.any()
    large = np.stack([cv2.resize(one, (96, 96), interpolation=cv2.INTER_LINEAR) for one in small])
    peak = np.maximum(large.max((1, 2), keepdims=True), 1e-12)
    np.testing.assert_allclose(gradcam(model, images), large / peak, atol=1e-4)


def last_maps(twin, name):
    """The module of a PyTorch twin that gives its last convolutional maps."""
    if name == "compact_cnn":
        return twin[4]
    if name == "inception_net":
        return [module for module in twin if type(module).__name__ == "Inception"][-1]
    if name == "efficientnet_lite0":
        return twin._bn1  # whose maps are cut off below 0 and above 6 afterwards
    return twin.layer8 if name.startswith("drn") else twin.layer4


@pytest.mark.parametrize("name", ["compact_cnn", "resnet18", "inception_net", "drn_d_22"])
def test_pytorch_sees_the_same(name):
    torch = pytest.importorskip("torch")
    from tests.interop.test_parity import NARROWED, Pair, load_torch_weights

    width = dict(NARROWED.get(name, {}))
    if name == "inception_net":  # a pool behind dead maps breaks ties in its own way in each framework
        width["stages"] = ((4, False), (8, True), (12, False))
    pair = Pair(name, **width)
    if name == "drn_d_22":  # with the weights as drawn nothing speaks for the second class
        assert not gradcam(pair.model, pair.images).any()
        pair.twin.fc.weight.data.neg_()
        load_torch_weights(pair.model, pair.twin.state_dict())
    maps = []
    pair.twin.eval()
    handle = last_maps(pair.twin, name).register_forward_hook(lambda *call: maps.append(call[2]))
    logits = pair.twin(pair.twin_images)
    handle.remove()
    (gradients,) = torch.autograd.grad(logits[:, 1].sum(), maps[0])
    heat = torch.relu((gradients.mean((2, 3), keepdim=True) * maps[0]).sum(1, keepdim=True))
    heat = torch.nn.functional.interpolate(heat, pair.images.shape[1:3], mode="bilinear")[:, 0]
    heat = (heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)).detach().numpy()
    assert heat.any()
    np.testing.assert_allclose(gradcam(pair.model, pair.images), heat, atol=1e-3)


def test_wrong_models_and_images_are_named(images):
    with pytest.raises(EvaluationError, match=r"images must be .* Received: \(12, 8, 2\)"):
        gradcam(Averaging([[1.0], [1.0]]), images[0])
    with pytest.raises(EvaluationError, match=r"Received: \(0, 12, 8, 2\)"):
        gradcam(Averaging([[1.0], [1.0]]), images[:0])
    with pytest.raises(EvaluationError, match=r"one or two logits. Received: 3"):
        gradcam(Averaging(np.ones((2, 3))), images)
    with pytest.raises(EvaluationError, match="Received: Sequential"):
        gradcam(keras.Sequential(), images)
    with pytest.raises(ModelError, match="between 0"):
        gradcam(Averaging([[1.0], [1.0]]), images * 255)
    with pytest.raises(ModelError, match=r"all but black.*Received: 3 images from"):
        gradcam(Averaging([[1.0], [1.0]]), images / 255)
    assert gradcam(Averaging([[1.0], [1.0]]), images[:1] / 255).any(), "one X-ray may be blank"
    headless = models.create("resnet18", image_size=32, width=4, depths=(1, 1, 1, 1), include_top=False)
    with pytest.raises(EvaluationError, match="Received: ResNet"):
        gradcam(headless, np.zeros((1, 32, 32, 3)))


BOX = np.array([[0.25, 0.5, 0.5, 0.75]])  # of 40 x 20 pixels: rows 10 to 19, columns 10 to 14


def point(row, column):
    heat = np.zeros((1, 40, 20), "float32")
    heat[0, row, column] = 1
    return heat


@pytest.mark.parametrize(
    ("row", "column", "tolerance", "hit"),
    [
        (10, 10, 0, True),
        (19, 14, 0, True),
        (9, 10, 0, False),
        (20, 14, 0, False),
        (19, 15, 0, False),
        (7, 12, 3, True),  # its centre is 2.5 pixels above the box
        (6, 12, 3, False),
        (8, 8, 2.2, True),  # off a corner by 1.5 and 1.5
        (8, 8, 2.0, False),
    ],
)
def test_a_hit_lies_in_a_box_or_near_it(row, column, tolerance, hit):
    assert pointing_game(point(row, column), [BOX], tolerance).tolist() == [hit]


def test_any_box_of_an_image_counts_and_none_of_anothers():
    other = np.array([[0.9, 0.0, 1.0, 0.1]])
    heat = np.concatenate([point(12, 12)] * 3)
    assert pointing_game(heat, [np.concatenate([other, BOX]), other, BOX], 0).tolist() == [True, False, True]


def test_a_flat_summit_is_pointed_at_in_its_middle():
    heat = np.zeros((1, 40, 20), "float32")
    heat[0, 8:15, 12] = 1  # begins above the box
    assert pointing_game(heat, [BOX], 0).all()


def test_without_heat_there_is_no_hit():
    everything = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert pointing_game(point(0, 0), [everything]).all()
    assert not pointing_game(np.zeros((1, 40, 20)), [everything]).any()


def test_chance_is_the_share_of_pixels_that_would_hit():
    assert chance([BOX], (40, 20), 0) == pytest.approx(50 / 800)
    assert chance([BOX, np.array([[0, 0, 1, 1]])], (40, 20), 0) == pytest.approx((50 / 800 + 1) / 2)
    assert chance([BOX], (40, 20), 100) == 1
    everywhere = [point(row, column) for row in range(40) for column in range(20)]
    hits = pointing_game(np.concatenate(everywhere), [BOX] * 800, 4)
    assert hits.mean() == pytest.approx(chance([BOX], (40, 20), 4))


def test_images_without_boxes_are_refused():
    for wrong in (np.zeros((0, 4)), np.zeros(4), np.zeros((2, 3))):
        with pytest.raises(EvaluationError, match="boxes of an image"):
            pointing_game(point(0, 0), [wrong])
    with pytest.raises(EvaluationError, match="with boxes for each"):
        pointing_game(point(0, 0), [BOX, BOX])
    with pytest.raises(EvaluationError, match="with boxes for each"):
        pointing_game(point(0, 0)[0], [BOX])
    with pytest.raises(EvaluationError, match="at least one image"):
        chance([], (40, 20))


@pytest.mark.parametrize(
    "box",
    [
        [[10, 10, 20, 20]],
        [[0.5, 0.25, 0.25, 0.5]],
        [[0.25, 0.5, 0.5, 0.25]],
        [[np.nan] * 4],
        [[-0.1, 0, 0.5, 0.5]],
        [[0, 0, 0.5, 0.5], [0, 0, 0.5, 1.5]],
    ],
    ids=["pixels", "rows swapped", "columns swapped", "nan", "before the edge", "second of two"],
)
def test_boxes_that_are_no_fractions_are_refused(box):
    """Pixels hit nothing, and by chance nothing, either: 0 against 0."""
    heat, boxes = np.ones((2, 40, 20)), [BOX, np.array(box, float)]
    said = "boxes must be ymin, xmin, ymax, xmax from 0 to 1.*divide pixels.*Received"
    calls = (pointing_game, box_overlap, chance_of_others, lambda _, given: chance(given, (40, 20)))
    for call in calls:
        with pytest.raises(EvaluationError, match=said):
            call(heat, boxes)


@pytest.mark.parametrize("measure", [pointing_game, box_overlap, chance_of_others])
def test_heat_that_is_not_finite_is_refused(measure):
    heat = np.ones((3, 8, 8))
    heat[1, 2, 2] = np.nan
    with pytest.raises(EvaluationError, match=r"heat must be finite. Received: 1 of 3 images with NaN"):
        measure(heat, [np.array([[0.2, 0.2, 0.5, 0.5]])] * 3)


def test_boxes_may_touch_the_edge_as_float32_tells_it():
    beside = np.nextafter(np.float32(1), np.float32(2))
    assert chance([np.array([[0, 0, beside, beside]], "float32")], (40, 20), 0) == 1


def test_plus_plus_weighs_channels_by_the_papers_equations(images):
    """Equations 10 and 19, with derivatives of an exponential: powers of the first one."""
    kernel = np.array([0.7, -0.4])
    slope = kernel / (12 * 8)  # of the mean's
    shares = slope**2 / (2 * slope**2 + images.sum((1, 2)) * slope**3)
    weights = 12 * 8 * shares * np.maximum(slope, 0)
    expected = np.maximum((images * weights[:, None, None]).sum(-1), 0)
    heat = gradcam_plus_plus(Averaging(kernel[:, None]), images)
    np.testing.assert_allclose(heat, expected / expected.max((1, 2), keepdims=True), atol=1e-5)
    assert np.abs(heat - gradcam(Averaging(kernel[:, None]), images)).max() > 0.05, (
        "negative channels do not count"
    )


def test_overlap_is_one_on_the_box_none_beside_it_and_half_where_half_fits():
    heat = np.zeros((4, 20, 20), "float32")
    heat[0, 4:8, 4:8] = 1
    heat[1, 12:16, 4:8] = 1
    heat[2, 4:8, 6:10] = 1
    boxes = [np.array([[0.2, 0.2, 0.4, 0.4]])] * 4
    overlap, by_chance = box_overlap(heat, boxes)
    np.testing.assert_allclose(overlap, [1, 0, 8 / 24, 0])
    np.testing.assert_allclose(by_chance, 0.04 / 1.96)
    wide = np.random.default_rng(0).random((200, 20, 20))
    found = box_overlap(wide, boxes[:1] * 200)
    assert abs(found[0].mean() - found[1].mean()) < 0.005, "random heat reaches what chance says"


def test_overlap_needs_boxes_of_every_image():
    with pytest.raises(EvaluationError, match="with boxes for each"):
        box_overlap(np.zeros((2, 4, 4)), [np.array([[0, 0, 1, 1]])])


def test_other_images_heat_hits_as_often_as_findings_share_a_place():
    heat = np.zeros((4, 20, 20), "float32")
    heat[[0, 1], 5, 5], heat[2, 15, 15] = 1, 1  # the last has none
    here, there = np.array([[0.2, 0.2, 0.3, 0.3]]), np.array([[0.7, 0.7, 0.8, 0.8]])
    boxes = [here, here, there, here]
    # Images 0 and 1 hit each other's, and both hit the last one's: 4 of 12 pairs.
    assert chance_of_others(heat, boxes, tolerance=0) == pytest.approx(4 / 12)
    assert pointing_game(heat, boxes, tolerance=0).tolist() == [True, True, True, False]
    # Of one X-ray the first two do not count: both hit the last one's alone, 2 of 10 pairs.
    alike = ["x", "x", "y", "z"]
    assert chance_of_others(heat, boxes, tolerance=0, sources=alike) == pytest.approx(2 / 10)
    for odd, words in ((["x"] * 4, "images of two sources"), (["x"], "one for each of 4 images")):
        with pytest.raises(EvaluationError, match=words):
            chance_of_others(heat, boxes, sources=odd)
    with pytest.raises(EvaluationError, match="needs two images"):
        chance_of_others(heat[:1], boxes[:1])
