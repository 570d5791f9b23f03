import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from keras_fracture.data import phantom
from keras_fracture.report import figures
from tests.drawings import assert_drawn


def test_a_learning_curve_draws_each_arm_at_its_amounts(drawn, tmp_path):
    arms = {
        "real": [(400, 0.7, 0.65, 0.75), (50, 0.5, 0.4, 0.6)],
        "synthetic": [(50, 0.6, 0.55, 0.64), (2870, 0.9, 0.88, 0.93)],
    }
    path = figures.learning_curve(
        arms, tmp_path / "l.png", "labelled images", "test AUC", "Title", ("chance", 0.45)
    )
    axis = drawn[0].axes[0]
    chance, *lines = axis.lines
    assert set(chance.get_ydata()) == {0.45}
    np.testing.assert_allclose(lines[0].get_xydata(), [(50, 0.5), (400, 0.7)])
    np.testing.assert_allclose(lines[1].get_xydata(), [(50, 0.6), (2870, 0.9)])
    bands = [band.get_datalim(axis.transData).get_points().tolist() for band in axis.collections]
    assert bands == [[[50, 0.4], [400, 0.75]], [[50, 0.55], [2870, 0.93]]]
    assert axis.get_xscale() == "log" and axis.get_xticks(minor=True).size == 0
    assert [label.get_text() for label in axis.get_xticklabels()] == ["50", "400", "2,870"]
    for look in ("get_color", "get_marker"):
        assert getattr(lines[0], look)() != getattr(lines[1], look)()
    legend = drawn[0].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["chance", "real", "synthetic"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("labelled images", "test AUC")
    assert not legend.get_window_extent().overlaps(axis.get_tightbbox()), "the legend hides no data"
    assert_drawn(path)


def test_arms_at_one_amount_stand_side_by_side_with_their_intervals(drawn, tmp_path):
    arms = {
        name: [(100, value, value - 0.1, value + 0.2)]
        for name, value in {"a": 0.6, "b": 0.6, "c": 0.7}.items()
    }
    figures.learning_curve(arms, tmp_path / "l.png", "images", "test AUC", "Title")
    axis = drawn[0].axes[0]
    places = [line.get_xdata().item() for line in axis.lines]
    assert places[0] < places[1] < places[2] and places[1] == pytest.approx(100)
    low, high = np.log(axis.get_xlim())
    assert np.ptp(np.log(places)) < 0.3 * (high - low), "not as if their amounts differed"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["100"] and axis.get_xticks() == [100]
    spans = [band.get_segments()[0].tolist() for band in axis.collections]
    expected = [[[x, y - 0.1], [x, y + 0.2]] for x, y in zip(places, (0.6, 0.6, 0.7), strict=True)]
    np.testing.assert_allclose(spans, expected)


def test_intervals_of_many_arms_stand_side_by_side_in_place_of_bands_that_mix(drawn, tmp_path):
    points = [(100, 0.6, 0.5, 0.7), (500, 0.7, 0.6, 0.8), (6830, 0.8, 0.7, 0.9)]
    figures.learning_curve(dict.fromkeys("abcde", points), tmp_path / "l.png", "images", "AUC", "Title")
    axis = drawn[0].axes[0]
    assert len(axis.collections) == 5
    places = np.array([line.get_xdata() for line in axis.lines])
    spans = np.array([band.get_segments() for band in axis.collections])
    np.testing.assert_allclose(spans[..., 0], places[..., None].repeat(2, 2))
    np.testing.assert_allclose(spans[..., 1], [[[0.5, 0.7], [0.6, 0.8], [0.7, 0.9]]] * 5)
    assert (np.diff(places, axis=0) > 0).all() and places[2] == pytest.approx([100, 500, 6830])
    assert (places.max(0)[:-1] < places.min(0)[1:]).all(), "each amount's apart from the next"


def test_lines_that_lie_near_each_other_are_told_apart(drawn, tmp_path):
    lines = {"cycle": [0.2, 0.11], "gan": [4.0, 8.0], "reconstruction": [0.19, 0.1]}
    figures.curves({"tibia": lines, "femur": lines}, tmp_path / "c.png", "loss", "Title", scale="log")
    figures.curves({"": lines}, tmp_path / "p.png", "probability", "Title", "image", joined=False)
    for axis in drawn[0].axes:
        assert axis.get_yscale() == "log" and len({line.get_linestyle() for line in axis.lines}) == 3
    assert [line.get_linestyle() for line in drawn[1].axes[0].lines] == ["None"] * 3
    assert drawn[1].axes[0].get_yscale() == "linear"
    long = {
        f"{kind}, {which}": [1.0, 2.0]
        for kind in ("resnet18", "healthy")
        for which in ("training", "discriminator")
    }
    figures.curves({"": long}, tmp_path / "l.png", "loss", "Title")
    for figure, names in zip(drawn, (lines, lines, long), strict=True):
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == list(names)
        shown = legend.get_window_extent()
        assert shown.x0 >= 0 and shown.x1 <= figure.bbox.x1
        for axis in figure.axes:
            assert not legend.get_window_extent().overlaps(axis.get_tightbbox()), "the legend hides no data"


def test_amounts_of_a_learning_curve_do_not_run_into_each_other(drawn, tmp_path):
    points = [(amount, 0.5, 0.4, 0.6) for amount in (10, 20, 25, 30, 10500)]
    figures.learning_curve({"real": points}, tmp_path / "l.png", "images", "test AUC", "Title")
    labels = drawn[0].axes[0].get_xticklabels()
    assert {label.get_rotation() for label in labels} == {60}
    figures.learning_curve({"real": points[:1]}, tmp_path / "one.png", "images", "test AUC", "Title")
    assert [label.get_text() for label in drawn[1].axes[0].get_xticklabels()] == ["10"]


def test_cold_places_stay_as_they_are_and_hot_ones_are_coloured():
    images = np.full((1, 4, 6, 1), 100, np.uint8)
    heats = np.zeros((1, 4, 6))
    heats[0, 1, 2] = 1
    made = figures.heated(images, heats, strength=0.5)
    cold = heats[0] == 0
    assert (made[0][cold] == 100).all()
    hottest = np.array(figures.HEAT(1.0)[:3]) * 255
    np.testing.assert_allclose(made[0, 1, 2], (100 + hottest) / 2, atol=1)


def test_overlays_put_boxes_on_both_halves(drawn, tmp_path):
    records = phantom.records(seed=0, sources=8, size=64)[:4]
    images = np.stack([record["image"] for record in records])
    heats = np.random.default_rng(0).random(images.shape[:3])
    boxes = [np.array([[0.25, 0.5, 0.75, 1.0]]), np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, 4))]
    path = figures.overlays(images, heats, tmp_path / "o.png", boxes, list("abcd"))
    axes = drawn[0].axes
    assert [axis.get_title() for axis in axes[:4]] == list("abcd")
    corners = [patch.get_bbox().bounds for patch in axes[0].patches]
    np.testing.assert_allclose(corners, [(31.5, 15.5, 32, 32), (99.5, 15.5, 32, 32)])
    assert not axes[1].patches
    shown = axes[2].images[0].get_array()
    np.testing.assert_array_equal(shown[:, :64], np.repeat(images[2], 3, 2))
    assert cv2.imread(str(path)).std() > 20


def test_many_seeds_are_told_apart_by_their_own_numbers(drawn, tmp_path):
    history = pd.DataFrame({"epoch": [1, 2], "kid": [0.5, np.nan], "near_copies": [0.1, np.nan]})
    real = {"kid": 0.1, "near_copies": 0.01}
    figures.metrics_over_epochs([history] * 9, real, tmp_path / "m.png", "Title", seed=7)
    axis = drawn[0].axes[0]
    words = [text.get_text() for text in axis.get_legend().get_texts()]
    assert words == [*(f"seed {seed}" for seed in range(7, 16)), "real against real"]
    assert len({(line.get_color(), line.get_marker()) for line in axis.lines}) == 10


def test_metrics_over_epochs_say_of_how_many_images_and_no_share_is_negative(drawn, tmp_path):
    for share, top in ((0.0, 0.05), (0.3, 0.315)):
        history = pd.DataFrame({"epoch": [1, 2], "kid": [0.5, 0.4], "near_copies": [0.0, share]})
        real = {"kid": 0.1, "near_copies": 0.0}
        figures.metrics_over_epochs([history], real, tmp_path / "m.png", "Title", generated=1000)
        kid, shares = drawn[-1].axes
        assert kid.get_ylabel() == "KID to the training images (1,000 generated)"
        assert shares.get_ylabel() == "share of near copies (1,000 generated)"
        assert shares.get_ylim() == (0, pytest.approx(top, abs=0.01))


def test_losses_without_reported_values_show_ours_and_their_unit(drawn, tmp_path):
    history = pd.DataFrame({"epoch": [1, 2], "g_loss": [1.0, 2.0], "d_loss": [-0.5, -2.0]})
    paper = {"g_loss": [(1, 3.1)], "d_loss": [(1, 1.6)]}
    figures.losses([history], paper, tmp_path / "l.png", "Title")
    figures.losses([history], {name: [] for name in paper}, tmp_path / "l.png", "Title", unit="")
    reported, ours = (figure.axes[1] for figure in drawn)
    assert [len(axis.lines) for axis in (reported, ours)] == [2, 1]
    assert ours.get_ylabel() == "loss, mean of the epoch" == reported.get_ylabel().replace(" (nats)", "")


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    settings, open_figures = dict(matplotlib.rcParams), plt.get_fignums()
    figures.curves({"": {"loss": [1.0, 0.5]}}, tmp_path / "c.png", "loss (nats)", "Title")
    assert dict(matplotlib.rcParams) == settings
    assert plt.get_fignums() == open_figures


def test_overlays_of_one_image_need_no_boxes(tmp_path):
    path = figures.overlays(np.zeros((1, 32, 32, 3), np.uint8), np.ones((1, 32, 32)), tmp_path / "o.png")
    assert_drawn(path, share=0.001)
