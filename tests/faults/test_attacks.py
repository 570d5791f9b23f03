"""Files that cost far more than they weigh, or whose words would be code where they are shown: refused, or plain."""

import dataclasses
import gzip
import io
import json
import re
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import openpyxl
import pandas as pd
import pytest

from keras_fracture import cli, models, papers
from keras_fracture.data import decoding, download, segments, split_files, tables
from keras_fracture.errors import DataError, EvaluationError, FractureError, ImageError, ModelError, printable
from keras_fracture.evaluation import scorer
from keras_fracture.experiment import config as configs
from keras_fracture.inference import scoring
from keras_fracture.papers import tables as generated
from keras_fracture.report import markdown
from keras_fracture.serving import card
from keras_fracture.training.weights import load_keras

HTML = "<script>alert(1)</script>"


@pytest.mark.parametrize("ask", [decoding.decode, decoding.size_of, decoding.is_plain])
def test_images_that_take_long_are_not_opened(ask):
    slow = b"\xff\xd8" + b"\xff\xda\0\2" * 51
    with pytest.raises(ImageError, match="made to take long to decode"):
        ask(slow)


def test_a_scan_in_a_thumbnail_is_none_of_the_image():
    hidden = b"\xff\xe1" + (2 + 4 * 60).to_bytes(2, "big") + b"\xff\xda\0\2" * 60
    segments.check(
        b"\xff\xd8" + hidden + b"\xff\xda\0\2\x12\xff\0\xff\xd0" * 50 + b"\xff\xd9" + b"\xff\xda" * 99
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A `.keras` file as a dict of member to bytes."""
    path = tmp_path_factory.mktemp("kept") / "cnn.keras"
    models.create("dcgan_generator", image_size=32, width=2, channels=1).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _keras(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _told(members, **settings):
    content = json.loads(members["config.json"])
    content["config"] |= settings
    return members | {"config.json": json.dumps(content).encode()}


def _sparse(shape):
    """HDF5 of numbers that were never written."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("vars/0", shape, "float32", chunks=(2**16,))
    return stream.getvalue()


MODELS = {
    "500 million channels": (lambda kept: _told(kept, width=5 * 10**8), "as the sum of its settings are plenty"),
    "as a float": (lambda kept: _told(kept, width=5e8), "as the sum of its settings are plenty"),
    "not a number": (lambda kept: _told(kept, width=float("nan")), "as the sum of its settings are plenty"),
    "8,000 channels": (lambda kept: _told(kept, width=8000), "weights, as many as it holds, are plenty"),
    "a long config": (lambda kept: kept | {"config.json": b" " * 2**21}, "bytes of config.json are plenty"),
    "a weights file of nothing": (
        lambda kept: kept | {"model.weights.h5": _sparse((10**9,))}, "bytes of weights are plenty"
    ),
    "1.5 GB unpacked": (lambda kept: kept | {"more": b"\0" * 2**27}, "bytes unpacked are plenty"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_keras_files_that_ask_for_more_than_they_hold_are_not_built(kind, kept, tmp_path):
    change, words = MODELS[kind]
    path = _keras(tmp_path / "hostile.keras", change(kept), zipfile.ZIP_DEFLATED)
    start = time.perf_counter()
    with pytest.raises(ModelError, match=rf"hostile.keras is no model of this package: .*{words}") as caught:
        load_keras(path)
    assert time.perf_counter() - start < 2 and "\n" not in str(caught.value)
    assert load_keras(_keras(tmp_path / "good.keras", kept, zipfile.ZIP_DEFLATED)).name == "dcgan_generator"


def test_archives_that_unpack_to_more_than_fracatlas_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_UNPACKED", 10_000)
    path = tmp_path / "FracAtlas.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("FracAtlas/dataset.csv", "image_id\n")
        archive.writestr("FracAtlas/images/a.jpg", bytes(10_000))
    with pytest.raises(
        DataError, match=r"of 10,000 bytes at most: it was not unpacked. Received: 10,009 bytes"
    ):
        download.unpack(path, tmp_path / "FracAtlas")
    assert list(tmp_path.iterdir()) == [path]


BAD_SETTINGS = {
    "variant": ["../../out", HTML, {"a": 1}, ["paper"], 3, None],
    "models": [{"a": 1}, [{"a": 1}], [["x"]], [HTML], ["../x"], [".."], [], "resnet18"],
    "policies": [["../x"], [{"a": 1}], HTML],
    "policy": [HTML, 3],
    "network": ["../x", ".."],
    "precision": [HTML],
    "image_size": [100_000, True, 0, 1e30, "9"],
    "patch_size": [100_000],
    "batch_size": [0, -1, 10**9, True],
    "width": [10**9],
    "widths": [[10**9], [{"a": 1}]],
    "gan_width": [1e30],
    "epochs": [10**30],
    "seed": [1e30, 10**30, -1, True],
    "seeds": [10**6],
}


@pytest.mark.parametrize("key", papers.names())
def test_settings_from_strangers_are_checked(key):
    kind = papers.get(key).config.Config
    chosen = configs.configure(kind, "smoke")
    good = json.loads(json.dumps(dataclasses.asdict(chosen)))
    assert configs.from_recorded(kind, good) == chosen
    tried = {name: values for name, values in BAD_SETTINGS.items() if name in good}
    assert {"precision", "image_size", "batch_size", "seed"} <= set(tried)
    for name, values in tried.items():
        for value in values:
            with pytest.raises(FractureError, match=rf"\b{name} of {key} .*Received: ") as caught:
                configs.from_recorded(kind, good | {name: value})
            assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_recorded_run_has_a_profile_that_there_is(tmp_path, capsys):
    config = configs.configure(papers.get("ibrahim_gan").config.Config, "smoke")
    content = {"paper": "ibrahim_gan", "profile": HTML, "settings": dataclasses.asdict(config)}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert cli.main(["reproduce", "--from", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "records no run" in capsys.readouterr().err and not (tmp_path / "out").exists()


RUN = {
    "data": "![x](http://192.0.2.1/x.png)\n# x | y",
    "profile": "[x](javascript:x)",
    "computed_in": HTML,
    "seeds": HTML,
    "command": f"keras-fracture `{HTML}`",
}


def test_results_of_strangers_put_no_html_into_readme(tmp_path):
    path = Path(__file__).parents[2] / "results" / "lisbon_resnet.json"
    known = json.loads(path.read_text())
    known["runs"] = [run | RUN for run in known["runs"]]
    (tmp_path / path.name).write_text(json.dumps(known))
    table, own = generated.generate(tmp_path, "papers"), generated.generate(tmp_path, "lisbon_resnet")
    assert len({line.count("|") for line in table.splitlines()}) == 1 and table.count("\n") > 2
    assert "&#60;script&#62;" in table and "&#60;script&#62;" in own and "&#92;n# x &#124; y" in table
    assert not re.search(r"<script|!\[|\]\(|^# x", table + own, re.MULTILINE)


def test_other_tables_and_cards_hold_no_html_either(tmp_path):
    row = {"what": HTML, "tried": 1, "well": 1, "details": {"seen": "a|b"}, "command": HTML, "date": "x"}
    (tmp_path / "reliability.json").write_text(json.dumps({"x": row}))
    (tmp_path / "benchmark.json").write_text(
        json.dumps({"data": {"numbers": {HTML: 1}, "goals": {}, "command": HTML, "date": HTML}})
    )
    facts = {
        "architecture": HTML, "parameters": 1, "endpoints": {}, "pixel_range": None, "classes": [HTML], "limits": HTML,
        "trained_on": HTML, "command": HTML,
    }  # fmt: skip
    for text in (
        generated.generate(tmp_path, "reliability"),
        generated.generate(tmp_path, "benchmark_data"),
        card.text("x", facts),
    ):
        assert "&#60;script&#62;" in text and "<script" not in text
    assert markdown.plain({"a": ["b`c`", 1, None]}) == {"a": ["b`c`", 1, None]}


FORMULAS = ["=cmd|' /C calc'!A0.png", "+1.png", "-1+1.png", "@SUM(1).png", "＝1.png"]


def _table(names):
    return pd.DataFrame(
        {
            "filename": names,
            "source": [f"={number}" for number in range(len(names))],
            "body_part": ["'hand", "@", "-", "", "hip"],
            "label": [0, 1, 0, 1, 0],
            "probability": [0.5, 1e-9, 0.25, 0.75, 1.0],
        }
    )


def test_csv_files_hold_no_formula_and_are_read_back_as_they_were(tmp_path):
    table, path = _table(FORMULAS), tmp_path / "answers.csv"
    path.write_text(scoring.text(table), encoding="utf-8")
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert not cells.map(lambda cell: cell.startswith(tables._FORMULA)).to_numpy().any()
    assert list(cells["filename"]) == [f"./{name}" for name in FORMULAS]  # the same file
    assert list(cells["body_part"]) == ["''hand", "'@", "'-", "", "hip"]
    read = tables.read_csv(path, keep_default_na=False, float_precision="round_trip")
    pd.testing.assert_frame_equal(tables.from_csv(read), table)


def test_numbers_and_plain_names_stay_as_they_are():
    table = pd.DataFrame({"filename": ["a/b.png"], "source": ["x"], "score": [-0.5]})
    assert tables.csv_text(table) == "filename,source,score\na/b.png,x,-0.5\n"


def test_predictions_of_such_names_are_scored(tmp_path):
    test = pd.DataFrame({"filename": FORMULAS[:4], "source": list("abcd"), "label": [0, 1, 0, 1]})
    path = tmp_path / "answers.csv"
    path.write_text(tables.csv_text(test[["filename", "label"]].assign(probability=[0.1, 0.9, 0.2, 0.8])))
    read = scorer.predictions(path, "own", test, {})
    np.testing.assert_array_equal(read.probabilities, [[0.1, 0.9, 0.2, 0.8]])


def test_split_files_of_such_names_are_read_back(tmp_path):
    rows = pd.DataFrame({"filename": FORMULAS, "patient": ["=", "+", "-1", "@", "a"], "split": ["train"] * 5})
    path = split_files.write(tmp_path / "splits.csv.gz", split_files.text(rows))
    pd.testing.assert_frame_equal(split_files.read(path).table, rows)


def test_predict_writes_and_prints_names_as_words(tmp_path, monkeypatch, capsys, files):
    from keras_fracture.inference import predicting

    class Fixed:
        classes, inverts = ["=healthy", "+benign", "finding"], False
        finding, threshold, chosen = "finding", 0.5, "\x1b[31mred"

        def __init__(self, model):
            pass

        def predict(self, contents, names=None):
            return np.tile([0.25, 0.0, 0.75], (len(contents), 1))

        def close(self):
            pass

    monkeypatch.setattr(predicting, "Classifier", Fixed)
    monkeypatch.setattr(predicting, "version_of", lambda _: tmp_path / "x")
    monkeypatch.chdir(tmp_path)
    names = ["=cmd|x.png", "\x1b[2J\x1b[31mred.png"]
    for name in names:
        (tmp_path / name).write_bytes(files[0])
    assert cli.main(["predict", *names, "--model", "x", "--csv", "out.csv"]) == 0
    printed = capsys.readouterr()
    assert "\\x1b[2J\\x1b[31mred.png" in printed.out and "\x1b" not in printed.out + printed.err
    assert "\\x1b[31mred" in printed.err
    cells = pd.read_csv(tmp_path / "out.csv")
    assert list(cells) == ["file", "probability", "threshold", "verdict", "'=healthy", "'+benign", "finding"]
    assert list(cells["file"]) == ["./=cmd|x.png", names[1]]


def test_errors_and_warnings_move_no_cursor(tmp_path, capsys, monkeypatch):
    name = "\x1b]0;title\x07\udcff.png"
    assert cli.main(["predict", name, "--model", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "\\x1b]0;title\\x07\\udcff.png does not exist" in err and "\x1b" not in err
    assert printable("a\nb\u202ec", but="\n") == "a\nb\\u202ec"


def _packed(path, text, times):
    path.write_bytes(gzip.compress(text * times))
    return path


def test_packed_split_files_are_not_unpacked_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(split_files, "_LARGEST", 10_000)
    path = _packed(tmp_path / "splits.csv.gz", b"a.png,train\n", 1000)
    with pytest.raises(
        DataError, match=r"is no split file that can be read. Received: .*more than 10,000 bytes"
    ):
        split_files.read(path)


def test_packed_predictions_are_not_unpacked(tmp_path):
    path = _packed(tmp_path / "answers.csv.gz", b"filename,probability\n", 1)
    with pytest.raises(EvaluationError, match=r"answers.csv.gz"):
        scorer.read(path)


def _sheet(rows, columns):
    book = openpyxl.Workbook()
    book.active["A1"], book.active["B1"] = "image", "label"
    book.active.cell(rows, columns).value = "x"
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def test_a_sheet_with_one_far_cell_is_not_filled_up(tmp_path, monkeypatch):
    path = tmp_path / "labels.xlsx"
    path.write_bytes(_sheet(1_048_576, 16_384))
    with pytest.raises(
        ValueError, match="1,048,576 rows of 16,384 columns, where 20,000,000 cells are plenty"
    ):
        tables.read_excel(path)
    monkeypatch.setattr(tables, "_CELLS", 60)
    path.write_bytes(_sheet(10, 6))
    assert tables.read_excel(path).shape == (9, 6)
    path.write_bytes(_sheet(11, 6))
    with pytest.raises(ValueError, match="11 rows of 6 columns"):
        tables.read_excel(path)


def test_short_rows_below_a_long_header_are_not_filled_up(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_CELLS", 10_000)
    path = tmp_path / "answers.csv"
    path.write_text("filename,probability" + ',"a\nb"' * 200 + "\n" + "a\n" * 200)
    with pytest.raises(EvaluationError, match="rows of 202 columns, where 10,000 cells are plenty"):
        scorer.read(path)
