import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_fracture import synthesis
from keras_fracture.errors import DataError, OutputError, SynthesisError

REAL = pd.DataFrame(
    {
        "filename": ["a/1.png", "a/2.png", "b/NA.png"],
        "source": ["0012", "0012", "1e5"],
        "body_part": ["upper limb", "leg", "unknown"],
        "label": 0,
    }
)
WINDOWS = np.array([(10, 20, 40, 30), (0, 0, 21, 21)])


def described(**changes):
    options = {"n": 2, "seed": 7, "scores": np.float32([0.91, 0.99]), "model": "unit", "weights": "00123e4"}
    return synthesis.describe(REAL, [2, 0], WINDOWS, (100, 80), **options | changes)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_reads_back(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 100, 80, channels), np.uint8)
    written = synthesis.write(images, described(), tmp_path / "made")
    again, table = synthesis.read(tmp_path / "made")
    np.testing.assert_array_equal(again, images)
    pd.testing.assert_frame_equal(table, written)
    assert table["file"].tolist() == ["000000.png", "000001.png"] and table["synthetic"].all()
    assert table["source"].tolist() == ["1e5", "0012"] and table["filename"].tolist() == [
        "b/NA.png",
        "a/1.png",
    ]
    assert table["body_part"].tolist() == ["unknown", "upper limb"]
    assert table["weights"].tolist() == ["00123e4"] * 2 and table["model"].tolist() == ["unit"] * 2
    np.testing.assert_array_equal(table[["top", "left", "height", "width"]], WINDOWS)
    np.testing.assert_array_equal(table["score"], np.float32([0.91, 0.99]).astype(float))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]


def test_a_folder_of_an_earlier_version_is_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 100, 80, 1), np.uint8)
    synthesis.write(images, described(), tmp_path / "made")
    (tmp_path / "made" / "images.csv").rename(tmp_path / "made" / "pictures.csv")
    np.testing.assert_array_equal(synthesis.read(tmp_path / "made")[0], images)


def test_every_png_says_that_it_is_synthetic(tmp_path):
    images = np.zeros((2, 100, 80, 1), np.uint8)
    synthesis.write(iter(images), described(), tmp_path / "made")
    for name, source, filename in (("000000", "1e5", "b/NA.png"), ("000001", "0012", "a/1.png")):
        with Image.open(tmp_path / "made" / f"{name}.png") as image:
            assert image.text == {"synthetic": "true", "seed": "7", "source": source, "filename": filename}


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_box_is_where_the_patch_outweighs_the_image(n):
    table = synthesis.describe(
        REAL, [0], [(100, 200, 401, 201)], (1000, 800), n=n, seed=0, scores=[1], model="", weights=""
    )
    seen = synthesis.weights(401, 201, n)
    rows, columns = np.flatnonzero(seen[:, 100] >= 0.5), np.flatnonzero(seen[200] >= 0.5)
    expected = [
        (100 + rows[0]) / 1000,
        (200 + columns[0]) / 800,
        (101 + rows[-1]) / 1000,
        (201 + columns[-1]) / 800,
    ]
    np.testing.assert_allclose(table[["ymin", "xmin", "ymax", "xmax"]].to_numpy()[0], expected, atol=2e-3)


@pytest.mark.parametrize("n", [0.5, 1, 2, 5])
def test_the_box_of_a_small_window_ends_where_the_weights_are_one_half(n):
    made = {"n": n, "seed": 0, "scores": [1], "model": "", "weights": ""}
    box = synthesis.describe(REAL, [0], [(10, 20, 31, 21)], (100, 100), **made)[
        ["ymin", "xmin", "ymax", "xmax"]
    ]
    top, left, bottom, right = 100 * box.to_numpy()[0]
    seen = synthesis.weights(31, 21, n)
    at = np.arange(31) + 0.5  # the middles of pixels
    for start, end, line, first in ((top, bottom, seen[:, 10], 10), (left, right, seen[15], 20)):
        half = len(line) // 2 + 1
        expected = first + np.interp(0.5, line[:half], at[:half])
        assert start == pytest.approx(expected, abs=0.08)
        assert end == pytest.approx(2 * first + len(line) - expected, abs=0.08)


def test_nothing_is_left_of_what_cannot_be_written(tmp_path):
    images = np.zeros((2, 100, 80, 1), np.uint8)
    with pytest.raises(SynthesisError, match="Received: 1 images, 2 rows"):
        synthesis.write(images[:1], described(), tmp_path / "made")

    def failing():
        yield images[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="made cannot be written: No space left"):
        synthesis.write(failing(), described(), tmp_path / "made")
    assert not list(tmp_path.iterdir())
    (tmp_path / "made").mkdir()
    with pytest.raises(OutputError, match="made exists already"):
        synthesis.write(images, described(), tmp_path / "made")


def test_what_is_not_marked_is_not_read(tmp_path):
    images = np.zeros((2, 100, 80, 1), np.uint8)
    with pytest.raises(DataError, match="gone holds no synthetic images"):
        synthesis.read(tmp_path / "gone")
    synthesis.write(images, described(), tmp_path / "made")
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "made" / "000001.png")
    with pytest.raises(DataError, match=r"000001.png is not marked as synthetic") as caught:
        synthesis.read(tmp_path / "made")
    assert "\n" not in str(caught.value)
    (tmp_path / "made" / "000001.png").unlink()
    with pytest.raises(DataError, match="No such file"):
        synthesis.read(tmp_path / "made")


def test_the_shape_of_several_images_is_refused():
    with pytest.raises(SynthesisError, match=r"one image's height and width, .* Received: \(2, 100, 80, 1\)"):
        synthesis.describe(
            REAL, [2, 0], WINDOWS, (2, 100, 80, 1), n=2, seed=0, scores=[0, 1], model="", weights=""
        )
