import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from keras_fracture import data
from keras_fracture.data import facts, phantom, phantom_shortcut, splits
from keras_fracture.data.own import layout
from keras_fracture.errors import DataError, OutputError
from keras_fracture.evaluation import baselines

SIZE = 64
FEW = {"sources": 60, "test_sources": 80, "size": SIZE}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders that differ in the agreement of the test split: path and table each."""
    root = tmp_path_factory.mktemp("shortcut")
    return {
        name: (root / name, phantom_shortcut.write(root / name, 0.9, agreement, **FEW))
        for name, agreement in (("same", None), ("reversed", 0.1))
    }


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path_factory.mktemp("cache")))


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def agreeing(table):
    """The share of patients whose ring says what their label says, by whether they are for the test."""
    patients = table.groupby("patient").first()
    agrees = (patients["center"] == "emergency") == (patients["label"] == "finding")
    return agrees.groupby(patients["split"] == "test").mean().to_dict()


def test_the_ring_agrees_with_the_label_as_often_as_asked(folders):
    assert agreeing(folders["same"][1]) == pytest.approx({False: 0.9, True: 0.9}, abs=0.1)
    assert agreeing(folders["reversed"][1]) == pytest.approx({False: 0.9, True: 0.1}, abs=0.1)
    for _, table in folders.values():
        ringed = table[phantom_shortcut.RING[0]].notna()
        assert (ringed == (table["center"] == "emergency")).all()
        assert (table.groupby("patient")["center"].nunique() == 1).all()


def test_extremes_have_no_exception(tmp_path):
    table = phantom_shortcut.write(tmp_path / "all", 1, 0, sources=8, test_sources=8, size=32)
    assert agreeing(table) == {False: 1, True: 0}


def test_a_ring_changes_no_pixel_outside_its_box_and_no_image_without_one(folders):
    path, table = folders["same"]
    shots = {
        f"images/{record['filename']}": record["image"][..., 0]
        for record in phantom.records(sources=FEW["sources"], size=SIZE, test_sources=FEW["test_sources"])
    }
    assert sorted(table["file"]) == sorted(shots)
    for row in table.itertuples():
        changed = read(path / row.file) != shots[row.file]
        if row.center == "outpatients":
            assert not changed.any()
            continue
        left, top, right, bottom = (int(getattr(row, side)) for side in phantom_shortcut.RING)
        inside = changed[top:bottom, left:right]
        assert inside.shape == (bottom - top, right - left) and inside.sum() == changed.sum() > 10
        assert not changed[(top + bottom) // 2, (left + right) // 2], "a ring, no disc"
        if not np.isnan(row.xmin):
            assert min(row.xmax, right) <= max(row.xmin, left) or min(row.ymax, bottom) <= max(row.ymin, top)


def test_the_agreement_of_the_test_changes_rings_of_the_test_alone(folders):
    (path, table), (other, turned) = folders.values()
    pd.testing.assert_frame_equal(table[table["split"] != "test"], turned[turned["split"] != "test"])
    kept = [column for column in table if column != "center" and column not in phantom_shortcut.RING]
    pd.testing.assert_frame_equal(table[kept], turned[kept])
    same = [(path / file).read_bytes() == (other / file).read_bytes() for file in table["file"]]
    assert same == (table["center"] == turned["center"]).tolist()
    assert (table["center"] != turned["center"]).sum() > 40


def test_it_is_read_as_own_x_rays_with_patients_on_one_side(folders, cache):
    path, table = folders["same"]
    read = {
        name: data.load(str(path), split, "official").table
        for name, split in zip(("train", "val", "test"), splits.NAMES, strict=True)
    }
    for name, found in read.items():
        wanted = table[table["split"] == name].set_index("file").loc[found["filename"]]
        assert len(found) == len(wanted) == (table["split"] == name).sum()
        assert (found["label"].to_numpy() == (wanted["label"] == "finding")).all()
        assert set(found["label"]) == {0, 1}
        assert (found["boxes"].map(len).to_numpy() == wanted["xmin"].notna()).all()
    patients = [set(found["source"]) for found in read.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 140


def test_the_table_alone_tells_what_the_ring_tells(folders, cache):
    reached = {}
    for name, (path, _) in folders.items():
        known = facts.read(str(path))
        assert {"center_emergency", "center_outpatients"} <= set(known["table"])
        nothing = {"file": known["file"][["height"]], "hog": known["hog"][[]]}
        sets = {split: one.table for split, one in data.load_all(str(path), "official").items()}
        reached[name] = baselines.fit(sets, known | nothing, seeds=1).scores["table"]["auc"]["value"]
    assert reached["same"] > 0.8 and reached["reversed"] < 0.2


def test_a_center_is_known_by_its_usual_names_and_unknown_where_none_is_told(folders, tmp_path):
    path, table = folders["same"]
    for name in ("hospital", "Centre"):
        copy = shutil.copytree(path, tmp_path / name)
        table.rename(columns={"center": name}).to_csv(copy / "labels.csv", index=False)
        found = layout.read(copy).read().set_index("filename")
        assert (found["center"] == table.set_index("file")["center"].loc[found.index]).all()
    table.drop(columns="center").to_csv(copy / "labels.csv", index=False)
    assert set(layout.read(copy, state="without").read()["center"]) == {"unknown"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"agreement": 1.2},
        {"test_agreement": -0.1},
        {"agreement": float("nan")},
        {"sources": 2},
        {"sources": 7},
        {"test_sources": 0},
        {"size": 8},
        {"seed": -1},
    ],
)
def test_bad_numbers_are_refused_and_nothing_is_left(wrong, tmp_path):
    with pytest.raises(DataError, match="Received"):
        phantom_shortcut.write(tmp_path / "new", **({"sources": 4, "test_sources": 2, "size": 32} | wrong))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        phantom_shortcut.write(tmp_path, sources=4, test_sources=2, size=32)
