import cv2
import numpy as np
import pandas as pd
import pytest

from keras_fracture.report import figures, galleries
from tests.drawings import assert_drawn


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they are saved."""
    saved = []

    def save(figure, path):
        saved.append(figure)
        figure.savefig(path)
        return path

    monkeypatch.setattr(figures, "save", save)
    return saved


def test_a_gallery_outlines_boxes_where_they_lie_in_each_image(drawn, tmp_path):
    images = [np.full((40, 80, 1), 100, np.uint8), np.full((20, 20), 50, np.uint8)]
    boxes = [np.array([[0.25, 0.5, 0.75, 1.0]]), np.zeros((0, 4))]
    path = galleries.gallery(images, tmp_path / "g.png", "Title", ["a", "b"], boxes, columns=3)
    first, second = drawn[0].axes
    outline = first.patches[0]
    assert outline.get_xy() == (39.5, 9.5) and (outline.get_width(), outline.get_height()) == (40, 20)
    assert not second.patches
    assert [axis.get_title() for axis in (first, second)] == ["a", "b"]
    assert first.images[0].get_clim() == (0, 255), "flat images must keep their grey levels"
    assert cv2.imread(str(path)).std() > 5


def test_a_gallery_that_does_not_fill_its_last_row(drawn, tmp_path):
    galleries.gallery(np.zeros((5, 8, 8, 1), np.uint8), tmp_path / "g.png", "Title", columns=3)
    shown = [bool(axis.images) for axis in drawn[0].axes]
    assert shown == [True] * 5 + [False]


def test_each_generated_image_stands_above_its_neighbour(drawn, tmp_path):
    generated = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 6, 1), np.uint8)
    path = galleries.neighbours(generated, 100 + generated, tmp_path / "n.png", ("made", "real"), columns=3)
    shown = [
        [axis.images[0].get_array().max() for axis in part.axes if axis.images] for part in drawn[0].subfigs
    ]
    assert shown == [[0, 1, 2, 100, 101, 102], [3, 4, 103, 104]]
    for part in drawn[0].subfigs:
        above, below = part.axes[0], part.axes[3]
        assert (above.get_ylabel(), below.get_ylabel()) == ("made", "real")
        assert above.get_position().y0 >= below.get_position().y1
    assert_drawn(path, share=0.2, levels=5)


def test_bars_carry_their_numbers(drawn, tmp_path):
    table = pd.DataFrame({"healthy": [1200, 3], "finding": [40, 0]}, index=["wrist", "knee"])
    path = galleries.bars(table, tmp_path / "b.png", "images", "Title")
    axis = drawn[0].axes[0]
    assert [text.get_text() for text in axis.texts] == ["1,200", "3", "40", "0"]
    assert [patch.get_height() for patch in axis.patches] == [1200, 3, 40, 0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["wrist", "knee"]
    assert cv2.imread(str(path)).std() > 5


def test_bars_of_shares_keep_two_digits(drawn, tmp_path):
    galleries.bars(pd.DataFrame({"share": [0.517, 0.6]}), tmp_path / "b.png", "share", "Title")
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["0.52", "0.60"]
