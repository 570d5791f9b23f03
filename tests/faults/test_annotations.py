"""Damaged, odd and hostile annotations and tables: read as published, or a `DataError` that names the file."""

import io
import json
import os
import re
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_fracture import cli
from keras_fracture.data import annotations, tables
from keras_fracture.data.catalogue import layout
from keras_fracture.errors import DataError
from tests.faults import counting

VOC = annotations.voc
LABELME = layout("btxrd")._parse
KINDS = {"VOC": VOC, "LabelMe": LABELME}
COCO = annotations.coco
YOLO = annotations.yolo


def voc(boxes=((10, 20, 50, 60),), width=100, height=80):
    objects = "".join(
        "<object><bndbox>" + "".join(f"<{side}>{value}</{side}>" for side, value in zip(SIDES, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    )  # fmt: skip
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{size}{objects}</annotation>".encode()


def labelme(boxes=((10, 20, 50, 60),), width=100, height=80):
    shapes = [{"shape_type": "rectangle", "points": [box[:2], box[2:]]} for box in boxes]
    return json.dumps({"imageWidth": width, "imageHeight": height, "shapes": shapes}).encode()


def coco(boxes=((10, 20, 50, 60),), width=100, height=80):
    found = [
        {"image_id": 7, "bbox": [left, top, right - left, bottom - top]} for left, top, right, bottom in boxes
    ]
    images = [{"id": 7, "width": width, "height": height, "file_name": "a.jpg"}]
    return json.dumps({"images": images, "annotations": found}).encode()


def yolo(boxes=((10, 20, 50, 60),), width=100, height=80):
    edges = np.reshape(boxes, (-1, 4)) / (width, height, width, height)
    rows = np.hstack([(edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]])
    return "".join(f"0 {' '.join(map(str, row))}\n" for row in rows.tolist()).encode()


SIDES = ("xmin", "ymin", "xmax", "ymax")
MAKE = {"VOC": voc, "LabelMe": labelme, "COCO": coco, "YOLO": yolo}
WHOLE = {kind: make() for kind, make in MAKE.items()}


def _boxes(path, kind):
    if kind == "COCO":
        found = tables.parsed(path, kind, COCO)
        return next(iter(found.values()), np.zeros((0, 4), np.float32))
    return tables.annotated(path, kind, (KINDS | {"YOLO": YOLO})[kind])


def _read_or_refused(path, kind, content):
    """Whether it was read; any other error than DataError is the test's."""
    counting.tried["annotations and tables"] += 1
    path.write_bytes(content)
    try:
        boxes = _boxes(path, kind)
    except DataError as error:
        assert str(path) in str(error) and "fetch it again" in str(error) and "\n" not in str(error)
        return False
    assert boxes.dtype == np.float32 and boxes.shape == (len(boxes), 4)
    assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, :2] <= boxes[:, 2:]).all()
    return True


@pytest.mark.parametrize("kind", MAKE)
def test_boxes_are_the_same_in_every_kind(kind, tmp_path):
    (tmp_path / "a").write_bytes(WHOLE[kind])
    np.testing.assert_allclose(_boxes(tmp_path / "a", kind), [[0.25, 0.1, 0.75, 0.5]], atol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "COCO"])
def test_an_annotation_cut_anywhere_is_refused(kind, tmp_path):
    data = WHOLE[kind]
    read = [_read_or_refused(tmp_path / "a", kind, data[:end]) for end in range(len(data) + 1)]
    assert read == [False] * len(data) + [True]


@counting.examples(200)
@given(
    st.sampled_from(sorted(MAKE)),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=8),
)
def test_changed_bytes_never_raise_anything_else(tmp_path_factory, kind, changes):
    data = bytearray(WHOLE[kind])
    for place, value in changes:
        data[place % len(data)] = value
    _read_or_refused(tmp_path_factory.getbasetemp() / "changed", kind, bytes(data))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["shapes", "points", "shape_type", "imageWidth", "x", "id", "file_name", "bbox"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@counting.examples(200)
@given(_JSON, _JSON, _JSON)
def test_any_json_is_read_or_refused(tmp_path_factory, points, width, shapes):
    path = tmp_path_factory.getbasetemp() / "any.json"
    whole = {
        "imageWidth": width,
        "imageHeight": 80,
        "shapes": [{"shape_type": "rectangle", "points": points}],
    }
    for content in (whole, whole | {"shapes": shapes}, shapes):
        _read_or_refused(path, "LabelMe", json.dumps(content).encode())
    image = {"id": 7, "width": width, "height": 80, "file_name": "a.jpg"}
    for content in (
        {"images": [image], "annotations": [{"image_id": 7, "bbox": points}]},
        {"images": [image, shapes], "annotations": shapes},
        {"images": [image | {"id": shapes, "file_name": points}], "annotations": []},
    ):
        _read_or_refused(path, "COCO", json.dumps(content).encode())


BAD = {
    "NaN": {"boxes": [(10, 20, float("nan"), 60)]},
    "infinite": {"boxes": [(10, 20, float("inf"), 60)]},
    "right of the image": {"boxes": [(100, 20, 130, 60)]},
    "above the image": {"boxes": [(10, -60, 50, 0)]},
    "one of two outside": {"boxes": [(10, 20, 50, 60), (500, 20, 600, 60)]},
    "width zero": {"boxes": [], "width": -1},
    "height NaN": {"height": float("nan")},
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("kind", [*KINDS, "COCO"])
def test_boxes_that_are_none_are_refused(kind, case, tmp_path):
    assert not _read_or_refused(tmp_path / "a", kind, MAKE[kind](**BAD[case]))


@pytest.mark.parametrize("case", ["NaN", "infinite", "above the image", "one of two outside"])
def test_yolo_boxes_that_are_none_are_refused(case, tmp_path):
    assert not _read_or_refused(tmp_path / "a", "YOLO", yolo(**BAD[case]))


def test_a_voc_box_that_ends_before_it_begins_is_refused_and_one_across_the_edge_is_cut(tmp_path):
    assert not _read_or_refused(tmp_path / "a", "VOC", voc([(50, 20, 10, 60)]))
    (tmp_path / "a").write_bytes(voc([(-10, 20, 50, 160)]))
    np.testing.assert_allclose(tables.annotated(tmp_path / "a", "VOC", VOC), [[0.25, 0, 1, 0.5]])


def _laughs(levels, factor):
    entities = "".join(
        f'<!ENTITY l{level} "{f"&l{level - 1};" * factor if level else "ha" * 100}">'
        for level in range(levels)
    )
    return f'<?xml version="1.0"?><!DOCTYPE a [{entities}]><annotation>&l{levels - 1};</annotation>'.encode()


HOSTILE = {
    "billion laughs": ("VOC", _laughs(10, 10)),
    "quadratic blow-up": ("VOC", _laughs(2, 100_000)),
    "a file of this machine": (
        "VOC", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + voc().replace(b"100<", b"&x;<"),
    ),
    "deep elements": ("VOC", b"<a>" * 100_000),
    "deep lists": ("LabelMe", b"[" * 100_000),
    "deep lists that end": ("LabelMe", b"[" * 100_000 + b"]" * 100_000),
    "a number of many digits": ("LabelMe", labelme().replace(b"100", b"1" * 5000)),
    "not UTF-8": ("LabelMe", b'{"shapes": "\xff"}'),
    "deep lists of COCO": ("COCO", b"[" * 100_000),
    "a box of an image that is not there": ("COCO", coco().replace(b'"image_id": 7', b'"image_id": 8')),
    "an image twice": ("COCO", coco().replace(b'"images": [', b'"images": [{"id": 6, "file_name": "b/a.png"}, ')),
    "a number twice": ("COCO", coco().replace(b'"images": [', b'"images": [{"id": 7, "file_name": "b.png"}, ')),
    "a path for a number": ("COCO", coco().replace(b"[10,", b'["../x",')),
    "a side that is missing": ("COCO", coco().replace(b"[10, ", b"[")),
    "a polygon": ("YOLO", b"0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2 0.1 0.1\n"),
    "two lines in one": ("YOLO", yolo().replace(b"\n", b" ") * 2),
    "words": ("YOLO", b"fractured 0.5 0.5 0.1 0.1\n"),
    "pixels": ("YOLO", b"0 30 40 40 40\n"),
    "a negative side": ("YOLO", b"0 0.5 0.5 -0.1 0.1\n"),
    "bytes": ("YOLO", bytes(range(256))),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_annotations_are_refused(case, tmp_path):
    assert not _read_or_refused(tmp_path / "a", *HOSTILE[case])


def test_a_folder_is_no_annotation(tmp_path):
    with pytest.raises(DataError, match="is not a VOC annotation"):
        tables.annotated(tmp_path, "VOC", VOC)


@pytest.fixture
def spoilt(dummy_root, tmp_path, monkeypatch):
    """A function that copies a dummy set, spoils it, and gives what the command line says of it in one line."""

    def said(name, spoil, capsys):
        root = shutil.copytree(dummy_root / layout(name).FOLDER, tmp_path / layout(name).FOLDER)
        counting.tried["annotations and tables"] += 1
        spoil(root)
        monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / "cache"))
        words = ["data", "audit", name, "--data-dir", str(tmp_path), "--out", str(tmp_path / "audit")]
        assert cli.main(words) == 2
        out = capsys.readouterr()
        assert out.out == "" and out.err.count("\n") == 1 and "Traceback" not in out.err
        assert out.err.startswith("keras-fracture: ") and str(tmp_path) in out.err
        assert not list((tmp_path / "audit").glob("*"))
        return out.err

    return said


def _cells(column, row, value):
    def spoil(root):
        table = pd.read_csv(root / "dataset.csv", dtype=object)
        table.loc[row, column] = value
        table.to_csv(root / "dataset.csv", index=False)

    return spoil


def _twice(root):
    table = pd.read_csv(root / "dataset.csv", dtype=object)
    pd.concat([table, table.iloc[:1]]).to_csv(root / "dataset.csv", index=False)


LABELS = {"fracatlas": "fractured", "btxrd": "tumor"}
TABLES = {
    "an image in two rows": (lambda label: _twice, "has an image in two rows: mend it"),
    "no name": (lambda label: _cells("image_id", 1, None), "a row without a file name.*in row 3"),
    "no label": (lambda label: _cells(label, 2, None), "neither 0 nor 1.*in row 4"),
    "another label": (lambda label: _cells(label, 2, 2), "neither 0 nor 1"),
    "a word for a label": (lambda label: _cells(label, 2, "yes"), "not the published table.*yes"),
    "a word for a number": (lambda label: _cells("frontal", 0, "=1+1"), "not the published table"),
    "empty": (lambda label: lambda root: (root / "dataset.csv").write_text(""), "not the published table"),
    "bytes": (
        lambda label: lambda root: (root / "dataset.csv").write_bytes(bytes(range(256))), "not the published table",
    ),
    "one open quote": (
        lambda label: lambda root: (root / "dataset.csv").write_text('image_id,"a\n1,2'), "not the published table",
    ),
    "a folder": (
        lambda label: lambda root: ((root / "dataset.csv").unlink(), (root / "dataset.csv").mkdir()),
        "not the published table|Expected a file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("name", LABELS)
def test_bad_tables_are_refused(spoilt, name, case, capsys):
    spoil, words = TABLES[case]
    said = spoilt(name, spoil(LABELS[name]), capsys)
    assert re.search(words, said), said


def test_a_name_in_a_table_leads_nowhere_else(spoilt, capsys):
    said = spoilt("btxrd", _cells("image_id", 0, "../../secret.png"), capsys)
    assert "images, the first is ../../secret.png: fetch them" in said


def _xlsx(root):
    table = pd.read_csv(root / "dataset.csv")
    (root / "dataset.csv").unlink()
    stream = io.BytesIO()
    table.to_excel(stream, index=False)
    return stream.getvalue()


def _repacked(content, changes):
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.namelist():
            new.writestr(member, changes.get(member, old.read(member)))
    return stream.getvalue()


def test_xlsx_is_read_as_csv_is(dummy_root, tmp_path):
    module = layout("btxrd")
    root = shutil.copytree(dummy_root / module.FOLDER, tmp_path / module.FOLDER)
    before = module.read(root)
    (root / "dataset.xlsx").write_bytes(_xlsx(root))
    after = module.read(root)
    pd.testing.assert_frame_equal(after.drop(columns="boxes"), before.drop(columns="boxes"))


def _changed(content, place):
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


SHEET = "xl/worksheets/sheet1.xml"
XLSX = {
    "not a zip": lambda content: b"PK nothing",
    "cut off": lambda content: content[: len(content) // 2],
    "without a sheet": lambda content: _repacked(content, {SHEET: b""}),
    "billion laughs": lambda content: _repacked(content, {SHEET: _laughs(10, 10)}),
    "a bomb": lambda content: _repacked(content, {SHEET: bytes(200 * 2**20)}),
    "a changed byte": lambda content: _changed(content, content.index(SHEET.encode()) + 100),
}


@pytest.mark.parametrize("case", XLSX)
def test_bad_xlsx_are_refused(spoilt, case, capsys):
    def spoil(root):
        (root / "dataset.xlsx").write_bytes(XLSX[case](_xlsx(root)))

    assert "dataset.xlsx is not the published table" in spoilt("btxrd", spoil, capsys)


IMAGES = {
    "a folder named like an image": lambda folder: (folder / "x.jpg").mkdir(),
    "a link to nothing": lambda folder: (folder / "x.jpg").symlink_to("gone.jpg"),
    "a pipe": lambda folder: os.mkfifo(folder / "x.jpg"),
    "a name that is no UTF-8": lambda folder: (folder / os.fsdecode(b"x\xff.jpg")).write_bytes(b""),
    "a name of two lines": lambda folder: (folder / "x\ny.jpg").write_bytes(b""),
}


@pytest.mark.parametrize("case", IMAGES)
@pytest.mark.parametrize("name", ["kaggle_fracture", "btxrd"])
def test_what_only_looks_like_an_image_is_named(spoilt, name, case, capsys):
    folder = {"kaggle_fracture": "train/fractured", "btxrd": "images"}[name]
    said = spoilt(name, lambda root: IMAGES[case](root / folder), capsys)
    assert "is not a file" in said or "cannot be printed" in said
