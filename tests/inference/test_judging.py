import json
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from keras_fracture import cli, data, evaluation, synthesis
from keras_fracture.data import Preprocess
from keras_fracture.errors import DataError, ImageError
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
    copied = len(known) + int(
        data.load("phantom", "validation").table["label"].sum()
    )  # nobody says by whom they are
    assert said["counts"] == {"generated": 40, "real": 1000, "sources": 1000, "known": copied}
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


def test_too_few_images_of_a_label_are_refused_with_the_way_out(tmp_path, known, capsys):
    written(tmp_path, known[:10])
    rows = "".join(f"{number:03}.png,{('healthy', 'finding')[number % 2]}\n" for number in range(10))
    (tmp_path / "images.csv").write_text("file,class\n" + rows)
    assert cli.main(["judge", str(tmp_path), "--data", "phantom"]) == 2
    said = capsys.readouterr().err
    assert "More than 5 generated images of the label finding are needed" in said
    assert "(--label all). Received: 5 of 10 images" in said


def test_images_of_the_other_label_are_left_out(tmp_path, known, monkeypatch, caplog):
    made = written(tmp_path, known[:4])
    assert judging.of_label(made, "finding") == made  # nobody says what they show
    rows = "".join(f"{number:03}.png,{('healthy', 'finding')[number % 2]}\n" for number in range(4))
    (tmp_path / "images.csv").write_text("file,class\n" + rows)
    assert judging.of_label(made, "finding") == made[1::2]
    assert judging.of_label(made, "healthy") == made[::2]
    assert judging.of_label(made, "all") == made
    with pytest.raises(ImageError, match="None of the generated images is of the label healthy"):
        judging.of_label(made[1::2], "healthy")
    monkeypatch.chdir(tmp_path)
    assert judging.of_label(["./000.png", "./001.png"], "finding") == ["./001.png"]
    numbers = rows.replace("healthy", "0").replace("finding", "1")  # of networks without names
    (tmp_path / "images.csv").write_text("file,class\n" + numbers)
    assert judging.of_label(made, "finding") == made[1::2]
    (tmp_path / "images.csv").rename(tmp_path / "pictures.csv")  # as it was called before
    assert judging.of_label(made, "finding") == made[1::2]
    (tmp_path / "images.csv").write_text("file,class\n" + rows.replace("healthy", "normal"))
    assert judging.of_label(made, "finding") == made[1::2]
    (tmp_path / "images.csv").write_text("file,class\n" + rows.replace("healthy", "odd"))
    with pytest.raises(ImageError, match="Received: finding, odd in images"):
        judging.of_label(made, "finding")
    (tmp_path / "images.csv").write_text("file,class\n000.png,normal\n001.png,normal\n")
    with pytest.raises(ImageError, match="None of the generated images is of the label finding"):
        judging.of_label(made[:2], "finding")
    (tmp_path / "images.csv").write_text("file,class\n000.png,odd\n001.png,odd\n")
    assert judging.of_label(made[:2], "finding") == made[:2]
    assert caplog.messages[-1] == "all images are taken for finding: their class is 'odd', which says neither"
    (tmp_path / "images.csv").write_text('file,class\n"000.png')
    with pytest.raises(ImageError, match="holds no table that can be read"):
        judging.of_label(made, "finding")


def test_classes_are_read_from_text_fields_and_tables_of_semicolons(tmp_path, known, caplog):
    table = pd.DataFrame({"class": ["healthy", "finding"] * 2})
    synthesis.write(known[:4], table, tmp_path / "drawn", marks=["class"])
    for path in (tmp_path / "drawn").glob("*.png"):
        path.rename(path.with_name(f"gan_{path.name}"))
    made = sorted(map(str, (tmp_path / "drawn").glob("*.png")))
    assert judging.of_label(made, "finding") == made[1::2] and caplog.messages == []
    made = written(tmp_path / "plain", known[:4])  # without text fields
    rows = "".join(f"{number:03}.png;{('healthy', 'finding')[number % 2]}\r\n" for number in range(4))
    listed = tmp_path / "plain" / "images.csv"
    listed.write_bytes(b"\xef\xbb\xbffile;class\r\n" + rows.encode())  # as Excel writes it
    assert judging.of_label(made, "finding") == made[1::2] and caplog.messages == []
    listed.write_bytes(b"file;class\r\n" + rows.replace("002", "two").encode())
    assert judging.of_label(made, "finding") == made[1:]
    assert "names no class of 1 of 4 images beside it, which are taken for finding" in caplog.text
    assert "The first is 002.png" in caplog.text


def test_images_whose_classes_tell_no_label_are_all_taken(tmp_path, known, caplog):
    made = written(tmp_path, known[:3])
    listed = tmp_path / "images.csv"
    listed.write_text("file,class\n000.png,hand\n001.png,wrist\n002.png,\n")
    parts = ("hand", "leg", "wrist")  # of the real images
    assert judging.of_label(made, "finding", parts) == made
    assert caplog.messages == ["all images are taken for finding: their classes are body parts (hand, wrist)"]
    with pytest.raises(ImageError, match="Received: hand, wrist in images"):
        judging.of_label(made, "finding", ("leg",))
    listed.write_text(
        "file,class\n000.png,healthy\n001.png,finding\n002.png,\n"
    )  # one of a GAN without classes
    assert judging.of_label(made, "finding") == made[1:]
    listed.write_text("file,class\n000.png,normal hand\n001.png,fractured hand\n")
    with pytest.raises(ImageError, match="Received: fractured hand, normal hand in images"):
        judging.of_label(made, "finding", parts)
    caplog.clear()
    listed.write_text("seed,source\n1,a\n")  # of painted images, which have no class
    assert judging.of_label(made, "finding", parts) == made and caplog.messages == []


def test_real_images_are_cropped_as_those_that_were_learnt_from(monkeypatch, known):
    wide = np.zeros((1, 20, 60), np.uint8)
    wide[0, :, 20:40] = 200
    records = SimpleNamespace(
        arrays=lambda preprocess: (np.stack([preprocess(one) for one in wide]), np.array([1])),
        table=pd.DataFrame({"source": ["a"], "filename": ["a.png"]}),
    )
    padded, cropped = (
        judging._of(records, "finding", Preprocess(size=20, crop=crop), ())[0] for crop in (0, 1)
    )
    assert padded[0, 0].max() == 0 and cropped.min() > 190
    assert len(judging._of(records, "finding", Preprocess(size=20), ["a.png"])[0]) == 0  # synthetic


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
    assert len(judging.read([*made, *made])) == 2  # each once
    with pytest.raises(DataError, match="size must be positive"):
        judging.read(made, 0)


def test_neighbours_reach_beyond_the_copies_of_an_x_ray_where_there_are_enough(caplog):
    sources = np.repeat(np.arange(125), 8)
    assert judging._neighbours(sources, 40) == 8 and caplog.messages == []
    assert judging._neighbours(np.arange(1000), 40) == 5
    one = np.array([0] * 21 + list(range(1, 20)))  # one patient has half of the images
    assert judging._neighbours(one, 300) == 5
    assert caplog.messages[0].startswith("an X-ray or patient has 21 of 40 images, among which 5 neighbours")
