"""What is wrong with own X-rays is one typed line, and nothing is left half-written."""

import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_fracture import cli, data
from keras_fracture.data.own import find
from keras_fracture.errors import DataError
from tests.data import own

PLAIN = "image=path,label=dx,patient=pid"


@pytest.fixture(scope="module")
def drawn():
    return own.records(8)


@pytest.fixture(autouse=True)
def cache(empty_cache):
    return empty_cache


def _changed(spoil, **options):
    """A table with labels 0 and 1, spoilt by a function of its frame that returns it."""

    def write(root, drawn):
        frame = own.table(root, drawn, dx=[str(record["label"]) for record in drawn])
        spoil(frame).to_csv(root / "labels.csv", index=False)
        return {"columns": PLAIN} | options

    return write


def _cell(row, column, value):
    return lambda frame: frame.assign(
        **{column: [value if n == row else v for n, v in enumerate(frame[column])]}
    )


def _again(row, **changes):
    return lambda frame: pd.concat([frame, frame.iloc[[row]].assign(**changes)])


def _folders(*names, **options):
    def write(root, drawn):
        for number, record in enumerate(drawn):
            own.write(root / names[number % len(names)] / record["filename"], record["image"])
        return options

    return write


def _boxes(content, suffix):
    def write(root, drawn):
        own.voc(root, drawn)
        for path in root.glob("*.xml"):
            path.unlink()
        (root / drawn[0]["filename"]).with_suffix(suffix).write_text(content)
        return {}

    return write


def _two_tables(root, drawn):
    own.table(root, drawn, "labels.csv")
    own.table(root, drawn, "labels.xlsx")
    return {}


def _two_of_a_name(root, drawn):
    for folder in ("a", "b"):
        own.write(root / folder / "1.png", drawn[0]["image"])
    (root / "labels.csv").write_text("image,label\n1.png,0\n")
    return {}


def _bad_table(root, drawn):
    own.table(root, drawn)
    (root / "labels.csv").write_bytes(b"image,label\n\xff\xfe,1\n")
    return {}


def _link(root, drawn):
    own.class_folders(root / "in", drawn)
    (root / "out").mkdir()
    (root / "in" / "more").symlink_to(root / "out")
    return {}


BAD = {
    "no images": (lambda root, drawn: (root / "a.bin").write_text("x") and {}, "No images .*Received: 1 other files"),
    "no labels": (_folders(""), "has no labels: two folders.*Received: .* images"),
    "a blank column of labels": (_changed(lambda frame: frame.assign(dx="")), "has no labels: the column is blank"),
    "one class folder": (_folders("fractured"), "has no labels"),
    "one class beside loose images": (_folders("fractured", ""), "one class alone.*Received: 'fractured'"),
    "one label": (_changed(lambda frame: frame.assign(dx="1")), "one class alone.*Received: '1'"),
    "names that do not tell": (_folders("left", "right"), "name it by --finding.*Received: 'left', 'right'"),
    "three classes": (_folders("normal", "fracture", "tumor"), "name it by --finding.*'fracture', 'normal', 'tumor'"),
    "a finding that is none": (_folders("left", "right", finding="up"), "one of 'left', 'right'. Received: 'up'"),
    "several findings": (_folders("a", "b", "c", finding="a,b"), "two classes are supported.*Received: 'a,b'"),
    "missing files": (_changed(_cell(2, "path", "gone/x.png")), "1 images that .*labels.csv names .*gone/x.png"),
    "rows twice": (_changed(_again(3)), "has 1 rows twice: remove them. Received: row .*phantom"),
    "contradictory labels": (_changed(_again(0, dx="7")), "contradicts itself in label.*Received: '[01]' and '7'"),
    "a patient twice": (_changed(_again(0, pid="other")), "contradicts itself in patient.*and 'other'"),
    "a path that leaves": (_changed(_cell(1, "path", "../../secret.png")), r"leads out of .*'../../secret.png'"),
    "an absolute path": (_changed(_cell(1, "path", "/etc/passwd.png")), "leads out of .*'/etc/passwd.png'"),
    "a blank name": (_changed(_cell(1, "path", "  ")), "names no image in a row.*Received: row 3"),
    "an unknown split": (_changed(lambda f: f.assign(split="fold3")), "neither train, val nor test. Received: 'fold3'"),
    "a role that is none": (_changed(lambda f: f, columns="picture=path"), "a role of image, label.*'picture=path'"),
    "a column that is none": (_changed(lambda f: f, columns="image=file"), "has no column 'file'. Received: path, dx"),
    "no column of images": (_changed(lambda f: f.rename(columns={"path": "p"}), columns="label=dx"), "names images"),
    "columns without a table": (_folders("normal", "fractured", columns=PLAIN), "no table that --columns"),
    "a pattern that misses": (
        _folders("normal", "fractured", patient=r"p(\d+)x"),
        r"--patient 'p\(\\d\+\)x' matches none of the \d+ file names; it must match each\. Received: '",
    ),
    "a pattern that misses some": (
        _folders("normal", "fractured", patient=r"normal/(.+)"),
        r"misses \d+ of the \d+ file names.*Received: 'fractured/",
    ),
    "a pattern beside a column": (
        _changed(lambda f: f, columns="image=path,label=dx,patient=pid", patient="q(x)"),
        r"must match each\. labels\.csv has a column 'pid': leave --patient out to use it\. Received: '",
    ),
    "a pattern that is none": (_folders("normal", "fractured", patient="("), "regular expression .*Received: '\\('"),
    "several tables": (_two_tables, "several tables.*Received: labels.csv, labels.xlsx"),
    "a name of two images": (_two_of_a_name, "2 images that '1.png' in .* could mean.*'a/1.png' and 'b/1.png'"),
    "a table of other bytes": (_bad_table, "not a table that can be read"),
    "a damaged annotation": (_boxes("<annotation>", ".xml"), "not a PASCAL VOC annotation"),
    "text for boxes": (_boxes("normal hand\n", ".txt"), "not a YOLO annotation"),
    "damaged JSON": (_boxes("{", ".json"), "not a COCO annotation"),
    "a link to a folder": (_link, "has a link to a folder, which is not followed"),
    "a box outside": (
        _changed(lambda f: f.assign(xmin="900", ymin="1", xmax="950", ymax="9")), "a box that .* cannot have.*Received",
    ),
    "a box of words": (
        _changed(lambda f: f.assign(xmin="a", ymin="1", xmax="2", ymax="3")), "no four numbers.*Received",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_typed_line(case, drawn, tmp_path, cache):
    write, words = BAD[case]
    options = write(tmp_path, drawn) or {}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=words) as caught:
        data.prepare(str(tmp_path), **options)
    assert "\n" not in str(caught.value)
    assert ("Received: " in str(caught.value)) != ("fetch it again" in str(caught.value))
    assert not [path for path in cache.rglob("*") if path.is_file()] and sorted(tmp_path.rglob("*")) == before


def test_a_label_of_one_source_is_refused_and_leaves_no_records(drawn, tmp_path, cache):
    own.table(tmp_path, drawn, dx=[str(r["label"]) for r in drawn], pid=[str(r["label"]) for r in drawn])
    with pytest.raises(
        DataError, match=r"would lack a class.*Received: 1 sources of healthy images and 1 of findings"
    ):
        data.prepare(str(tmp_path), columns=PLAIN)
    left = [path.name for path in (cache / "records").rglob("*")]
    assert not [name for name in left if "tfrecord" in name or "incomplete" in name or "lock" in name]


def test_a_split_without_a_share_is_refused(drawn, tmp_path, cache):
    own.table(tmp_path, drawn, dx=[str(record["label"]) for record in drawn])
    with pytest.raises(
        DataError, match=r"Each split needs a share.*Without any: validation\. Received: shares of"
    ):
        data.prepare(str(tmp_path), columns=PLAIN, shares=(0.5, 0, 0.5))


def test_names_that_are_no_data_set(tmp_path):
    with pytest.raises(DataError, match=r"No such data set. Choose one of btxrd, .* Received: './gone'"):
        data.prepare("./gone")
    (tmp_path / "a.pdf").touch()
    with pytest.raises(DataError, match=r"a folder, or a table of .csv or .xlsx. Received: .*a.pdf"):
        data.prepare(str(tmp_path / "a.pdf"))
    with pytest.raises(DataError, match="phantom is read as published: leave out finding"):
        data.prepare("phantom", finding="tumor")


def test_what_is_not_used_is_counted_with_its_reason(drawn, tmp_path, capsys):
    own.class_folders(tmp_path, drawn)
    own.write(tmp_path / "loose.png", drawn[0]["image"])
    for name in ("notes.txt", "normal/scan.raw", "other.csv"):
        (tmp_path / name).write_text("x")
    (tmp_path / "normal" / "broken.png").write_bytes(b"no image")
    assert cli.main(["data", "check", str(tmp_path), "--patient", r"([a-z]+_?\d*)"]) == 2
    out = capsys.readouterr().out
    for line in (
        "1 .png: in no class folder", "1 .txt: no annotation that is read", "1 .csv: not the table that is read",
        "1 .raw: not an image file that is read", "not used: ", "broken.png",
    ):  # fmt: skip
        assert line in out, line


def run(capsys, *words):
    code = cli.main([str(word) for word in words])
    return code, *capsys.readouterr()


def test_check_says_what_is_there_and_how_to_go_on(tmp_path, capsys):
    drawn = own.records(24)
    own.table(tmp_path, drawn, dx=["ok" if r["label"] == 0 else "bad" for r in drawn])
    options = ["--columns", "image=path,label=dx,patient=pid", "--finding", "bad"]
    code, out, _ = run(capsys, "data", "check", tmp_path, *options)
    hurt, patients = sum(r["label"] for r in drawn), len({r["source"] for r in drawn})
    assert code == 0 and f"{len(drawn)} images, {hurt} with a finding" in out
    assert f"{patients} patients, named by the column 'pid'." in out
    last = out.splitlines()[-1]
    assert last.startswith(
        f"go on with: keras-fracture reproduce lisbon_resnet --data {tmp_path} --finding=bad --columns="
    )


def test_a_set_is_remembered_with_its_options_alone(tmp_path, capsys, monkeypatch):
    drawn = own.records(24)
    own.table(tmp_path / "in", drawn, dx=["ok" if r["label"] == 0 else "bad" for r in drawn])
    monkeypatch.chdir(tmp_path)
    words = ["--columns", "image=path,label=dx,patient=pid", "--finding", "bad"]
    assert run(capsys, "data", "add", "hands", "in")[0] == 2, "options that do not tell are refused first"
    assert run(capsys, "data", "list")[1].count("hands") == 0
    assert run(capsys, "data", "add", "hands", "in", *words)[0] == 0
    assert f"{tmp_path / 'in'} --finding=bad" in run(capsys, "data", "list")[1]
    monkeypatch.chdir("/")
    expected = data.load(str(tmp_path / "in"), finding="bad", columns=words[1]).digest()
    assert data.load("hands").digest() == expected
    assert data.load("hands", finding="bad").digest() == expected
    with pytest.raises(DataError, match=r"remembered with its own options.*Received: {'finding': 'ok'}"):
        data.load("hands", finding="ok")
    for name in ("phantom", "a/b", ".", ""):
        code, _, error = run(capsys, "data", "add", name, tmp_path / "in", *words)
        assert code == 2 and "A name has letters" in error and error.count("\n") == 1
    assert run(capsys, "data", "check", "hands")[0] == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hands").mkdir()
    with pytest.raises(DataError, match=r"and there is a file or folder here as well: write ./hands"):
        data.load("hands")
    monkeypatch.chdir("/")
    os.rename(tmp_path / "in", tmp_path / "elsewhere")
    with pytest.raises(DataError, match="are gone: add it anew"):
        data.load("hands")


def test_a_damaged_memory_is_named(cache):
    (cache / "own_data.json").write_text(json.dumps({"hands": 3}))
    with pytest.raises(DataError, match=r"own_data.json cannot be read: delete it"):
        find("hands")


def test_fractions_whose_ends_are_beyond_1_by_rounding_stay_fractions(tmp_path):
    for name in "ab":
        own.write(tmp_path / f"{name}.png", np.full((40, 80), ord(name), np.uint8))
    rows = "image,label,x,y,width,height\na.png,1,0.733,0.2,0.268,0.5\nb.png,0,,,,\n"
    (tmp_path / "labels.csv").write_text(rows)
    np.testing.assert_allclose(find(str(tmp_path)).table["boxes"][0], [[0.2, 0.733, 0.7, 1.0]], atol=1e-6)


def test_boxes_in_pixels_are_those_of_the_upright_image_which_is_said(tmp_path, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying
    for name in "ab":
        Image.fromarray(np.full((20, 40), ord(name), np.uint8)).save(tmp_path / f"{name}.jpg", exif=exif)
    rows = "image,label,xmin,ymin,xmax,ymax\na.jpg,1,5,10,15,30\nb.jpg,0,,,,\n"
    (tmp_path / "labels.csv").write_text(rows)
    layout = find(str(tmp_path))
    np.testing.assert_allclose(layout.table["boxes"][0], [[0.25, 0.25, 0.75, 0.75]])  # of 20 x 40 pixels
    assert any("1 images with boxes are stored turned" in note for note in layout.notes)
    (tmp_path / "labels.csv").write_text(rows.replace("5,10,15,30", "25,5,35,15"))
    with pytest.raises(DataError, match="20 x 40 pixels"):
        find(str(tmp_path))


def test_an_annotation_of_another_split_is_none_of_this_image(tmp_path):
    for name in ("train/1", "train/2", "val/3"):
        own.write(tmp_path / "images" / f"{name}.png", np.full((40, 40), ord(name[-1]), np.uint8))
    for name in ("train/1", "val/2"):  # the image of the second is missing
        path = tmp_path / "labels" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0 0.5 0.5 0.2 0.2\n")
    layout = find(str(tmp_path))
    told = layout.table.set_index("filename")["label"]
    assert told.to_dict() == {"images/train/1.png": 1, "images/train/2.png": 0, "images/val/3.png": 0}
    assert "labels/val/2.txt" in layout.left_out


def test_columns_that_differ_in_spaces_alone_are_named(tmp_path):
    own.write(tmp_path / "a.png", np.zeros((9, 9), np.uint8))
    (tmp_path / "labels.csv").write_text("image,label,label \na.png,0,1\n")
    with pytest.raises(DataError, match=r"two columns of one name.*'label'"):
        find(str(tmp_path))


def test_boxes_in_a_table_may_be_fractions(drawn, tmp_path):
    frame = own.table(tmp_path, drawn, dx=[str(r["label"]) for r in drawn])
    sides = np.array([r["boxes"][0] if len(r["boxes"]) else [np.nan] * 4 for r in drawn])
    frame = frame.assign(ymin=sides[:, 0], xmin=sides[:, 1], ymax=sides[:, 2], xmax=sides[:, 3])
    frame.to_csv(tmp_path / "labels.csv", index=False)
    table = find(str(tmp_path), columns=PLAIN).table.set_index("filename")
    for record in drawn:
        np.testing.assert_allclose(table["boxes"][f"images/{record['filename']}"], record["boxes"], atol=1e-6)


def test_a_test_split_too_small_for_intervals_is_said_before_anything_is_trained(drawn, tmp_path, capsys):
    """It was said once all was trained."""
    root, splits = tmp_path / "few", tmp_path / "splits.csv"
    few = [record for record in drawn if not record["label"]]
    few += [record for record in drawn if record["label"]][:3]
    own.class_folders(root, few)
    said = (
        r"healthy X-rays or patients and 1 with a finding has no intervals, which need at least two of each"
    )
    assert cli.main(["data", "check", str(root)]) == 2
    shown = capsys.readouterr()
    assert re.search(said, shown.out) and "No split" in shown.err
    assert cli.main(["data", "split", str(root), "--out", str(splits)]) == 0
    assert re.search(said, capsys.readouterr().out) and splits.exists()
    run = [
        "reproduce",
        "lisbon_resnet",
        "--profile",
        "smoke",
        "--data",
        str(root),
        "--out",
        str(tmp_path / "run"),
    ]
    assert cli.main([*run, "--set", "policies=grouped"]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not list((tmp_path / "run").rglob("*.h5"))
