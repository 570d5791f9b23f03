"""Changes of images that keep their labels."""

import numpy as np
import pytest

from keras_fracture.errors import ImageError
from keras_fracture.evaluation import stress


@pytest.fixture
def image():
    """A bright body on a dark ground, to the image's lower edge, with noise."""
    rng = np.random.default_rng(0)
    levels = rng.normal(15, 2, (96, 80))
    levels[20:, 25:55] = rng.normal(110, 4, (76, 30))
    return np.clip(levels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("box", [(40, 30, 60, 50), (0, 0, 12, 12), (90, 74, 96, 80), (50, 40, 51, 41)])
def test_a_fill_changes_the_box_alone(image, box):
    spotted = image.copy()
    inside = np.zeros(image.shape, bool)
    inside[box[0] : box[2], box[1] : box[3]] = True
    spotted[inside] = 255
    before = spotted.copy()
    filled = stress.hide(spotted, [box])
    assert filled.dtype == np.uint8 and (filled[~inside] == image[~inside]).all()
    assert filled[inside].max() < 140, "the spot shows"
    assert (spotted == before).all()


def test_several_boxes_are_filled_and_a_dark_image_as_its_negative(image):
    boxes = [(30, 30, 40, 40), (35, 35, 50, 45), (0, 60, 20, 80)]
    filled, turned = stress.hide(image, boxes), 255 - stress.hide(255 - image, boxes)
    assert np.abs(filled.astype(int) - turned).max() <= 8
    assert (filled != image).any() and (stress.hide(image, []) == image).all()


def test_a_box_over_all_of_the_image_leaves_nothing_of_it(image):
    assert set(stress.hide(image, [(0, 0, 96, 80)]).flat) == {round(float(image.mean()))}


@pytest.mark.parametrize(
    "odd", [np.zeros((9, 9), np.uint16), np.zeros((9, 9, 3), np.uint8), np.zeros((0, 9), np.uint8)]
)
@pytest.mark.parametrize("change", [stress.low_pass, stress.only_border, stress.body, stress.markers])
def test_other_images_are_refused(change, odd):
    with pytest.raises(ImageError, match="Received: uint"):
        change(odd)


def test_boxes_in_pixels_lie_inside_and_hold_one_at_least():
    found = stress.pixels(
        [
            (0.1, 0.2, 0.3, 0.4), (-0.5, -0.5, 0.1, 0.1), (0.95, 0.9, 1.7, 1.2), (0.5, 0.5, 0.5, 0.5),
            (1.0, 0.1, 1.2, 0.2), (0.1, -0.4, 0.2, -0.1), (np.nan, 0, 1, 1), (0.999999, 0.999999, 1, 1),
        ],
        (50, 100),
    )  # fmt: skip
    expected = [(5, 20, 15, 40), (0, 0, 5, 10), (47, 90, 50, 100), (25, 50, 26, 51), (49, 99, 50, 100)]
    assert found.tolist() == [list(box) for box in expected]
    exact = np.array([[7, 13, 21, 99]]) / np.tile((50, 100), 2)
    assert stress.pixels(exact.astype(np.float32), (50, 100)).tolist() == [[7, 13, 21, 99]]
    assert stress.pixels(np.zeros((0, 4)), (5, 5)).shape == (0, 4)


def test_a_widened_box_stays_in_the_image():
    boxes = np.array([(10, 10, 20, 14), (0, 40, 5, 50), (3, 3, 4, 4)])
    assert stress.widened(boxes, (50, 50), 2).tolist() == [[5, 8, 25, 16], [0, 35, 8, 50], [2, 2, 5, 5]]
    assert stress.widened(boxes, (50, 50), 1).tolist() == boxes.tolist()


def test_centre_and_border_are_each_others_rest(image):
    centre, border = stress.hide_centre(image), stress.only_border(image)
    changed = centre != image
    assert changed.any() and not changed[:24].any() and not changed[:, :20].any() and not changed[72:].any()
    assert len(set(border[12:-12, 10:-10].flat)) == 1
    assert (border[:12] == image[:12]).all() and (border[:, -10:] == image[:, -10:]).all()


def test_a_low_pass_keeps_means_of_areas_alone():
    fine = (np.indices((64, 128)).sum(0) % 2 * 200).astype(np.uint8)
    coarse = np.kron(np.random.default_rng(0).integers(0, 256, (8, 16)), np.ones((8, 8))).astype(np.uint8)
    assert np.ptp(stress.low_pass(fine).astype(int)) <= 1
    passed = stress.low_pass(coarse)
    assert passed.shape == coarse.shape
    # Next to the middle of each area an eighth at most is mixed in from its neighbours.
    assert np.abs(passed[4::8, 4::8].astype(int) - coarse[4::8, 4::8]).max() <= 40
    assert (stress.low_pass(np.full((5, 300), 7, np.uint8)) == 7).all()


@pytest.mark.parametrize("turned", [False, True])
def test_letters_off_the_body_are_found(image, turned):
    written = image.copy()
    written[8:14, 8:10] = written[12:14, 8:13] = 250  # an L
    written[8:14, 16:18] = 250  # and an I beside it
    written[50:54, 38:42] = 250  # metal in the body
    written[40:44, 76:] = 250  # cut by the edge
    found = stress.markers(255 - written if turned else written)
    assert found[8:14, 8:10].all() and found[8:14, 16:18].all()
    assert not found[20:].any() and found.mean() < 0.05
    painted = stress.fill(written, found)
    assert painted[:20, :20].max() < 60


def test_where_there_are_no_letters_nothing_is_found(image):
    for plain in (image, np.zeros((40, 40), np.uint8), np.full((9, 1), 255, np.uint8)):
        assert not stress.markers(plain).any()


def test_boxes_move_to_places_that_are_as_much_body(image):
    inside = stress.body(image)
    assert inside.mean() == pytest.approx(76 * 30 / image.size, abs=0.02)
    assert (stress.body(255 - image) == inside).mean() > 0.99
    boxes = np.array([(40, 30, 50, 42), (60, 50, 70, 60)])
    shares = stress.covered(inside, boxes)
    assert shares == pytest.approx([1, 0.5], abs=0.02)
    moved = stress.place(inside, boxes, shares, np.random.default_rng(1), off=boxes)
    assert (moved[:, 2:] - moved[:, :2] == boxes[:, 2:] - boxes[:, :2]).all()
    assert stress.covered(inside, moved) == pytest.approx(shares, abs=0.06)
    for one in moved:
        for other in boxes:
            assert (one[:2] >= other[2:] + 5).any() or (one[2:] + 5 <= other[:2]).any(), (
                "it is filled from there"
            )
    again = stress.place(inside, boxes, shares, np.random.default_rng(1), off=boxes)
    assert (again == moved).all()
    assert (stress.place(inside, boxes, shares, np.random.default_rng(2)) == boxes).all(), "no need to move"
    # From the ground onto the body, where another image had the body.
    onto = stress.place(inside, np.array([(2, 2, 12, 14)]), [1.0], np.random.default_rng(0))
    assert stress.covered(inside, onto) == pytest.approx([1], abs=0.06)


def test_there_may_be_no_room():
    inside = np.ones((20, 20), bool)
    assert (
        stress.place(inside, np.array([(0, 0, 15, 15)]), [1], np.random.default_rng(0), off=[(0, 0, 15, 15)])
        is None
    )
