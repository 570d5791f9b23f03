import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageSequence

from keras_fracture.data import sheets
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


def write_grids(folder, epochs, size=64):
    generator = np.random.default_rng(0)
    for epoch in epochs:
        noise = generator.integers(0, 256, (size, size, 1), dtype=np.uint8)
        sheets.write_png(noise, folder / f"epoch-{epoch:04d}.png")
    return folder


def frames_of(path):
    """Grey levels and seconds of each frame of an animation."""
    with Image.open(path) as moving:
        return [
            (np.asarray(frame.convert("L")).astype(int), frame.info["duration"] / 1000)
            for frame in ImageSequence.Iterator(moving)
        ]


def test_an_animation_goes_through_the_epochs_and_stays_at_the_last(tmp_path):
    grids = write_grids(tmp_path / "samples", (10000, 9999, 3))
    path = galleries.animation(grids, tmp_path / "samples.gif")
    frames = frames_of(path)
    assert [seconds for _, seconds in frames] == [0.25, 0.25, 2]
    for (shown, _), epoch in zip(frames, (3, 9999, 10000), strict=True):
        grid = cv2.imread(str(grids / f"epoch-{epoch:04d}.png"), cv2.IMREAD_GRAYSCALE)
        assert np.abs(shown[-64:] - grid).max() <= 8, "its grid, in few grey levels"
    lines = [shown[:-64] for shown, _ in frames]
    assert all(line.min() < 50 for line in lines) and (lines[0] != lines[1]).any(), "each names its epoch"
    assert path.read_bytes() == galleries.animation(grids, tmp_path / "again.gif").read_bytes()


def test_an_animation_of_many_large_grids_stays_small(tmp_path):
    grids = write_grids(tmp_path / "samples", range(1, 36), size=500)
    path = galleries.animation(grids, tmp_path / "samples.gif")
    frames = frames_of(path)
    assert len(frames) == 30 and path.stat().st_size <= 2_000_000
    smaller = galleries.animation(grids, tmp_path / "smaller.gif", limit=100_000)
    assert len(frames_of(smaller)) == 30 and 50_000 < smaller.stat().st_size <= 100_000
    first, last = (
        Image.fromarray(cv2.imread(str(grids / name), cv2.IMREAD_GRAYSCALE)).resize(
            (8, 8), Image.Resampling.BOX
        )
        for name in ("epoch-0001.png", "epoch-0035.png")
    )
    for shown, grid in ((frames[0][0], first), (frames[-1][0], last)):
        small = Image.fromarray(shown[20:].astype(np.uint8)).resize((8, 8), Image.Resampling.BOX)
        assert np.abs(np.asarray(small).astype(int) - np.asarray(grid)).max() <= 6


def test_one_grid_does_not_move(tmp_path):
    for epochs in ((), (1,)):
        assert (
            galleries.animation(write_grids(tmp_path / "samples", epochs), tmp_path / "samples.gif") is None
        )
    assert not (tmp_path / "samples.gif").exists()


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
