import numpy as np
import pytest

from keras_fracture import synthesis
from keras_fracture.errors import SynthesisError


@pytest.fixture
def scene(radiographs):
    """Five healthy images and a window in each."""
    windows = np.array(
        [(20, 24, 40, 40), (0, 0, 96, 96), (50, 30, 17, 30), (30, 30, 16, 16), (56, 40, 40, 41)]
    )
    return radiographs.well.images[:5], windows


def test_what_is_translated_is_the_window_and_what_comes_back_is_blended(scene):
    images, windows = scene
    seen = []

    def invert(patches):
        seen.append(patches)
        return 255 - patches

    blended, translated = synthesis.paint(images, windows, invert, n=2, size=16)
    (patches,) = seen
    for k, window in enumerate(windows):
        np.testing.assert_array_equal(patches[k], synthesis.cut(images[k], window, 16))
        np.testing.assert_array_equal(translated[k], 255 - patches[k])
        np.testing.assert_array_equal(blended[k], synthesis.blend(images[k], translated[k], window, 2))
    # Where one pixel of the window is one of the patch, the middle is the inverted image itself.
    weight = synthesis.weights(16, 16, 2)[..., None]
    before = images[3, 30:46, 30:46].astype(float)
    expected = weight * (255 - before) + (1 - weight) * before
    np.testing.assert_allclose(blended[3, 30:46, 30:46], expected, atol=0.51)


def test_a_translator_that_changes_nothing_changes_next_to_nothing(scene):
    images, windows = scene
    blended, _ = synthesis.paint(images, windows, lambda patches: patches, n=4, size=48)
    # Windows smaller than the patch come back from it; larger ones lose what the patch cannot hold.
    for k in (0, 2, 3, 4):
        change = np.abs(blended[k].astype(int) - images[k])
        assert change.max() <= 4 and change.mean() < 0.1
    np.testing.assert_array_equal(
        synthesis.paint(images[3:4], windows[3:4], lambda patches: patches, 4, 16)[0], images[3:4]
    )


@pytest.mark.parametrize(
    ("translate", "received"),
    [
        (lambda patches: patches / 255, r"float64 \(5, 16, 16, 1\)"),
        (lambda patches: patches[:4], r"uint8 \(4, 16, 16, 1\)"),
        (lambda patches: patches[:, :8], r"uint8 \(5, 8, 16, 1\)"),
    ],
)
def test_a_translator_must_give_what_it_got(scene, translate, received):
    with pytest.raises(SynthesisError, match=rf"uint8 patches \(5, 16, 16, 1\), .* Received: {received}"):
        synthesis.paint(*scene, translate, 2, 16)


def test_copies_are_pasted_in_turn_from_the_seed(scene):
    images, windows = scene
    lesions = np.stack([np.full((8, 8, 1), 40 * k, np.uint8) for k in range(3)])
    blended, chosen = synthesis.copy_paste(images, windows, lesions, 1, seed=0)
    assert sorted(np.bincount(chosen, minlength=3)) == [1, 2, 2]
    for k, window in enumerate(windows):
        np.testing.assert_array_equal(blended[k], synthesis.blend(images[k], lesions[chosen[k]], window, 1))
    draws = {tuple(synthesis.copy_paste(images, windows, lesions, 1, seed)[1]) for seed in (0, 0, 1, 2, 3)}
    assert tuple(chosen) in draws and 2 <= len(draws) <= 4


def test_lesions_are_pasted_as_they_were_cut(scene, radiographs):
    sick = radiographs.sick
    cut = synthesis.lesion_patches(sick.images, sick.boxes, sick.parts, 16, 4, seed=0)
    expected, _ = synthesis.copy_paste(*scene, cut.images, 4, seed=0)
    for lesions in (cut, list(cut.images)):
        np.testing.assert_array_equal(synthesis.copy_paste(*scene, lesions, 4, seed=0)[0], expected)


def test_bad_scenes_are_one_line(scene):
    images, windows = scene
    outside = windows + np.array([0, 0, 60, 0])
    cases = [
        (lambda: synthesis.paint(images, windows[:3], np.array, 2, 16), r"\(5, 4\). Received: \(3, 4\)"),
        (lambda: synthesis.paint(images, outside, np.array, 2, 16), "must lie in its image of 96 x 96"),
        (lambda: synthesis.paint(images[:0], windows[:0], np.array, 2, 16), r"Received: uint8 \(0,"),
        (lambda: synthesis.copy_paste(images, outside, images, 2, 0), "must lie in its image"),
        (lambda: synthesis.copy_paste(images, windows, images[:0], 2, 0), "Received: no patches"),
        (lambda: synthesis.border(images, outside, 16), "must lie in its image"),
        (lambda: synthesis.border(images, windows, 16, width=0.5), "below 0.5. Received: 0.5"),
        (lambda: synthesis.above_threshold([0.2, 0.7], 0.9), "the highest score, 0.7000. Received: 0.9"),
        (lambda: synthesis.above_threshold([0.2, 0.7], 1.0), "between 0 and 1. Received: 1.0"),
        (
            lambda: synthesis.above_threshold([0.2, 1.7], 0.5),
            r"from 0 to 1. Received: shape \(2,\), with \[1.7\]",
        ),
        (lambda: synthesis.above_threshold([0.2, np.nan], 0.5), r"with \[nan\]"),
        (
            lambda: synthesis.above_threshold([[0.2, 0.7]], 0.5),
            r"Received: shape \(1, 2\), with none outside",
        ),
        (lambda: synthesis.above_threshold([], 0.5), r"Received: shape \(0,\)"),
    ]
    for call, message in cases:
        with pytest.raises(SynthesisError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value) and "Received: " in str(caught.value)


def test_those_above_the_threshold_are_kept_in_order():
    assert synthesis.above_threshold([0.95, 0.1, 0.9, 0.901], 0.9).tolist() == [0, 3]
    assert synthesis.above_threshold(np.float32([0.0, 1e-6]), 0).tolist() == [1]


def test_rings_know_nothing_of_what_lies_further_in():
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (3, 80, 80, 1), np.uint8)
    windows = np.array([(20, 20, 40, 40), (0, 10, 30, 50), (60, 60, 20, 20)])
    rings = synthesis.border(images, windows, 32, width=0.15)
    assert rings.shape == (3, 32, 32, 1) and rings.dtype == np.uint8
    changed = images.copy()
    for k, (top, left, height, width) in enumerate(windows):
        y, x = round(0.15 * height), round(0.15 * width)
        changed[k, top + y : top + height - y, left + x : left + width - x] = 255
        outer = np.ones((80, 80), bool)
        outer[max(0, top - y) : top + height + y, max(0, left - x) : left + width + x] = False
        changed[k][outer] = 7
    np.testing.assert_array_equal(synthesis.border(changed, windows, 32, width=0.15), rings)
    assert (rings[:, 10:22, 10:22] == 0).all()


def test_rings_show_both_sides_of_the_seam():
    image, windows = np.full((1, 80, 80, 1), 100, np.uint8), np.array([(20, 20, 40, 40)])
    ring = synthesis.border(image, windows, 52, width=0.15)[0, ..., 0]  # 52 pixels of the image
    expected = np.full((52, 52), 100)
    expected[12:40, 12:40] = 0
    np.testing.assert_array_equal(ring, expected)
    for y, x in ((19, 40), (20, 40), (14, 40), (25, 40), (40, 65)):
        touched = image.copy()
        touched[0, y, x] = 200
        after = synthesis.border(touched, windows, 52, width=0.15)[0, ..., 0]
        assert after[y - 14, x - 14] == 200 and (after != ring).sum() == 1
    at_edge = synthesis.border(image, np.array([(0, 20, 40, 40)]), 52, width=0.15)[0, ..., 0]
    assert (at_edge[:6] == 0).all() and (at_edge[6:12] == 100).all()
