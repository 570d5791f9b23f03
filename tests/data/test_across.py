"""Two sets that share images by hand: `data audit A --against B` must count each, and no other."""

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from keras_fracture import cli
from keras_fracture.data import across, decoding, near, phantom, scan, sources
from keras_fracture.data.catalogue import catalogue
from keras_fracture.data.datasets.kaggle_fracture import layout as old
from keras_fracture.data.datasets.kaggle_regions import layout as new
from keras_fracture.errors import DataError

CLASSES = ("not fractured", "fractured")


def _jpeg(image, quality=95):
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _turned(image, angle):
    turn = cv2.getRotationMatrix2D((63.5, 63.5), angle, 1)
    return cv2.warpAffine(image, turn, (128, 128))


SAME = {
    "as it is": lambda data: data,
    "another format": lambda data: decoding.encode_png(decoding.decode(data).image),
    "larger": lambda data: _jpeg(cv2.resize(decoding.decode(data).image, (200, 200), interpolation=cv2.INTER_CUBIC)),
    "darker": lambda data: decoding.encode_png(cv2.convertScaleAbs(decoding.decode(data).image, alpha=0.9)),
    "compressed anew": lambda data: _jpeg(decoding.decode(data).image, 90),
}  # fmt: skip
OTHER = {
    "turned": lambda data: _jpeg(_turned(decoding.decode(data).image, 10)),
    "mirrored": lambda data: _jpeg(decoding.decode(data).image[:, ::-1]),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """`kaggle_fracture` of 24 X-rays; `kaggle_regions` of 20 copies, 8 changed too much, 8 others and no image."""
    root = tmp_path_factory.mktemp("data")
    plan = phantom.plan(sources=32)
    drawn = [_jpeg(phantom.draw(source, 0, size=128)["image"]) for source in plan]
    labels = [int(source.finding != "none") for source in plan]

    def write(folder, split, label, name, data):
        path = root / folder / split / CLASSES[label] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    for number in range(24):
        write(
            old.FOLDER, "val" if number % 4 > 1 else "train", labels[number], f"{number}.jpg", drawn[number]
        )
    for number in range(20):
        split = ("train", "val", "test")[number // 2 % 3]
        label = 1 - labels[number] if number in (5, 6) else labels[number]
        write(new.FOLDER, split, label, f"x{number}.png", list(SAME.values())[number % 5](drawn[number]))
    for number in range(8):
        write(
            new.FOLDER,
            "test",
            labels[number],
            f"y{number}.jpg",
            list(OTHER.values())[number % 2](drawn[number]),
        )
    for number in range(24, 32):
        write(new.FOLDER, "train", labels[number], f"z{number}.jpg", drawn[number])
    write(new.FOLDER, "train", 1, "none.jpg", b"<html>")
    return root


@pytest.fixture(scope="module")
def both(root):
    return [catalogue(name, root, progress=False) for name in ("kaggle_regions", "kaggle_fracture")]


@pytest.fixture(scope="module")
def report(both):
    return across.compare("kaggle_regions", both[0], "kaggle_fracture", both[1])


def test_each_copy_is_found_and_nothing_else(report):
    pairs = report["pairs"].map(lambda value: value.rpartition("/")[2] if isinstance(value, str) else value)
    found = dict(zip(pairs["filename"], pairs["same_as"], strict=True))
    assert found == {f"x{number}.png": f"{number}.jpg" for number in range(20)}
    assert (report["images"], report["copies"], report["equal"], report["unread"]) == (37, 20, 8, [1, 0])
    equal = {f"x{number}.png" for number in range(20) if number % 5 in (0, 1)}
    assert set(pairs[pairs["equal_pixels"]]["filename"]) == equal
    assert pairs["bits"].max() <= sources.NEAR and (pairs[pairs["equal_pixels"]]["bits"] == 0).all()


def test_copies_are_counted_by_split_and_label(report, root):
    expected = {}
    for path in (root / new.FOLDER).rglob("*.*"):
        split, folder = path.relative_to(root / new.FOLDER).parts[:2]
        group = expected.setdefault((split, CLASSES.index(folder)), [0, 0])
        group[0] += 1
        group[1] += path.name.startswith("x")
    counted = {(g["split"], g["label"]): [g["images"], g["copies"]] for g in report["groups"]}
    assert counted == expected and len(counted) == 6
    for group in report["groups"]:
        assert sum(group["in"].values()) == group["copies"]
    numbers = report["pairs"]["same_as"].str.extract(r"(\d+)\.jpg")[0].astype(int)
    assert (report["pairs"]["its_split"] == np.where(numbers % 4 > 1, "val", "train")).all()


def test_the_command_says_it_in_its_first_sentence_and_lists_the_copies(root, tmp_path, capsys, report):
    words = ["data", "audit", "kaggle_regions", "--against", "kaggle_fracture", "--data-dir", str(root)]
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "20 of 37 images of kaggle_regions (54.1%) also stand in kaggle_fracture."
    assert lines[1].startswith("8 with equal pixels, 12 nearly equal")
    assert any(line.startswith("the other label there: 2 copies, the first is ") for line in lines)
    assert "not readable, and so not compared: 1 of kaggle_regions, 0 of kaggle_fracture" in lines
    assert any(line.startswith("seen: ") and "not seen: copies turned" in line for line in lines)
    assert lines[-1] == f"wrote {tmp_path / 'out' / 'against-kaggle_fracture.csv'}"
    listed = pd.read_csv(tmp_path / "out" / "against-kaggle_fracture.csv")
    pd.testing.assert_frame_equal(listed, report["pairs"])


def test_without_out_nothing_is_written_and_paths_do_as_well(root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = shutil.copytree(root / old.FOLDER / "val", tmp_path / "mine")
    assert (
        cli.main(["data", "audit", str(mine), "--against", "kaggle_fracture", "--data-dir", str(root)]) == 0
    )
    assert capsys.readouterr().out.startswith(
        "12 of 12 images of mine (100.0%) also stand in kaggle_fracture.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_sets_of_other_xrays_share_nothing(root, tmp_path, capsys):
    # A seed whose limbs are none like those of seed 0: so small, drawn ones of one kind may be.
    for record in phantom.records(seed=5, sources=24, size=128):
        path = tmp_path / "other" / ("fractured" if record["label"] else "normal") / record["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(decoding.encode_png(record["image"][..., 0]))
    words = ["data", "audit", str(tmp_path / "other"), "--against", "kaggle_fracture"]
    assert cli.main([*words, "--data-dir", str(root)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("0 of 72 images of other (0.0%)") and "other label" not in out
    assert "0 with equal pixels, 0 nearly equal" in out


def test_a_set_against_itself_is_refused(both):
    with pytest.raises(DataError, match=r"name two\. Received: a, b"):
        across.compare("a", both[0], "b", both[0])


def test_of_equal_images_the_first_counts_and_flat_ones_only_where_equal():
    def table(*images):
        rows = [scan.measure(decoding.encode_png(image)) for image in images]
        return pd.DataFrame(rows)

    flat, other = np.full((40, 40), 90, np.uint8), np.full((40, 40), 91, np.uint8)
    drawn = phantom.records(sources=2, size=96)[0]["image"][..., 0]
    ours = table(flat, drawn, drawn + (drawn < 255))
    theirs = table(other, drawn, flat, drawn, flat)
    found = across.matches(ours, theirs)
    assert found["row"].tolist() == [2, 1, 1] and found["equal"].tolist() == [True, True, False]
    assert across.matches(ours, theirs, drawn=True)["row"].tolist() == [2, 1, -1]
    assert across.matches(ours, theirs[:0])["row"].tolist() == [-1] * 3


@pytest.mark.parametrize("copies", [1, 400])
def test_nearest_equals_comparing_all_with_all(copies, monkeypatch):
    monkeypatch.setattr(near, "_AT_ONCE", 1000)
    rng = np.random.default_rng(0)
    others = rng.integers(0, 256, (300, 32), np.uint8)
    others[100:] = others[:200] if copies == 1 else others[0]  # all with all, where nearly all share a part
    words = np.concatenate([others[rng.integers(0, 300, 200)], rng.integers(0, 256, (50, 32), np.uint8)])
    bits = np.unpackbits(words, axis=1)
    for row, number in enumerate(rng.integers(0, 16, len(bits))):
        bits[row, rng.choice(256, number, replace=False)] ^= 1
    words = np.packbits(bits, axis=1).view(np.uint64)
    distance = (bits[:, None] != np.unpackbits(others, axis=1)).sum(axis=2)
    index, bits = near.nearest(words, others.view(np.uint64), 10)
    is_near = distance.min(axis=1) <= 10
    assert 50 < is_near.sum() < 200 and (index[~is_near] == -1).all()
    np.testing.assert_array_equal(index[is_near], distance.argmin(axis=1)[is_near])
    np.testing.assert_array_equal(bits[is_near], distance.min(axis=1)[is_near])
