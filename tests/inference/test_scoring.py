"""`evaluate`: answers image by image, and their scores."""

import json
import re
import types

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
    roc_auc_score,
    roc_curve,
)

from keras_fracture import cli, data, inference, models, parallel, serving
from keras_fracture.cli import evaluating
from keras_fracture.data import Preprocess, catalogue, decoding, sources
from keras_fracture.errors import EvaluationError, ModelError
from keras_fracture.evaluation import baselines
from keras_fracture.inference import scoring
from keras_fracture.inference.predicting import Classifier


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored") / "cnn"
    serving.export(
        models.create("compact_cnn", image_size=32),
        folder,
        preprocess=Preprocess(size=32, clahe=(2.0, 8)),
        metadata={"classes": ["finding"], "threshold": {"value": 0.4321, "chosen": "by hand"}},
    )
    return folder


@pytest.fixture
def train(dummy_root, monkeypatch):
    monkeypatch.setattr(scoring, "_BATCH", 5)
    return data.load("kaggle_fracture", "train", data_dir=dummy_root)


def test_answers_are_those_of_predict_in_the_order_of_the_records(classifier, train):
    table = inference.evaluate(classifier, train)
    assert tuple(table) == scoring.COLUMNS
    for column in ("filename", "source", "body_part", "label"):
        assert table[column].tolist() == train.table[column].tolist()
    contents = [record["image"] for record in train.raw().as_numpy_iterator()]
    expected = Classifier(classifier).predict(contents)[:, -1]
    np.testing.assert_allclose(table["probability"], expected, atol=2e-6)
    assert table["probability"].std() > 1e-4


def test_the_command_prints_scores_and_goes_on_where_it_was(
    classifier, train, dummy_root, tmp_path, capsys, monkeypatch
):
    command = ["evaluate", classifier, "--data-dir", dummy_root, "--data", "kaggle_fracture", "--split"]

    def said(*arguments, code=0):
        assert cli.main([str(argument) for argument in arguments]) == code
        return capsys.readouterr().out.splitlines()

    whole = said(*command, "train", "--out", tmp_path / "whole.csv")
    told, of_finding, asked = tmp_path / "told.csv", scoring._of_finding, []

    def failing(probabilities, *named):
        asked.append(len(probabilities))
        if len(asked) == 2:
            raise EvaluationError("cut off")
        return of_finding(probabilities, *named)

    monkeypatch.setattr(scoring, "_of_finding", failing)
    said(*command, "train", "--out", told, code=2)
    said(*command, "test", "--out", told, "--resume", code=2)  # of other images
    assert not told.exists()
    assert said(*command, "train", "--out", told, "--resume")[1:] == whole[1:]
    assert asked == [5, 5, 5, 2] and told.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"whole.csv", "told.csv"}
    table = pd.read_csv(tmp_path / "whole.csv")
    assert whole[2] == "12 images, of 4 X-rays or patients, threshold 0.432"
    auc = roc_auc_score(table["label"], table["probability"])
    called = table["probability"] >= 0.4321
    values = [(called == table["label"]).mean(), auc, called[table["label"] == 1].mean()]
    values.append(1 - called[table["label"] == 0].mean())
    values += [values[2] / 2 + values[3] / 2, precision_score(table["label"], called, zero_division=0)]
    values += [
        metric(table["label"], told)
        for metric, told in (
            (f1_score, called),
            (average_precision_score, table["probability"]),
        )
    ]
    false, true, _ = roc_curve(table["label"], table["probability"], drop_intermediate=False)
    values += [true[false <= 0.1 + 1e-9].max(), true[false <= 0.05 + 1e-9].max()]
    values.append(brier_score_loss(table["label"], table["probability"]))
    bins = np.minimum(table["probability"] * 10 // 1, 9)
    values.append((table["probability"] - table["label"]).groupby(bins).sum().abs().sum() / len(table))
    assert [line[:33].strip() for line in whole[3:]] == list(scoring.METRICS)
    assert [line[33:].split()[0] for line in whole[3:]] == [f"{value:.3f}" for value in values]
    assert all(re.fullmatch(r"\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\)", line[33:]) for line in whole[3:])


class Skipping:
    """Workers that die of the image in row 3."""

    def map(self, function, rows, *, name, **options):
        assert name(3).endswith("(row 3)")
        answers = parallel.HERE.map(function, rows, **options)
        return (None if row == 3 else answer for row, answer in zip(rows, answers, strict=True))


def test_an_image_that_kills_workers_is_left_out_and_others_keep_their_positions(classifier, train):
    table, whole = (
        inference.evaluate(classifier, train, workers=Skipping()),
        inference.evaluate(classifier, train),
    )
    pd.testing.assert_frame_equal(table, whole.drop(3))
    assert len(table) == 11


class Sharp:
    """Records of which a classifier is so sure that it takes float32's last digits to tell them apart."""

    def __init__(self, logits):
        self.logits = logits
        self.table = pd.DataFrame({"filename": [str(number) for number in range(len(logits))]})

    def __len__(self):
        return len(self.logits)

    def raw(self, _):
        image = decoding.encode_png(np.zeros((8, 8), np.uint8))
        names = np.array(self.table["filename"], "S")
        fields = {"image": np.full(len(self), image, object), "filename": names, "source": names}
        fields |= {"body_part": np.full(len(self), b"hand"), "label": np.arange(len(self)) % 2}
        return tf.data.Dataset.from_tensor_slices(fields)


@pytest.mark.parametrize("classes", [1, 2])
def test_a_sharp_models_answers_keep_their_order(classifier, tmp_path, monkeypatch, classes):
    rng = np.random.default_rng(0)
    finding = 9 + rng.standard_normal(64) + 2 * (np.arange(64) % 2)
    finding = finding + (15 if classes == 2 else 0)  # a sigmoid of 24 is 1 as float32
    logits = np.stack([np.zeros(64), finding], 1) if classes == 2 else finding[:, None]
    records, given = Sharp(logits), iter(np.split(logits, 2))

    def serve(images):
        said = tf.constant(next(given), tf.float32)
        return {"probabilities": tf.nn.softmax(said) if classes == 2 else tf.sigmoid(said)}

    saved = types.SimpleNamespace(signatures={"serving_default": serve})
    preprocess = scoring.preparation(scoring.find(classifier, None)[0])
    monkeypatch.setattr(scoring, "_opened", lambda *_: (saved, preprocess))
    named = scoring.find(classifier, None)[1] | {"classes": ["healthy", "finding"][-classes:]}
    monkeypatch.setattr(scoring, "find", lambda *_: (classifier, named))
    table = inference.evaluate(classifier, records)
    (tmp_path / "said.csv").write_text(scoring.text(table))
    read = pd.read_csv(tmp_path / "said.csv", float_precision="round_trip")
    assert read["probability"].equals(table["probability"])
    auc = roc_auc_score(table["label"], logits[:, -1])
    assert roc_auc_score(table["label"], table["probability"]) == pytest.approx(auc, abs=1e-3)
    assert 0.8 < auc < 0.99


def test_the_threshold_is_the_models_or_one_half(classifier, tmp_path):
    assert scoring.threshold(classifier) == 0.4321
    plain = serving.export(models.create("compact_cnn", image_size=32), tmp_path / "plain")
    assert scoring.threshold(plain) == scoring.fixed_threshold(plain) == 0.5
    assert scoring.fixed_threshold(classifier) == 0.4321  # "by hand", not on validation


def test_a_run_folder_is_a_model_with_the_runs_threshold(classifier, train, tmp_path):
    (tmp_path / "grouped").mkdir()
    (tmp_path / "grouped" / "saved_model").symlink_to(classifier)
    row = {"data": "kaggle_fracture", "profile": "smoke", "split_policy": "grouped", "model": "cnn"}
    row |= {"variant": "paper", "metrics": {}, "threshold": 0.25, "saved_model": "grouped/saved_model"}
    count = dict.fromkeys(("images", "sources", "images_of_training_sources"), 1)
    splits = {"grouped": dict.fromkeys(("train", "validation", "test"), count)}
    metrics = {"runs": [row, row | {"split_policy": "paper"}], "splits": splits, "settings": {"seed": 0}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "config.json").write_text(json.dumps(dict.fromkeys(("command", "date", "versions"), "")))
    with pytest.raises(ModelError, match="Say which"):
        scoring.threshold(tmp_path)
    assert (
        scoring.threshold(tmp_path, "grouped") == 0.25
        and scoring.fixed_threshold(tmp_path, "grouped") is None
    )
    metrics["settings"]["threshold"] = 0.25
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert scoring.fixed_threshold(tmp_path, "grouped") == 0.25
    pd.testing.assert_frame_equal(
        inference.evaluate(tmp_path, train, which="grouped"), inference.evaluate(classifier, train)
    )


@pytest.mark.parametrize("fixed", [None, 0.5])
def test_baselines_have_a_threshold_that_is_fixed_where_that_of_the_model_is(
    classifier, dummy_root, monkeypatch, capsys, fixed
):
    asked = []

    def of_data(*_, threshold, **__):
        asked.append(threshold)
        raise EvaluationError("enough")

    monkeypatch.setattr(evaluating, "_print_scores", lambda *_: None)  # of too few X-rays
    monkeypatch.setattr(baselines, "of_data", of_data)
    monkeypatch.setattr(scoring, "fixed_threshold", lambda model, which: fixed)
    command = ["evaluate", classifier, "--data", "kaggle_fracture", "--data-dir", dummy_root]
    assert cli.main([str(one) for one in command]) == 0
    assert asked == [fixed] and "no baselines: enough" in capsys.readouterr().out


def test_bad_commands_are_one_line(classifier, tmp_path, capsys):
    for arguments, words in (
        ([str(classifier), "--against", "fracatlas"], "Received: 'fracatlas' without one"),
        ([str(classifier), "--resume"], "--out FILE"),
    ):
        assert cli.main(["evaluate", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and words in error
    assert not list(tmp_path.iterdir())


def _telling(tmp_path, metadata):
    """An exported model of two classes whose metadata say this, too, whether `export` would write it or not."""
    model = models.create("resnet18", num_classes=2, depths=(1, 1, 1, 1), width=4, image_size=32, channels=1)
    version = serving.export(model, tmp_path / "telling", preprocess=Preprocess(size=32))
    facts = json.loads((version / "metadata.json").read_text()) | metadata
    (version / "metadata.json").write_text(json.dumps(facts))
    return tmp_path / "telling"


@pytest.mark.parametrize(
    ("metadata", "column"),
    [
        ({"classes": ["fractured", "not fractured"]}, 0),
        ({"classes": ["not fractured", "fractured"]}, 1),
        ({"classes": ["broken", "whole"], "finding": "broken"}, 0),
        ({"classes": ["Finding", "healthy"]}, 0),
    ],
)
def test_the_finding_is_the_class_that_the_metadata_name(tmp_path, train, metadata, column):
    folder = _telling(tmp_path, metadata)
    contents = [record["image"] for record in train.raw().as_numpy_iterator()]
    probabilities = Classifier(folder).predict(contents)
    np.testing.assert_allclose(
        inference.evaluate(folder, train)["probability"], probabilities[:, column], atol=2e-6
    )
    assert np.abs(probabilities[:, 0] - probabilities[:, 1]).max() > 1e-3


@pytest.mark.parametrize("classes", [["finding"], ["healthy", "finding", "other"]])
def test_as_many_classes_as_probabilities_must_be_named(tmp_path, train, classes):
    with pytest.raises(
        EvaluationError, match=rf"as many classes as it names: .* 2, of which {len(classes)} are named"
    ):
        inference.evaluate(_telling(tmp_path, {"classes": classes, "finding": "finding"}), train)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "does not say what its classes are"),
        ({"classes": ["a", "b"]}, "--finding NAME.*Received: classes a, b"),
        ({"classes": ["fractured", "tumor"]}, "which of its classes is the finding"),
        ({"classes": ["a", "b"], "finding": "c"}, "finding c"),
    ],
)
def test_a_finding_that_cannot_be_known_is_refused(tmp_path, train, metadata, words, capsys):
    folder = _telling(tmp_path, metadata)
    with pytest.raises(ModelError, match=words):
        inference.evaluate(folder, train)
    (tmp_path / "image.png").write_bytes(decoding.encode_png(np.zeros((8, 8), np.uint8)))
    heat = [
        "predict",
        str(tmp_path / "image.png"),
        "--model",
        str(folder),
        "--overlays",
        str(tmp_path / "heat"),
    ]
    assert cli.main(heat) == 2 and not (tmp_path / "heat").exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_images_that_a_model_has_seen_are_said_and_left_out(classifier, train, dummy_root, tmp_path, capsys):
    table = train.table
    names = sorted(set(table["source"]))
    digests = sources.digests("kaggle_fracture", [*names[:1], "another"])
    metadata = {
        "classes": ["finding"],
        "seen_sources": {"data": "kaggle_fracture", "digests": digests.tolist()},
    }
    serving.export(
        models.load(classifier), tmp_path / "known", preprocess=Preprocess(size=32), metadata=metadata
    )
    expected = (table["source"] == names[0]).to_numpy()
    rows = inference.evaluate(tmp_path / "known", train)
    np.testing.assert_array_equal(scoring.seen(tmp_path / "known", "kaggle_fracture", rows), expected)
    assert not scoring.seen(tmp_path / "known", "fracatlas", rows).any(), "another data set's names"
    assert scoring.seen(classifier, "kaggle_fracture", rows) is None
    command = ["--data", "kaggle_fracture", "--split", "train", "--data-dir", str(dummy_root)]
    assert cli.main(["evaluate", str(tmp_path / "known"), *command]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(
        f"{expected.sum()} of 12 images show X-rays that the model was trained or tuned on"
    )
    assert said[1].startswith("12 images, of 4 X-rays")
    assert any(line.startswith(f"{12 - expected.sum()} images that it has not seen") for line in said)
    assert cli.main(["evaluate", str(classifier), *command]) == 0
    assert "cannot be told" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(("count", "words"), [(3, "3 of 12 images are"), (12, "all 12 images are")])
def test_synthetic_images_are_counted_each_time(
    classifier, train, dummy_root, monkeypatch, capsys, count, words
):
    made = train.table["filename"].to_numpy()[:count]
    monkeypatch.setattr(catalogue, "synthetic", lambda name, **_: made)
    command = ["evaluate", str(classifier), "--data", "kaggle_fracture", "--split", "train"]
    assert cli.main([*command, "--data-dir", str(dummy_root)]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith(f"{words} synthetic: ")
