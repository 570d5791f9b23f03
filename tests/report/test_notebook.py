import base64
import logging
import re

import cv2
import keras
import numpy as np
import PIL.Image
import pytest

from keras_fracture import models, training
from keras_fracture.data import sheets
from keras_fracture.report import figures, galleries, notebook


@pytest.fixture
def screen(monkeypatch):
    """What is shown, in order, instead of a notebook: (kind, PNG bytes)."""
    seen = []

    class Handle:
        def update(self, image):
            seen.append(("update", image.data))

    def display(image, display_id=False):
        seen.append(("display", image.data))
        return Handle() if display_id else None

    monkeypatch.setattr(notebook, "display", display)
    return seen


def pixels(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)


def test_show_embeds_the_files_in_order_smaller_but_alike(screen, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (36, 24, 24, 1), dtype=np.uint8)
    paths = [
        figures.curves({"": {"loss": [1, 2], "val_loss": [2, 3]}}, tmp_path / "c.png", "y", "t"),
        figures.side_by_side(grey, grey, tmp_path / "s.png", ("a", "b"), "t"),
    ]
    notebook.show(*paths)
    for path, (_, data) in zip(paths, screen, strict=True):
        assert np.abs(pixels(data) - pixels(path.read_bytes())).mean() < 2
    assert len(screen[1][1]) < 0.75 * paths[1].stat().st_size


def test_an_animation_is_shown_as_it_is(screen, tmp_path):
    for epoch in (1, 2):
        grid = np.full((8, 8, 1), 100 * epoch, np.uint8)
        sheets.write_png(grid, tmp_path / f"epoch-{epoch:04d}.png")
    path = galleries.animation(tmp_path, tmp_path / "moving.gif")
    notebook.show(path)
    (_, html), *others = screen
    data = re.fullmatch(r'<img src="data:image/gif;base64,(.*)" alt="moving">', html)[1]
    assert base64.b64decode(data) == path.read_bytes() and not others
    with PIL.Image.open(path) as moving:
        assert moving.n_frames == 2


def test_heat_keeps_all_its_colours(screen, tmp_path):
    grey = np.full((1, 64, 64, 1), 128, np.uint8)
    heats = np.linspace(0, 1, 64 * 64).reshape(1, 64, 64)
    path = figures.overlays(grey, heats, tmp_path / "heat.png")
    notebook.show(path)
    np.testing.assert_array_equal(pixels(screen[0][1]), pixels(path.read_bytes()))


def test_curves_grow_in_one_place_and_hold_each_epoch(screen, tmp_path):
    model = models.create("compact_cnn", image_size=32)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    images = np.zeros((8, 32, 32, 1), np.uint8)
    stream, steps = training.make_train_dataset(images, np.arange(8) % 2, batch_size=4)
    live = notebook.LiveCurves(tmp_path / "live.png", ("loss", "no_such_loss"))
    history = model.fit(stream, steps_per_epoch=steps, epochs=3, callbacks=[live], verbose=0)
    assert live.lines == {"loss": pytest.approx(history.history["loss"])}
    assert [kind for kind, _ in screen] == ["display", "update", "update"]
    assert np.abs(pixels(screen[-1][1]) - pixels((tmp_path / "live.png").read_bytes())).mean() < 2
    assert screen[-1][1] != screen[0][1]


def test_tensorflow_is_quiet_once_asked_to_be():
    tensorflow = logging.getLogger("tensorflow")
    level = tensorflow.level
    try:
        notebook.quiet()
        assert not tensorflow.isEnabledFor(logging.WARNING) and tensorflow.isEnabledFor(logging.ERROR)
    finally:
        tensorflow.setLevel(level)


def test_a_metric_that_some_epochs_lack_stays_at_its_epochs(screen, tmp_path):
    live = notebook.LiveCurves(tmp_path / "live.png")
    for epoch in range(1, 6):
        live.on_epoch_end(epoch - 1, {"loss": 5.0 - epoch} | ({"val_loss": 6.0} if epoch in (3, 5) else {}))
    assert live.lines["loss"] == [4, 3, 2, 1, 0]
    np.testing.assert_array_equal(live.lines["val_loss"], [np.nan, np.nan, 6, np.nan, 6])
