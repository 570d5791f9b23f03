import dataclasses
import logging

import numpy as np
import pandas as pd
import pytest

from keras_fracture import synthesis
from keras_fracture.errors import SynthesisError


def in_pixels(boxes, image):
    return np.reshape(boxes, (-1, 4)) * np.tile(image.shape[:2], 2)


def padding(image):
    """Rows and columns that fit-and-pad put round an image, or that are as black."""
    black = image[..., 0] == 0
    return black.all(1), black.all(0)


@pytest.fixture(scope="module")
def lesions(radiographs):
    sick = radiographs.sick
    return synthesis.lesion_patches(sick.images, sick.boxes, sick.parts, 16, 400, seed=0)


@pytest.fixture(scope="module")
def healthy(radiographs, lesions):
    well = radiographs.well
    return synthesis.healthy_patches(well.images, well.parts, lesions, 16, 400, seed=1)


def test_windows_hold_their_box_and_lie_in_the_image():
    rng = np.random.default_rng(0)
    for seed in range(300):
        shape = tuple(rng.integers(20, 120, 2))
        corners = np.sort(rng.uniform(0, 1, (3, 2, 2)), axis=1)
        boxes = corners.reshape(3, 4)
        windows = synthesis.lesion_windows(boxes, shape, np.random.default_rng(seed))
        top, left, height, width = windows.T
        assert windows.dtype == np.int64 and windows.min() >= 0
        assert (top + height <= shape[0]).all() and (left + width <= shape[1]).all()
        pixels = boxes * [*shape, *shape]
        assert (np.stack([top, left], 1) <= pixels[:, :2] + 1e-3).all()
        assert (np.stack([top + height, left + width], 1) >= pixels[:, 2:] - 1e-3).all()


def test_windows_are_squares_round_the_box_as_large_as_the_context_says():
    box = [[0.4, 0.45, 0.6, 0.55]]
    rng = np.random.default_rng(0)
    windows = np.concatenate(
        [synthesis.lesion_windows(box, (400, 400, 1), rng, (1.5, 3)) for _ in range(400)]
    )
    assert (windows[:, 2] == windows[:, 3]).all()
    factors = windows[:, 2] / 80
    assert 1.5 - 0.01 < factors.min() < 1.55 and 2.95 < factors.max() < 3.01
    assert abs(factors.mean() - 2.25) < 0.06
    np.testing.assert_allclose(windows[:, :2] + windows[:, 2:] / 2, 200, atol=0.5)


def test_a_square_over_the_edge_is_slid_and_a_tiny_box_gets_more_context():
    rng = np.random.default_rng(0)
    assert synthesis.lesion_windows([[0, 0.9, 0.2, 1]], (100, 100), rng, (2, 2)).tolist() == [[0, 60, 40, 40]]
    assert synthesis.lesion_windows([[0.5, 0.5, 0.51, 0.51]], (100, 100), rng, least=20)[0, 2:].tolist() == [
        20,
        20,
    ]
    assert synthesis.lesion_windows([[0, 0, 1, 0.5]], (100, 60), rng).tolist() == [[0, 0, 100, 60]]


def test_lesions_come_in_turn_with_another_context_each_time(radiographs, lesions):
    sick = radiographs.sick
    owners = [row for row, boxes in enumerate(sick.boxes) for _ in boxes]
    counts = np.bincount(lesions.rows, minlength=len(sick.boxes))
    expected = np.bincount(owners, minlength=len(sick.boxes)) * 400 / len(owners)
    assert (np.abs(counts - expected) <= 1).all()
    again = lesions.windows[lesions.rows == lesions.rows[0]]
    assert len(np.unique(again, axis=0)) > 1
    assert (lesions.body_parts == sick.parts[lesions.rows]).all()
    for row, window, image in zip(lesions.rows[:40], lesions.windows, lesions.images, strict=False):
        np.testing.assert_array_equal(image, synthesis.cut(sick.images[row], window, 16))
        (box,) = in_pixels(sick.boxes[row], sick.images[row])
        assert (window[:2] <= box[:2] + 1e-2).all() and (window[:2] + window[2:] >= box[2:] - 1e-2).all()


def test_no_patch_shows_padding(radiographs, lesions, healthy):
    padded = 0
    for kind, patches in (("sick", lesions), ("well", healthy)):
        images = getattr(radiographs, kind).images
        for row, (top, left, height, width) in zip(patches.rows, patches.windows, strict=True):
            rows, columns = padding(images[row])
            padded += columns.any()
            assert not rows[top : top + height].any() and not columns[left : left + width].any()
    assert padded > 100


def test_healthy_windows_lie_where_lesions_of_the_part_do(lesions, healthy):
    for part in np.unique(healthy.body_parts):
        ours, theirs = (kind.positions[kind.body_parts == part] for kind in (healthy, lesions))
        np.testing.assert_allclose(ours.mean(0)[:2], theirs.mean(0)[:2], atol=0.05)
        np.testing.assert_allclose(ours.mean(0)[2:], theirs.mean(0)[2:], rtol=0.15)
        # Places of other parts would be as far off as this.
        np.testing.assert_allclose(ours.std(0)[:3], theirs.std(0)[:3], atol=0.06)


def test_each_part_takes_its_own_places(radiographs, lesions):
    well = radiographs.well
    moved = lesions.positions.copy()
    low = lesions.body_parts == well.parts[0]
    moved[low, :3], moved[~low, :3] = (0.75, 0.5, 0.3), (0.25, 0.5, 0.4)
    apart = dataclasses.replace(lesions, positions=moved)
    made = synthesis.healthy_patches(well.images, well.parts, apart, 8, 60, 0, level=9.0, jitter=0.02)
    below = made.body_parts == well.parts[0]
    assert 5 < below.sum() < 55 and (made.body_parts == well.parts[made.rows]).all()
    np.testing.assert_allclose(made.positions[below, 0], 0.75, atol=0.05)
    np.testing.assert_allclose(made.positions[~below, 0], 0.25, atol=0.05)
    np.testing.assert_allclose(made.positions[below, 2], 0.3, atol=0.03)


def test_padding_does_not_shift_places(radiographs, lesions):
    """One content, once alone and once among black: the same windows, seen from the content."""
    content = np.full((60, 40, 1), 90, np.uint8)
    alone, padded = content[None], np.pad(content, ((0, 0), (10, 10), (0, 0)))[None]
    one = dataclasses.replace(lesions, positions=np.tile([0.3, 0.6, 0.4, 1.0], (400, 1)))
    part = lesions.body_parts[:1]
    first = synthesis.healthy_patches(alone, part, one, 8, 5, 0)
    second = synthesis.healthy_patches(padded, part, one, 8, 5, 0)
    np.testing.assert_array_equal(first.windows + np.array([0, 10, 0, 0]), second.windows)


def test_healthy_windows_stay_off_lesions_and_black_border(radiographs, lesions):
    """Images with lesions of their own, over many seeds."""
    sick = radiographs.sick
    rng = np.random.default_rng(0)
    for seed in range(40):
        images = sick.images.copy()
        # A black bar from the edge, as a collimator leaves it.
        edge = int(rng.integers(20, 40))
        images[:, :edge] = 0
        made = synthesis.healthy_patches(
            images, sick.parts, lesions, 8, 6, seed, boxes=sick.boxes, jitter=0.4, level=1.0, black=0.0
        )
        for row, (top, left, height, width) in zip(made.rows, made.windows, strict=True):
            for ymin, xmin, ymax, xmax in in_pixels(sick.boxes[row], images[row]):
                assert ymax <= top or xmax <= left or ymin >= top + height or xmin >= left + width
            assert top >= edge
            assert top + height <= 96 and left >= 0 and left + width <= 96


def test_the_share_of_black_border_is_limited_and_black_inside_is_not_border():
    image = np.full((40, 40, 1), 100, np.uint8)
    image[:20, :12] = 0  # border
    image[25:35, 20:36] = 0  # an island within
    position = np.array([[0.5, 0.5, 0.6, 1.0]])
    lesions = synthesis.Patches(np.zeros((1, 4, 4, 1)), None, np.zeros(1), np.array(["arm"]), position)
    for black in (0.0, 0.05, 0.2):
        made = synthesis.healthy_patches(
            image[None], ["arm"], lesions, 8, 30, 0, jitter=0.3, level=1.0, black=black
        )
        shares = []
        for top, left, height, width in made.windows:
            border = np.zeros((40, 40), bool)
            border[:20, :12] = True
            shares.append(border[top : top + height, left : left + width].mean())
        assert max(shares) <= black
        assert black == 0 or max(shares) > black / 4


def test_healthy_windows_are_about_as_bright(radiographs, lesions):
    well = radiographs.well
    bright = dataclasses.replace(lesions, positions=lesions.positions * [1, 1, 0.4, 1.2])
    made = synthesis.healthy_patches(well.images, well.parts, bright, 8, 80, 0, jitter=0.15, level=0.05)
    free = synthesis.healthy_patches(well.images, well.parts, bright, 8, 80, 0, jitter=0.15, level=9.0)
    for part in np.unique(made.body_parts):
        wanted = bright.positions[bright.body_parts == part, 3]
        off = np.abs(made.positions[made.body_parts == part, 3][:, None] / wanted - 1).min(1)
        assert off.max() <= 0.05 + 1e-9
    assert made.positions[:, 3].mean() > free.positions[:, 3].mean()


def test_the_seed_decides(radiographs, lesions):
    sick, well = radiographs.sick, radiographs.well
    for make in (
        lambda seed: synthesis.lesion_patches(sick.images, sick.boxes, sick.parts, 8, 20, seed),
        lambda seed: synthesis.healthy_patches(well.images, well.parts, lesions, 8, 20, seed),
    ):
        first, again, other = make(5), make(5), make(6)
        for field in dataclasses.fields(first):
            np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
        assert (first.windows != other.windows).any() and len(first) == 20


def test_images_where_nothing_fits_are_given_up_and_counted(radiographs, lesions, caplog):
    well = radiographs.well
    images = well.images[:6].copy()
    images[[1, 4]] = 0
    with caplog.at_level(logging.WARNING):
        made = synthesis.healthy_patches(images, well.parts[:6], lesions, 8, 30, 0)
    assert set(made.rows) == {0, 2, 3, 5} and len(made) == 30
    assert caplog.messages == [
        "2 of 6 images given up: no window of such brightness off lesions and black border in 100 tries"
    ]
    with pytest.raises(SynthesisError, match=r"In no image .* Received: 2 images, 0.25, 0.1"):
        synthesis.healthy_patches(images[[1, 4]], well.parts[:2], lesions, 8, 3, 0)
    everywhere = [[[0, 0, 1, 1]]] * 6
    with pytest.raises(SynthesisError, match="In no image"):
        synthesis.healthy_patches(images, well.parts[:6], lesions, 8, 3, 0, boxes=everywhere)


def test_a_part_without_lesions_is_named_or_takes_all_places(radiographs, lesions):
    well = radiographs.well
    strange = np.array(["skull"] * len(well.parts))
    with pytest.raises(SynthesisError, match=r"leave other parts out or set any_part. Received: 'skull'"):
        synthesis.healthy_patches(well.images, strange, lesions, 8, 3, 0)
    made = synthesis.healthy_patches(well.images, strange, lesions, 8, 9, 0, any_part=True)
    assert set(made.body_parts) == {"skull"} and len(made) == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[[0.1, 0.1, 1.2, 0.5]]]}, r"from 0 to 1. Received: \[0.1, 0.1, 1.2, 0.5\]"),
        ({"boxes": [[[-0.1, 0.1, 0.2, 0.5]]]}, r"Received: \[-0.1, "),
        ({"boxes": [[[0.5, 0.1, 0.5, 0.5]]]}, r"Received: \[0.5, "),
        ({"boxes": [[]]}, r"must be a lesion box. Received: none in 1 images"),
        ({"boxes": []}, r"1 images, 1 parts, 0 boxes"),
        ({"body_parts": ["arm", "leg"]}, r"1 images, 2 parts, 1 boxes"),
        ({"size": 0}, r"1 pixel or more. Received: 0"),
        ({"count": 0}, r"1 or more. Received: 0"),
        ({"context": (0.5, 2)}, r"the smaller one first. Received: \(0.5, 2\)"),
        ({"context": (2, 1.5)}, r"Received: \(2, 1.5\)"),
        ({"least": 41}, r"Received: 41 for an image of 40 x 40"),
        ({"least": 2}, r"Received: 2 for an image"),
        ({"images": np.zeros((1, 40, 40), np.uint8)}, r"Received: uint8 \(1, 40, 40\)"),
        ({"images": np.zeros((1, 40, 40, 1), "float32")}, r"Received: float32"),
    ],
)
def test_bad_lesion_requests_are_one_line(change, message):
    given = {
        "images": np.full((1, 40, 40, 1), 90, np.uint8), "boxes": [[[0.2, 0.2, 0.5, 0.5]]],
        "body_parts": ["arm"], "size": 8, "count": 2, "seed": 0,
    }  # fmt: skip
    assert len(synthesis.lesion_patches(**given)) == 2
    with pytest.raises(SynthesisError, match=message) as caught:
        synthesis.lesion_patches(**given | change)
    assert "\n" not in str(caught.value)


def test_bad_healthy_requests_are_one_line(radiographs, lesions):
    well = radiographs.well
    none = dataclasses.replace(lesions, rows=lesions.rows[:0])
    for given, change, message in (
        (none, {}, "Received: no patches"),
        (lesions, {"jitter": -1}, r"level positive. Received: -1, 0.1, 0.25"),
        (lesions, {"black": 2}, r"Received: 0.05, 2, 0.25"),
        (lesions, {"level": 0}, r"Received: 0.05, 0.1, 0"),
        (lesions, {"boxes": [[]]}, r"1 boxes"),
    ):
        with pytest.raises(SynthesisError, match=message) as caught:
            synthesis.healthy_patches(well.images, well.parts, given, 8, 3, 0, **change)
        assert "\n" not in str(caught.value)


def test_columns_of_a_table_go_with_images_by_place_not_by_index(radiographs, lesions):
    sick, well = radiographs.sick, radiographs.well
    turned = np.arange(len(sick.images))[::-1]
    boxes, parts = pd.Series(list(sick.boxes), turned), pd.Series(list(sick.parts), turned)
    expected = synthesis.lesion_patches(sick.images, sick.boxes, sick.parts, 16, 50, seed=0)
    patches = synthesis.lesion_patches(sick.images, boxes, parts, 16, 50, seed=0)
    np.testing.assert_array_equal(patches.images, expected.images)
    np.testing.assert_array_equal(patches.body_parts, expected.body_parts)
    assert len(set(expected.body_parts)) > 1
    own = [np.array([[0.0, 0.0, 0.4, 0.4]]) if row % 2 else () for row in range(len(well.images))]
    turned = np.arange(len(own))[::-1]
    expected = synthesis.healthy_patches(well.images, well.parts, lesions, 16, 50, seed=1, boxes=own)
    patches = synthesis.healthy_patches(
        well.images,
        pd.Series(list(well.parts), turned),
        lesions,
        16,
        50,
        seed=1,
        boxes=pd.Series(own, turned),
    )
    np.testing.assert_array_equal(patches.images, expected.images)


def test_parts_that_are_numbers_take_their_own_places(radiographs):
    """Where body parts are label-encoded, as `Patches` says them: as text."""
    sick, well = radiographs.sick, radiographs.well
    codes = {part: code for code, part in enumerate(sorted({*sick.parts, *well.parts}))}
    lesions = synthesis.lesion_patches(sick.images, sick.boxes, sick.parts, 16, 50, seed=0)
    expected = synthesis.healthy_patches(well.images, well.parts, lesions, 16, 50, seed=1)
    coded = synthesis.lesion_patches(sick.images, sick.boxes, [codes[p] for p in sick.parts], 16, 50, seed=0)
    patches = synthesis.healthy_patches(
        well.images, [codes[part] for part in well.parts], coded, 16, 50, seed=1, any_part=True
    )
    np.testing.assert_array_equal(patches.windows, expected.windows)
    assert patches.body_parts.tolist() == [str(codes[part]) for part in expected.body_parts]
    with pytest.raises(SynthesisError, match=r"Received: 'None'"):
        synthesis.healthy_patches(well.images, [None] * len(well.images), coded, 16, 50, seed=1)


def test_an_area_may_be_an_array():
    box, rng = [[0, 0, 0.2, 0.1]], np.random.default_rng(0)
    windows = synthesis.lesion_windows(box, (100, 100), rng, (9, 9), area=np.array([0, 0, 20, 30]))
    assert windows.tolist() == [[0, 0, 20, 30]]
