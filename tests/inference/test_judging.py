import json

import cv2
import numpy as np
import pytest

from keras_fracture import cli, data, evaluation
from keras_fracture.data import Preprocess
from keras_fracture.errors import ImageError
from keras_fracture.inference import judging


def written(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number:03}.png"), image)
    return sorted(map(str, folder.glob("*.png")))


@pytest.fixture(scope="module")
def splits():
    return {split: data.load("phantom", split) for split in ("test", "train")}


@pytest.fixture(scope="module")
def known(splits):
    images, labels = splits["train"].arrays(Preprocess(size=32))
    return images[labels == 1]


def test_the_command_gives_what_the_functions_do_and_finds_copies(tmp_path, splits, known, capsys):
    made = written(tmp_path / "made", known[:40])
    assert (
        cli.main(["judge", str(tmp_path / "made"), "--data", "phantom", "--out", str(tmp_path / "j.json")])
        == 0
    )
    said = json.loads((tmp_path / "j.json").read_text())
    assert said["counts"] == {"generated": 40, "real": 1000, "sources": 1000, "known": len(known)}
    assert said["scores"]["copies_pixels"]["value"] == said["scores"]["copies_features"]["value"] == 1.0
    images, labels = splits["test"].arrays(Preprocess(size=32))
    sources = splits["test"].table["source"].to_numpy().astype(str)[labels == 1]
    expected = evaluation.compare(images[labels == 1], judging.read(made), "xray", sources=sources)
    for metric, score in expected.items():
        assert said["scores"][metric] == pytest.approx(score), metric
    out = capsys.readouterr().out
    assert (
        "40 generated images beside 1,000 test images of phantom, finding (of 1,000 X-rays or patients)"
        in out
    )
    assert f"{expected['kid']['value']:.4f} | {expected['kid']['real_vs_real']:.4f}" in out


def test_images_of_the_other_label_are_left_out(tmp_path, known):
    made = written(tmp_path, known[:4])
    assert judging.of_label(made, "finding") == made  # nobody says what they show
    rows = "".join(f"{number:03}.png,{('healthy', 'finding')[number % 2]}\n" for number in range(4))
    (tmp_path / "images.csv").write_text("file,class\n" + rows)
    assert judging.of_label(made, "finding") == made[1::2]
    assert judging.of_label(made, "healthy") == made[::2]
    assert judging.of_label(made, "all") == made
    with pytest.raises(ImageError, match="None of the generated images is of the label healthy"):
        judging.of_label(made[1::2], "healthy")


def test_sizes_are_kept_or_named(tmp_path, known):
    made = written(tmp_path / "one", known[:2])
    np.testing.assert_array_equal(judging.read(made), known[:2])
    assert judging.read(made, 16).shape == (2, 16, 16, 1)
    other = written(tmp_path / "other", [known[0, :16, :16]])
    with pytest.raises(ImageError, match="of one size: give --size"):
        judging.read([*made, *other])
    with pytest.raises(ImageError, match="must be square"):
        judging.read(written(tmp_path / "wide", [known[0, :16]]))
    assert judging.read([*made, *other], 32).shape == (3, 32, 32, 1)


def test_neighbours_reach_beyond_the_copies_of_an_x_ray(splits, known, monkeypatch):
    table = splits["test"].table.copy()
    table.loc[table["label"] == 1, "source"] = [f"x{number // 8}" for number in range(1000)]
    monkeypatch.setattr(type(splits["test"]), "table", property(lambda _: table), raising=False)
    monkeypatch.setattr(judging.evaluation, "near_copies", lambda *_, **__: {})
    found = judging.judge(known[:40], splits["test"], splits["test"])
    assert found.neighbours == 8 and found.counts["sources"] == 125
