"""Phantoms with a shortcut."""

import cv2
import numpy as np
import pandas as pd
import pytest

from keras_fracture import data
from keras_fracture.data import phantom, phantom_shortcut
from keras_fracture.errors import DataError, OutputError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two hospitals that differ in the rings of their test images alone: folders, and their tables."""
    root = tmp_path_factory.mktemp("hospitals")
    shares = {"always": 1.0, "never": 0.0}
    return root, {
        name: phantom_shortcut.write(root / name, 40, 64, 0.9, share) for name, share in shares.items()
    }


def bedside(table, split, label):
    some = table[(table["split"] == split) & (table["label"] == label)]
    return (some["view"] == phantom_shortcut.BEDSIDE).mean()


def test_the_view_comes_with_the_finding_as_often_as_asked(made):
    root, tables = made
    assert (
        bedside(tables["always"], "test", "fractured") == 1
        and bedside(tables["always"], "test", "healthy") == 0
    )
    assert (
        bedside(tables["never"], "test", "fractured") == 0
        and bedside(tables["never"], "test", "healthy") == 1
    )
    many = phantom_shortcut.write(root / "many", 400, 64, 0.8, 0.5)
    assert abs(bedside(many, "train", "fractured") - 0.8) < 0.1 > abs(bedside(many, "train", "healthy") - 0.2)
    assert abs(bedside(many, "test", "fractured") - 0.5) < 0.25


def test_only_rings_differ_from_the_phantom_and_only_in_test_between_hospitals(made):
    root, tables = made
    drawn = {record["filename"]: record["image"][..., 0] for record in phantom.records(0, 40, 64)[:]}
    for row in tables["always"].itertuples():
        one, other = (cv2.imread(str(root / name / row.image), cv2.IMREAD_GRAYSCALE) for name in tables)
        assert np.array_equal(one, other) == (row.split != "test")
        changed = one != drawn[row.image]
        assert changed.any() == (row.view == phantom_shortcut.BEDSIDE)
        assert not changed[16:-16].any() and not changed[:, 16:-16].any(), "rings lie in corners"


def test_it_is_read_as_own_x_rays_and_no_limb_is_in_two_splits(made):
    root, tables = made
    sets = {split: one.table for split, one in data.load_all(str(root / "always"), "official").items()}
    owners = [set(table["source"]) for table in sets.values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 40
    assert [len(table) for table in sets.values()] == [28, 4, 8]
    for table in sets.values():
        assert set(table["view"]) <= {"bedside", "table"} and table["label"].mean() == 0.5
    written = pd.read_csv(root / "always" / "labels.csv")
    pd.testing.assert_frame_equal(written, tables["always"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"sources": 21}, "even number"), ({"size": 32}, "64 pixels"), ({"test": 1.5}, "shares")],
)
def test_bad_numbers_write_nothing(settings, words, tmp_path):
    with pytest.raises(DataError, match=words):
        phantom_shortcut.write(tmp_path / "x", **settings)
    assert not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputError):
        phantom_shortcut.write(tmp_path / "there", 20, 64)
