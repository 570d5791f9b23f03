"""The published sets themselves, where `KERAS_FRACTURE_DATA` names a folder that holds them."""

import os
from pathlib import Path

import pytest

from keras_fracture.data import audit, decoding
from keras_fracture.data.catalogue import layout


def _root(name):
    folder = os.environ.get("KERAS_FRACTURE_DATA")
    root = folder and Path(folder).expanduser() / layout(name).FOLDER
    if not folder or not root.is_dir():
        pytest.skip(f"KERAS_FRACTURE_DATA names no folder with {layout(name).FOLDER}")
    return root


def _findings(name):
    report = audit.audit(name, _root(name), progress=False)
    return report, {finding["kind"]: finding for finding in report["findings"]}


def test_kaggle_names():
    table = layout("kaggle_fracture").read(_root("kaggle_fracture"))
    assert len(table) == 9463 and table["source"].nunique() == 191
    sources = table.groupby(["published_split", "label"])["source"].nunique()
    assert sources.to_dict() == {("train", 0): 66, ("train", 1): 112, ("val", 0): 4, ("val", 1): 9}
    assert set(table[table["copies"] == 4]["label"]) == {0}


def test_fracatlas_layout_and_truncated_files():
    root = _root("fracatlas")
    table = layout("fracatlas").read(root)
    assert table["label"].value_counts().to_dict() == {0: 3366, 1: 717}
    assert table[table["conflict"] != ""]["filename"].tolist() == ["images/Fractured/IMG0003298.jpg"]
    assert (table["hardware"].sum(), table["multiscan"].sum()) == (99, 396)
    truncated = [decoding.is_truncated((root / name).read_bytes()) for name in table["filename"]]
    assert sum(truncated) == 59 and set(table[truncated]["label"]) == {0}
    for name in table[truncated]["filename"][:5]:
        decoded = decoding.decode((root / name).read_bytes(), name)
        assert decoded.truncated and decoded.image[: len(decoded.image) // 4].std() > 0


def test_btxrd_layout():
    root = _root("btxrd")
    table = layout("btxrd").read(root)
    assert table["label"].value_counts().to_dict() == {0: 1879, 1: 1867}
    bones = table["bone"].value_counts()
    assert set(table[table["bone"] != ""]["label"]) == {1} and bones["tibia"] > bones["femur"] > 400
    assert (table[table["label"] == 1]["boxes"].map(len) > 0).mean() > 0.99
    assert table["published_split"].value_counts().to_dict() == {"train": 2995, "val": 751}
    for name in table["filename"][:20]:
        assert decoding.decode((root / name).read_bytes(), name).image.shape == (256, 256)


@pytest.mark.slow
def test_kaggle_audit():
    report, findings = _findings("kaggle_fracture")
    assert report["sources"] == {"named": 191, "distinct": 184}
    leak = findings["leak across the published split"]
    assert leak["count"] == 106
    assert "67 of val/not fractured/3" in leak["detail"] and "39 of val/not fractured/4" in leak["detail"]
    assert findings["exact copies of a file"]["count"] == 123
    assert findings["source without its original"]["count"] == 28
    joined = findings["one X-ray under several names"]["detail"]
    for pair in ("fractured/57 = train/fractured/83", "fractured/29 = train/not fractured/46"):
        assert pair in joined or pair.replace("fractured/29", "not fractured/29") in joined
    assert "rotated 4 times exist only with label 0" in findings["processing in one class only"]["detail"]


@pytest.mark.slow
def test_fracatlas_audit():
    _, findings = _findings("fracatlas")
    assert findings["truncated"]["count"] == 59 and "59 of label 0" in findings["truncated"]["detail"]
    assert findings["contradictory label"]["detail"].startswith("5 contradictions")
    assert len(findings["contradictory label"]["files"]) == 8
    assert "unreadable" not in findings
