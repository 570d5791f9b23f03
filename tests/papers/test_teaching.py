"""Runs whose networks learn from a trained model beside the labels."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from keras_fracture import cli, files, models, serving
from keras_fracture.errors import DataError, FractureError, ModelError, WeightsError
from keras_fracture.experiment import runs
from keras_fracture.experiment.splits import load_splits, seen_by_training
from keras_fracture.papers.lisbon_resnet import experiment as lisbon_resnet
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonResNet
from keras_fracture.papers.teaching import check_teacher, load_teacher
from keras_fracture.serving.releasing import model_of_run

CLASSES = {"classes": ["healthy", "finding"], "finding": "finding"}


def settings(**others):
    return LisbonResNet(data="phantom", image_size=32, **others)


@pytest.fixture(scope="module")
def sets(few_phantoms):
    return load_splits(settings(), lisbon_resnet.preprocess(settings()), "grouped")


@pytest.fixture(scope="module")
def teacher(sets, tmp_path_factory):
    """An ensemble of two that says it has seen the training and validation split."""
    members = [models.create("resnet18", num_classes=2, width=8, image_size=32) for _ in range(2)]
    folder = tmp_path_factory.mktemp("models") / "teacher"
    serving.export(
        models.Ensemble(members), folder,
        preprocess=dataclasses.replace(lisbon_resnet.preprocess(settings()), channels=3),
        metadata=CLASSES | seen_by_training("phantom", sets),
    )  # fmt: skip
    return folder


def test_a_run_learns_from_its_teacher_and_exports_what_it_taught(smoke_run, teacher):
    folder, results = smoke_run(
        "lisbon_resnet", variant="distilled", models=("resnet18",), image_size=32, epochs=1, width=8,
        learning_rate=1e-3, teacher=str(teacher),
    )  # fmt: skip
    history = pd.read_csv(folder / "history.csv")
    assert (history[["teacher_loss", "val_teacher_loss"]] > 0).all(axis=None)
    saved = models.load(folder / "grouped" / "resnet18" / "run-0" / "saved_model")
    assert type(saved).__name__ == "ResNet", "without its teacher"
    (row,) = json.loads((results / "lisbon_resnet.json").read_text())["runs"]
    assert row["variant"] == "distilled" and row["other_settings"]["teacher"] == str(teacher)
    assert f"teacher {teacher}" in (folder / "report.md").read_text()
    assert f"Taught by `{teacher}`." in model_of_run(folder, None)[1]["trained_on"]


def test_each_seed_learns_from_another_member(sets, teacher):
    config = settings(teacher=str(teacher))
    own = [one.get_weights()[0] for one in models.load(teacher).members]
    for number, member in enumerate((0, 1, 0)):
        loaded = load_teacher(config, lisbon_resnet.preprocess(config), sets, number)
        np.testing.assert_array_equal(loaded.get_weights()[0], own[member])
    assert np.abs(own[0] - own[1]).max() > 0


def test_a_teacher_that_may_know_the_test_is_refused(sets, teacher, tmp_path):
    config = settings(teacher=str(teacher))
    preprocess = lisbon_resnet.preprocess(config)
    check_teacher(config, preprocess, sets)
    with pytest.raises(
        ModelError, match="from this run's training and validation split, not from others of phantom"
    ):
        check_teacher(config, preprocess, sets | {"validation": sets["test"]})
    facts = json.loads((teacher / "1" / "metadata.json").read_text())
    silent = tmp_path / "silent" / "1"
    silent.mkdir(parents=True)
    (silent / "saved_model.pb").write_bytes(b"")
    del facts["seen_sources"]
    (silent / "metadata.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="does not say which X-rays it has learnt from"):
        check_teacher(settings(teacher=str(silent.parent)), preprocess, sets)


def test_whoever_takes_a_teacher_from_elsewhere_is_told_to_look(sets, teacher, caplog):
    config = settings(teacher=str(teacher))
    check_teacher(config, lisbon_resnet.preprocess(config), sets)
    assert not caplog.messages
    elsewhere = dataclasses.replace(config, data="fracatlas")
    check_teacher(elsewhere, lisbon_resnet.preprocess(config), sets)
    assert [one for one in caplog.messages if "has learnt from phantom; make sure" in one]


def test_a_teacher_of_images_prepared_otherwise_is_refused(sets, teacher):
    config = settings(teacher=str(teacher))
    other = dataclasses.replace(lisbon_resnet.preprocess(config), clahe=None)
    with pytest.raises(ModelError, match=r"with clahe None. Received: clahe \(2.0, 8\)"):
        check_teacher(config, other, sets)


def test_what_cannot_be_taught_is_refused(few_phantoms, tmp_path, capsys):
    with pytest.raises(FractureError, match="body_parts and teacher"):
        settings(teacher="efficientnet_lite0_ensemble", body_parts=True)
    out = tmp_path / "run"
    given = [
        "reproduce",
        "lisbon_resnet",
        "--profile",
        "smoke",
        "--set",
        "teacher=no_such_model",
        "--out",
        str(out),
    ]
    assert cli.main(given) == 2
    assert "There is no such model" in capsys.readouterr().err and not list(out.rglob("*.h5"))


@pytest.mark.parametrize(
    ("setting", "kind"), [("teacher", "model"), ("pretrained", "model"), ("pretrained", "file")]
)
def test_a_run_is_not_resumed_or_repeated_with_other_weights_at_the_same_place(
    setting, kind, teacher, few_phantoms, tmp_path, capsys
):
    place, other = tmp_path / "place", models.create("resnet18", num_classes=2, width=8, image_size=32)
    if kind == "model":
        shutil.copytree(teacher, place)
        changed = place / "1" / "variables" / "variables.data-00000-of-00001"
    else:
        place = changed = tmp_path / "start.weights.h5"
        other.save_weights(place)
    config = settings(**{setting: str(place)})
    folder = files.folder(tmp_path / "run")
    runs.record_fingerprints(config, runs.start(config, "paper", folder, False), folder)
    runs.record_fingerprints(config, runs.start(config, "paper", folder, True), folder)
    before = changed.read_bytes()
    changed.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(
        DataError, match=f"was started with other weights than .*Differing: weights/{setting}"
    ):
        runs.record_fingerprints(config, runs.start(config, "paper", folder, True), folder)
    assert cli.main(["reproduce", "--from", str(folder), "--out", str(tmp_path / "again")]) == 2
    assert "records a run with other weights than are there now" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
    recorded = json.loads((folder / "config.json").read_text())
    del recorded["fingerprints"]["weights"]  # as earlier versions wrote it
    runs.record_fingerprints(config, recorded, folder)
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    with pytest.raises((ModelError, WeightsError), match=str(place)):
        runs.record_fingerprints(config, recorded, folder)
