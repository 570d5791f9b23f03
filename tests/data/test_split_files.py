"""Split files: written, read back, audited; the published ones are what the code makes."""

import gzip
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_fracture import cli, data
from keras_fracture.data import catalogue, split_files
from keras_fracture.data.datasets.mura import layout
from keras_fracture.errors import DataError
from tests.data.phantoms import few

PUBLISHED = sorted((Path(__file__).parents[2] / "splits").glob("*.csv.gz"))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """A phantom data set of few limbs, prepared once."""
    with few(30, 24, tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture
def written(dummy_root, tmp_path):
    """The split file of the drawn Kaggle set, and its table."""
    rows = split_files.table(
        "kaggle_fracture", data.load_all("kaggle_fracture", data_dir=dummy_root), dummy_root
    )
    return split_files.write(tmp_path / "splits.csv", split_files.text(rows)), rows


@pytest.mark.parametrize("policy", ["grouped", "paper"])
def test_phantoms_splits_come_back_exactly(phantoms, policy, tmp_path, caplog):
    made = data.load_all("phantom", policy)
    path = tmp_path / "splits.csv.gz"
    assert cli.main(["data", "split", "phantom", "--policy", policy, "--out", str(path)]) == 0
    given = data.load_all("phantom", splits=path)
    assert {name: one.digest() for name, one in given.items()} == {
        name: one.digest() for name, one in made.items()
    }
    told = "left out" in caplog.text  # limbs that are held out are in no other policy
    assert told == (policy == "paper")


def test_the_file_says_what_anybody_can_check(written, dummy_root):
    path, rows = written
    assert tuple(rows) == tuple(split_files.COLUMNS) and rows["filename"].is_monotonic_increasing
    for row in rows.itertuples():
        content = (dummy_root / "kaggle_bone_fracture" / row.filename).read_bytes()
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
        height, width = pixels.shape
        assert row.sha256 == hashlib.sha256(content).hexdigest()[:32]
        assert (
            row.pixels_sha256
            == hashlib.sha256(f"{height}x{width}".encode() + pixels.tobytes()).hexdigest()[:32]
        )
        assert row.source.rpartition("/")[2] == Path(row.filename).stem.partition("-")[0]
    assert split_files.read(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()
    packed = split_files.write(path.with_suffix(".csv.gz"), path.read_text())
    assert gzip.decompress(packed.read_bytes()) == path.read_bytes()
    assert split_files.read(packed).digest == split_files.read(path).digest


def test_a_patient_who_is_told_is_named(tmp_path):
    root = tmp_path / "hands"
    for number in range(24):
        folder = root / ("healthy" if number % 2 else "fractured")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number // 2}_{number}.png")
    told = {"patient": r"p(\d+)_"}
    rows = split_files.table(str(root), data.load_all(str(root), **told), **told)
    assert (rows["patient"] == rows["filename"].str.extract(r"p(\d+)_")[0]).all()
    assert (split_files.table(str(root), data.load_all(str(root)))["patient"] == "").all()


def test_a_patient_whom_a_published_set_tells_is_named(dummy_root):
    rows = split_files.table("mura", data.load_all("mura", data_dir=dummy_root), dummy_root)
    table = layout.read(dummy_root / layout.FOLDER).set_index("filename")
    assert (rows["patient"] == rows["filename"].map(table["source"])).all() and rows["patient"].all()


def _change(rows, column, value, where=0):
    changed = rows.astype(str)
    changed.loc[where, column] = value
    return changed


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda rows: _change(rows, "filename", "train/fractured/none.jpg"), "1 images that are not among"),
        (
            lambda rows: _change(rows, "label", "0" if rows["label"][0] else "1"),
            "gives 1 images another label",
        ),
        (
            lambda rows: _change(rows, "pixels_sha256", "0" * 32),
            "another copy of kaggle_fracture: 1 of 24 images",
        ),
        (
            lambda rows: rows.drop(columns="pixels_sha256").assign(sha256="0" * 64),
            "another copy .* 24 of 24 images",
        ),
        (lambda rows: pd.concat([rows, rows[:1]]), "names an image twice"),
        (lambda rows: _change(rows, "split", "holdout"), "must put each image in one of train.*holdout"),
        (lambda rows: _change(rows, "filename", ""), "a row without a file name"),
        (lambda rows: _change(rows, "filename", "\x1b[2J.jpg"), "a row without a file name"),
        (lambda rows: rows[:0], "no row"),
        (lambda rows: rows.drop(columns="split"), "must have the columns filename and split"),
        (
            lambda rows: rows[(rows["split"] != "test") | (rows["label"] == 1)],
            "a split test that lacks a class",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(written, dummy_root, spoil, words, capsys):
    path, rows = written
    path.write_text(spoil(rows).to_csv(index=False))
    with pytest.raises(DataError, match=words) as raised:
        data.load("kaggle_fracture", splits=path, data_dir=dummy_root)
    assert "\n" not in str(raised.value)
    command = ["data", "prepare", "kaggle_fracture", "--splits", str(path), "--data-dir", str(dummy_root)]
    assert cli.main(command) == 2 and capsys.readouterr().err.count("\n") == 1


def test_what_a_file_gives_one_source_or_patient_is_resampled_as_one(written, dummy_root, caplog):
    path, rows = written
    plain = data.load_all("kaggle_fracture", splits=path, data_dir=dummy_root)
    one, other, alone = rows["source"][rows["split"] == "train"].drop_duplicates()[:3]
    joined = rows.assign(
        source=rows["source"].replace({other: "another name"}),
        patient=rows["source"].map({one: "p1", other: "p1"}).fillna(""),
    )
    path.write_text(joined.to_csv(index=False))
    given = data.load_all("kaggle_fracture", splits=path, data_dir=dummy_root)
    for split in ("train", "test"):
        names = plain[split].table["source"].replace({one: min(one, other), other: min(one, other)})
        assert given[split].table["source"].tolist() == names.tolist()
    assert (
        given["test"].digest() == plain["test"].digest() and alone in given["train"].table["source"].tolist()
    )
    assert "leak" not in caplog.text
    last = rows.index[rows["split"] == "test"][-1]
    path.write_text(_change(joined, "patient", "p1", last).to_csv(index=False))
    data.load_all("kaggle_fracture", splits=path, data_dir=dummy_root)
    assert f"lie on two sides of {path.name}, the first is {min(one, other)!r}" in caplog.text


@pytest.mark.parametrize("nobody", ["NA", "nan", "unknown", " "])
def test_images_of_nobody_who_is_known_are_not_one_large_patient(written, dummy_root, nobody, caplog):
    path, rows = written
    first = rows["source"][rows["split"] == "train"].iloc[0]
    patient = rows["source"].where(rows["source"] == first, nobody)
    path.write_text(rows.assign(patient=patient).to_csv(index=False))
    given = data.load_all("kaggle_fracture", splits=path, data_dir=dummy_root)
    told = pd.concat([one.table for one in given.values()]).set_index("filename")["source"]
    assert (told[rows["filename"]].to_numpy() == rows["source"]).all() and "leak" not in caplog.text


def test_labels_that_a_program_wrote_as_decimals_are_the_same(written, dummy_root):
    path, rows = written
    path.write_text(rows.assign(label=rows["label"].astype(float)).to_csv(index=False))
    assert len(data.load("kaggle_fracture", "test", splits=path, data_dir=dummy_root))


def test_what_is_no_table_is_refused(tmp_path):
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"filename,split\n" * 100)[:30])
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\x01")
    for name in ("cut.csv.gz", "empty.csv", "bytes.csv", "none.csv"):
        with pytest.raises(DataError, match=f"{name} is no split file"):
            split_files.read(tmp_path / name)


def test_leaks_and_images_left_out_are_named(written, dummy_root, caplog):
    path, rows = written
    copies = rows[rows["source"] == rows["source"][rows["split"] == "train"].iloc[0]]
    leaking = _change(rows, "split", "test", copies.index[0]).drop(
        index=rows.index[rows["split"] == "validation"][0]
    )
    path.write_text(leaking.to_csv(index=False))
    loaded = data.load_all("kaggle_fracture", splits=path, data_dir=dummy_root)
    assert f"leak: 1 of 8 sources ({len(copies)} images) lie on two sides" in caplog.text
    assert copies["source"].iloc[0] in caplog.text and "left out: 1 of 24 images" in caplog.text
    assert {name: len(one) for name, one in loaded.items()} == leaking["split"].value_counts().to_dict()


def test_without_hashes_the_split_goes_by_names(written, dummy_root, caplog):
    path, rows = written
    path.write_text(rows[["filename", "split"]].to_csv(index=False))
    given, made = (
        data.load_all("kaggle_fracture", data_dir=dummy_root, **one) for one in ({"splits": path}, {})
    )
    assert given["test"].digest() == made["test"].digest() and "holds no hashes" in caplog.text


def test_a_split_file_goes_with_no_policy(written, dummy_root):
    for further in ({"policy": "paper"}, {"seed": 1}, {"shares": (0.5, 0.25, 0.25)}):
        with pytest.raises(DataError, match="leave these out"):
            data.load("kaggle_fracture", splits=written[0], data_dir=dummy_root, **further)


def test_every_policy_of_the_published_sets_has_a_file():
    names = {
        f"{name}-{policy}.csv.gz"
        for name in ("btxrd", "fracatlas", "kaggle_fracture")
        for policy in catalogue.layout(name).POLICIES
    }
    assert {path.name for path in PUBLISHED} == names
    for path in PUBLISHED:
        name, _, policy = path.name.removesuffix(".csv.gz").partition("-")
        assert split_files.read(path).digest == catalogue.layout(name).DIGESTS[policy]
    assert sum(path.stat().st_size for path in PUBLISHED) < 2_000_000


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.name, marks=[] if path.name.startswith("btxrd-official") else pytest.mark.slow
        )
        for path in PUBLISHED
    ],
)
def test_published_files_are_what_the_code_makes(path):
    name, _, policy = path.name.removesuffix(".csv.gz").partition("-")
    folder = os.environ.get("KERAS_FRACTURE_DATA")
    if not folder or not (Path(folder).expanduser() / catalogue.layout(name).FOLDER).is_dir():
        pytest.skip(f"KERAS_FRACTURE_DATA names no folder with {catalogue.layout(name).FOLDER}")
    rows = split_files.table(name, data.load_all(name, policy))
    assert split_files.text(rows) == gzip.decompress(path.read_bytes()).decode()
