import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

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

    for count, received in ((1, "1 images"), (3, "more than 2 images")):
        with pytest.raises(SynthesisError, match=rf"Received: {received}, 2 rows"):
            synthesis.write(iter(np.resize(images, (count, 9, 9, 1))), described(), tmp_path / "made")

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


def test_what_was_read_is_written_again(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 100, 80, 1), np.uint8)
    synthesis.write(images, described(), tmp_path / "made")
    again, table = synthesis.read(tmp_path / "made")
    written = synthesis.write(again[1:], table.iloc[1:], tmp_path / "some")
    some, second = synthesis.read(tmp_path / "some")
    np.testing.assert_array_equal(some, images[1:])
    pd.testing.assert_frame_equal(second, written)
    assert second.columns.tolist() == table.columns.tolist() and second["file"].tolist() == ["000000.png"]


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda images: images / 255, "must be uint8, .* Received: float64"),
        (lambda images: images.astype("uint16"), "must be uint8, .* Received: uint16"),
        (lambda images: images > 7, "must be uint8, .* Received: bool"),
        (lambda images: images.repeat(2, -1), r"1 or 3\). Received: \(100, 80, 2\)"),
        (lambda images: images[..., 0], r"1 or 3\). Received: \(100, 80\)"),
    ],
)
def test_only_levels_of_grey_or_rgb_are_written(tmp_path, change, received):
    with pytest.raises(SynthesisError, match=received):
        synthesis.write(change(np.zeros((2, 100, 80, 1), np.uint8)), described(), tmp_path / "made")
    assert not list(tmp_path.iterdir())


def test_marks_must_be_columns(tmp_path):
    images, table = np.zeros((2, 100, 80, 1), np.uint8), described().drop(columns=["seed", "source"])
    with pytest.raises(SynthesisError, match=r"pass marks. Received: \['seed', 'source'\]"):
        synthesis.write(images, table, tmp_path / "made")
    synthesis.write(images, table, tmp_path / "made", marks=("filename",))
    with Image.open(tmp_path / "made" / "000001.png") as image:
        assert image.text == {"synthetic": "true", "filename": "a/1.png"}


def test_images_that_are_no_stack_are_not_read(tmp_path):
    images = [np.zeros((9, side, 1), np.uint8) for side in (8, 9)]
    synthesis.write(images, described(), tmp_path / "sizes")
    synthesis.write([], described().iloc[:0], tmp_path / "none")
    for name, received in (("sizes", r"\(9, 8, 1\), \(9, 9, 1\)"), ("none", "none")):
        with pytest.raises(DataError, match=rf"{name}: images must have one shape .* Received: {received}$"):
            synthesis.read(tmp_path / name)
    with Image.open(tmp_path / "sizes" / "000001.png") as image:
        fields = PngInfo()
        fields.add_text("synthetic", image.text["synthetic"])
    Image.fromarray(np.zeros((9, 8), np.uint16)).save(tmp_path / "sizes" / "000001.png", pnginfo=fields)
    with pytest.raises(DataError, match=r"000001.png must be uint8, not uint16"):
        synthesis.read(tmp_path / "sizes")
