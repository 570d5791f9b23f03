"""`evaluate` on another data set than that trained on: what is other there, and which images are none to test on."""

import shutil
import types

import cv2
import numpy as np
import pandas as pd
import pytest

from keras_fracture import cli, data, inference, models, serving
from keras_fracture.data import Preprocess, catalogue, sources
from keras_fracture.data.datasets.phantom import layout
from keras_fracture.errors import EvaluationError
from keras_fracture.inference import elsewhere, scoring
from tests.data import own

PATIENT = r"phantom_(\d+)_"
TABLE = pd.DataFrame(
    {
        "filename": [f"{n}.png" for n in range(8)],
        "source": [f"p{n}" for n in range(8)],
        "body_part": ["hand"] * 5 + ["foot"] * 3,
        "label": [0, 0, 0, 0, 1, 1, 0, 0],
        "probability": [0.45, 0.55, 0.65, 0.66, 0.97, 0.72, 0.85, 0.32],
    }
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def network():
    return models.create("compact_cnn", image_size=32)


@pytest.fixture
def exported(network, tmp_path):
    """A function of the data set and the sources that an exported model says it has seen."""

    def export(name, seen, **facts):
        digests = sources.digests(name, seen).tolist()
        facts |= {"classes": ["finding"], "seen_sources": {"data": name, "digests": digests}}
        serving.export(network, tmp_path / "model", preprocess=Preprocess(size=32), metadata=facts)
        return tmp_path / "model"

    return export


def test_what_is_other_there(exported):
    recorded = {"value": 0.9, "low": 0.8, "high": 0.95}
    model = exported(
        "fracatlas", ["a"], metrics={"auc": recorded}, threshold={"value": 0.6, "chosen": "on validation"}
    )
    views = TABLE.assign(view=["ap"] * 4 + ["lateral"] * 4)
    report = elsewhere.examine(model, "btxrd", TABLE, types.SimpleNamespace(table=views))
    assert (report["trained_on"], report["tested_on"]) == ("fracatlas", "btxrd")
    assert report["auc"]["value"] == pytest.approx(11 / 12) and report["recorded_auc"] == recorded
    assert (report["mean_probability"], report["observed"]) == (pytest.approx(5.17 / 8), 0.25)
    bins = [0.32, 0.45, 0.55, 0.65 + 0.66, 0.72 - 1, 0.85, 0.97 - 1]
    assert report["ece"]["value"] == pytest.approx(np.abs(bins).sum() / 8)
    own_, best = report["thresholds"]
    assert (own_["threshold"], own_["sensitivity"]["value"], own_["specificity"]["value"]) == (0.6, 1, 0.5)
    assert (best["threshold"], best["sensitivity"]["value"]) == (pytest.approx(0.7199), 1)
    assert best["specificity"]["value"] == pytest.approx(5 / 6)
    groups = report["groups"].set_index(["column", "value"])
    assert groups.loc[("body_part", "hand"), "accuracy"] == pytest.approx(3 / 5)
    assert groups.loc[("body_part", "foot"), "accuracy"] == pytest.approx(2 / 3)
    assert groups.loc[("view", "ap"), "accuracy"] == 0.5 and np.isnan(groups.loc[("view", "ap"), "auc"])
    assert groups.loc[("view", "lateral"), "auc"] == 0.75
    lines = elsewhere.lines(report)
    assert lines[1].startswith("AUC 0.917 (") and lines[1].endswith("at training 0.900 (0.800 to 0.950)")
    assert "mean probability 0.646, share of findings 0.250 (+0.396)" in lines[2]
    assert lines[3].startswith("threshold 0.6, the model's: sensitivity 1.000")
    assert lines[4].startswith("threshold 0.72, the best for these images, chosen on these very images")
    assert any(line.startswith("view ap: 4 images, 0 findings, accuracy 0.500") for line in lines[5:])
    assert any(line.endswith("AUC not defined") for line in lines[5:]) and len(lines) == 9


def test_no_report_where_it_was_trained_or_nothing_is_known(exported, tmp_path):
    model = exported("fracatlas", ["a"])
    assert elsewhere.examine(model, "fracatlas", TABLE) is None and elsewhere.lines(None) == []
    assert elsewhere.examine(model, str(tmp_path / "fracatlas"), TABLE), "own X-rays in a folder of that name"
    report = elsewhere.examine(model, "btxrd", TABLE)
    assert report["recorded_auc"] is None and "none of training" in elsewhere.lines(report)[1]
    assert set(report["groups"]["column"]) == {"body_part"}


def test_own_xrays_get_the_whole_table_and_the_report(exported, tmp_path, capsys):
    own.class_folders(tmp_path / "mine", own.records(24))
    model = exported("fracatlas", ["a"])
    command = ["evaluate", str(model), "--data", str(tmp_path / "mine"), "--patient", PATIENT]
    assert cli.main([*command, "--split", "train"]) == 0
    said = capsys.readouterr().out.splitlines()
    records = data.load(str(tmp_path / "mine"), "train", patient=PATIENT)
    table = inference.evaluate(model, records)
    report = elsewhere.examine(model, str(tmp_path / "mine"), table, records)
    assert [line[:33].strip() for line in said[1:13]] == list(scoring.METRICS)
    assert said[0].startswith(f"{len(records)} images, of {table['source'].nunique()} X-rays")
    assert said[13:] == elsewhere.lines(report)
    assert said[13] == f"trained on fracatlas, tested on mine, {len(table)} images:"


def _copied(dummy_root, folder):
    """Own X-rays: drawn ones, and all images of a published set by other names, small or bright."""
    root = catalogue.find("kaggle_fracture", dummy_root)[1]
    table = catalogue.catalogue("kaggle_fracture", dummy_root, progress=False).table
    own.class_folders(folder, own.records(6))
    names = {}
    for number, row in enumerate(table[table["error"] == ""].itertuples()):
        name = f"{'fractured' if row.label else 'normal'}/copy-{number}.png"
        if number % 2:
            shutil.copy(root / row.filename, (folder / name).with_suffix(".jpg"))
            name = name.replace(".png", ".jpg")
        else:
            image = cv2.imread(str(root / row.filename), cv2.IMREAD_GRAYSCALE)
            cv2.imwrite(str(folder / name), cv2.resize(image, None, fx=0.9, fy=0.9))
        names[name] = row.source
    return names


def test_copies_of_what_was_trained_on_are_found_by_their_pixels(dummy_root, exported, tmp_path, capsys):
    names = _copied(dummy_root, tmp_path / "mine")
    seen = sorted(set(names.values()))[:2]
    model = exported("kaggle_fracture", seen)
    files = sorted(str(path.relative_to(tmp_path / "mine")) for path in (tmp_path / "mine").rglob("*.*g"))
    rows = pd.DataFrame({"filename": files})
    options = {"data_dir": dummy_root, "finding": "fractured"}
    found = elsewhere.copies(model, "kaggle_fracture", str(tmp_path / "mine"), rows, **options)
    copied = {name for name, source in names.items() if source in seen}
    assert set(rows["filename"][found]) == copied and 0 < len(copied) < len(names)

    command = [
        "evaluate",
        str(model),
        "--data",
        str(tmp_path / "mine"),
        "--split",
        "train",
        "--policy",
        "paper",
    ]
    command += ["--data-dir", str(dummy_root), "--finding", "fractured", "--against"]
    assert cli.main([*command, "kaggle_fracture"]) == 0
    records = data.load(str(tmp_path / "mine"), "train", "paper", finding="fractured")
    count = records.table["filename"].isin(copied).sum()
    said = capsys.readouterr().out.splitlines()
    assert (
        said[0].startswith(f"{count} of {len(records)} images show X-rays that the model was trained")
        and count
    )
    assert any(line.startswith(f"{len(records) - count} images that it has not seen") for line in said)
    assert f"trained on kaggle_fracture, tested on mine, {len(records) - count} images:" in said
    shutil.rmtree(tmp_path / "model")
    exported("kaggle_fracture", ["another"])
    assert cli.main([*command, "kaggle_fracture"]) == 2
    assert "--against holds none of the X-rays that the model has seen" in capsys.readouterr().err
    assert cli.main([*command, "btxrd"]) == 2
    assert "trained on, kaggle_fracture. Received: 'btxrd'" in capsys.readouterr().err


def test_another_folder_of_the_name_that_was_trained_on_is_not_said_to_be_unseen(exported, tmp_path, capsys):
    """Nor one whose patients are told otherwise than at training."""
    own.class_folders(tmp_path / "mine", own.records(12))
    model = exported("mine", ["a patient"])
    assert cli.main(["evaluate", str(model), "--data", str(tmp_path / "mine"), "--split", "train"]) == 0
    assert "cannot be told: it was trained on X-rays of this name" in capsys.readouterr().out.splitlines()[0]


def test_drawn_images_that_look_alike_are_no_copies(exported, tmp_path, monkeypatch):
    few = layout.read(24, 8)
    monkeypatch.setattr(layout, "read", lambda: few)
    drawn = catalogue.catalogue("phantom", progress=False).table
    same = drawn.groupby("label").head(3)
    own.class_folders(tmp_path / "mine", own.records(6))
    for row in same.itertuples():
        folder = tmp_path / "mine" / ("fractured" if row.label else "normal")
        (folder / f"again-{row.filename}").write_bytes(row.image)
    model = exported("phantom", same["source"])
    files = sorted(str(path.relative_to(tmp_path / "mine")) for path in (tmp_path / "mine").rglob("*.png"))
    rows = pd.DataFrame({"filename": files})
    found = elsewhere.copies(model, "phantom", str(tmp_path / "mine"), rows)
    assert found.sum() == 6 and all("again-" in name for name in rows["filename"][found])


def test_against_takes_a_model_that_says_what_it_was_trained_on(network, tmp_path, capsys):
    silent = tmp_path / "silent"
    serving.export(network, silent, preprocess=Preprocess(size=32), metadata={"classes": ["finding"]})
    with pytest.raises(EvaluationError, match="Received: 'btxrd'"):
        elsewhere.copies(silent, "btxrd", "phantom", TABLE)
    assert cli.main(["evaluate", str(silent), "--against", "btxrd"]) == 2
    assert "name both" in capsys.readouterr().err
