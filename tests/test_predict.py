"""`predict`: probability, threshold and verdict, printed and as csv, and what is written to be looked at."""

import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from keras_fracture import cli, models, serving
from keras_fracture.cli import predicting as predicting_command
from keras_fracture.data import Preprocess, decoding, phantom
from keras_fracture.errors import ModelError
from keras_fracture.evaluation import gradcam
from keras_fracture.inference import predicting
from keras_fracture.inference.heat import gradcam_effect
from keras_fracture.inference.predicting import Classifier
from keras_fracture.serving import client as clients
from keras_fracture.serving.loading import as_saved
from keras_fracture.serving.metadata import threshold_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with four drawn X-rays in two folders."""
    root = tmp_path_factory.mktemp("images")
    for number, record in enumerate(phantom.records(seed=2, sources=8, size=64)[:4]):
        path = root / ("a", "b")[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(decoding.encode_png(record["image"][..., 0]))
    return root


def exported(where, count=2, **metadata):
    keras.utils.set_random_seed(3)
    model = models.create(
        "resnet18", num_classes=count, depths=(1, 1, 1, 1), width=4, image_size=32, channels=1
    )
    serving.export(model, where, preprocess=Preprocess(size=32), metadata=metadata)
    return where


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Of two classes, the first of which is the finding; its threshold lies between the images' probabilities."""
    where = tmp_path_factory.mktemp("models")
    known = {"classes": ["fractured", "whole"], "finding": "fractured"}
    probabilities = Classifier(exported(where / "plain", **known)).predict(contents_of_drawn())[:, 0]
    middle = float(np.sort(probabilities)[1:3].mean())
    return exported(where / "model", **known, threshold={"value": middle, "chosen": "chosen for a test"})


def contents_of_drawn():
    records = phantom.records(seed=2, sources=8, size=64)[:4]
    return [decoding.encode_png(record["image"][..., 0]) for record in records]


def predict(capsys, *arguments):
    """Exit code, stdout and stderr."""
    return cli.main(["predict", *map(str, arguments)]), *capsys.readouterr()


def test_the_verdict_is_by_the_models_own_threshold(capsys, tmp_path, folder, model):
    code, out, error = predict(capsys, folder, "--model", model, "--csv", tmp_path / "answers.csv")
    assert code == 0
    table = pd.read_csv(tmp_path / "answers.csv")
    assert list(table) == ["file", "probability", "threshold", "verdict"]
    assert list(table["file"]) == [
        str(folder / name) for name in ("a/0.png", "a/2.png", "b/1.png", "b/3.png")
    ]
    contents = contents_of_drawn()
    expected = Classifier(model).predict([contents[k] for k in (0, 2, 1, 3)])[:, 0]
    np.testing.assert_allclose(table["probability"], expected, rtol=1e-6)
    assert table["threshold"].nunique() == 1 and expected.min() < table["threshold"][0] < expected.max()
    assert list(table["verdict"]) == [
        "finding" if one >= table["threshold"][0] else "no finding" for one in expected
    ]
    assert sorted(table["verdict"]) == ["finding"] * 2 + ["no finding"] * 2
    lines = out.splitlines()
    assert lines[0].split() == list(table)
    assert lines[1].split()[1:3] == [f"{table['probability'][0]:.4f}", f"{table['threshold'][0]:.4f}"]
    assert lines[-1] == f"wrote {tmp_path / 'answers.csv'}"
    assert error == (
        f"threshold {table['threshold'][0]:.4g} is the model's own, chosen for a test; not for clinical use\n"
    )


def test_one_answer_to_images_that_differ_is_said_to_be_none(capsys, folder, tmp_path, model):
    """All weights 0, as behind units that never fire: every probability is 0.5."""
    network = models.create("compact_cnn", image_size=32)
    network.set_weights([np.zeros_like(weight) for weight in network.get_weights()])
    serving.export(
        network, tmp_path / "dead", preprocess=Preprocess(size=32), metadata={"classes": ["finding"]}
    )
    same = (
        "The network gives every image the same probability: it has learnt nothing yet; train longer or start"
    )
    code, out, error = predict(capsys, "--model", tmp_path / "dead", folder)
    assert code == 0 and same in error and out.count("0.5000") == 8
    copies = [folder / "a" / "0.png", tmp_path / "copy.png"]
    copies[1].write_bytes(copies[0].read_bytes())
    assert same not in predict(capsys, "--model", tmp_path / "dead", *copies)[2]
    assert same not in predict(capsys, "--model", tmp_path / "dead", copies[0])[2]
    assert same not in predict(capsys, "--model", model, folder)[2]


@pytest.mark.parametrize(("answers", "said"), [([0.5, 0.5], True), ([1, 1], False), ([0.5, 0.500001], False)])
def test_answers_that_end_at_0_or_1_are_not_called_the_same(capsys, folder, answers, said):
    paths = sorted(folder.rglob("*.png"))[:2]
    predicting_command._warn_of_one_answer(paths, np.array(answers, "float32")[:, None])
    assert ("learnt nothing yet" in capsys.readouterr().err) == said


def test_a_threshold_may_be_given(capsys, folder, model):
    image = folder / "a" / "0.png"
    probability = float(Classifier(model).predict([image.read_bytes()])[0, 0])
    for threshold, verdict in ((0.0, ["finding"]), (probability, ["finding"]), (1.0, ["no", "finding"])):
        code, out, error = predict(capsys, image, "--model", model, "--threshold", repr(threshold))
        assert code == 0 and out.splitlines()[1].split()[2:] == [f"{threshold:.4f}", *verdict]
        assert error.startswith(f"threshold {threshold:g} as given; ")


def test_of_more_than_two_classes_all_probabilities_are_kept(capsys, folder, tmp_path):
    names = ["healthy", "tumour", "benign"]
    many = exported(tmp_path / "many", 3, classes=names, finding="tumour")
    code, _, error = predict(capsys, folder, "--model", many, "--csv", tmp_path / "many.csv")
    table = pd.read_csv(tmp_path / "many.csv")
    assert code == 0 and list(table) == ["file", "probability", "threshold", "verdict", *names]
    np.testing.assert_array_equal(table["probability"], table["tumour"])
    np.testing.assert_allclose(table[names].sum(1), 1, atol=1e-5)
    assert set(table["verdict"]) <= {"tumour", "no tumour"}, "it may still be benign"
    assert error == "threshold 0.5 as the model names none; not for clinical use\n"
    several = exported(tmp_path / "several", 3, classes=names)  # a tumour is one finding of two
    code, _, error = predict(capsys, folder, "--model", several, "--csv", tmp_path / "several.csv")
    assert code == 0 and list(pd.read_csv(tmp_path / "several.csv")) == ["file", *names]
    assert error.startswith("no verdict: ")


def test_without_a_known_finding_there_is_no_verdict(capsys, folder, tmp_path):
    unknown = exported(tmp_path / "unknown", classes=["left", "right"])
    code, out, error = predict(capsys, folder, "--model", unknown)
    assert code == 0 and out.splitlines()[0].split() == ["file", "left", "right"]
    assert error.startswith("no verdict: ") and "which of its classes is the finding" in error
    assert error.endswith("; not for clinical use\n") and error.count("\n") == 1


def test_the_version_that_is_named_answers(capsys, tmp_path, folder, model):
    """And not the highest, whose threshold is another one."""
    for version, source in (("1", model), ("2", model.parent / "plain")):
        shutil.copytree(source / "1", tmp_path / "cnn" / version)
    said = []
    asked = ["cnn"], ["cnn", "--version", 2], ["cnn", "--version", 1], ["cnn/1", "--version", 1]
    for name, *words in asked:
        csv = tmp_path / "answers.csv"
        assert predict(capsys, folder, "--model", tmp_path / name, "--csv", csv, *words)[0] == 0
        said.append(pd.read_csv(csv)["threshold"][0])
    assert said == [0.5, 0.5, *2 * [pytest.approx(Classifier(model).threshold)]]
    for wrong in (0, 3):
        code, out, error = predict(capsys, folder, "--model", tmp_path / "cnn", "--version", wrong)
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert f"has no such version; those it has: 1, 2. Received: version {wrong}" in error


class Server(clients.Client):
    """A client of a server whose model has two classes, the first of which is the finding."""

    def __init__(self, *_):
        pass

    def _ask(self, batch):
        bright = [decoding.decode(data).image.mean() / 255 for data in batch]
        return np.array([[one, 1 - one] for one in bright], np.float32)

    def close(self):
        pass


def test_of_a_server_the_finding_must_be_named(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(clients, "connect", Server)
    asked = [folder, "--server", "http://localhost:1", "--csv", tmp_path / "answers.csv"]
    code, _, error = predict(capsys, *asked)
    assert code == 0 and list(pd.read_csv(tmp_path / "answers.csv")) == ["file", "class 0", "class 1"]
    assert error.startswith("no verdict: A server does not say which of its classes is the finding")
    code, out, error = predict(capsys, *asked, "--overlays", tmp_path / "heat")
    assert (code, out, error.count("\n")) == (2, "", 1) and not (tmp_path / "heat").exists()
    code, _, error = predict(capsys, *asked, "--finding", 0, "--overlays", tmp_path / "heat")
    table = pd.read_csv(tmp_path / "answers.csv")
    assert code == 0 and list(table) == ["file", "probability", "threshold", "verdict"]
    bright = [decoding.decode(Path(file).read_bytes()).image.mean() / 255 for file in table["file"]]
    np.testing.assert_allclose(table["probability"], bright, rtol=1e-5)
    assert (
        error == "threshold 0.5, as servers do not tell their model's (--threshold); not for clinical use\n"
    )
    assert "Occlusion: by how much" in (tmp_path / "heat" / "answers.html").read_text()


def test_overlays_are_by_grad_cam_unless_told_otherwise(capsys, folder, model, tmp_path):
    pages = {}
    for number, explain in enumerate([(), ("--explain", "gradcam"), ("--explain", "occlusion")]):
        out = tmp_path / str(number)
        code, said, _ = predict(capsys, folder, "--model", model, "--overlays", out, *explain)
        assert code == 0 and said.endswith(
            f"wrote 4 overlays, contact-sheet.png and {out / 'answers.html'}\n"
        )
        assert [path.name for path in sorted(out.glob("0*"))] == [
            f"000{k}-{n}.png" for k, n in enumerate("0213")
        ]
        pages[number] = (out / "answers.html").read_text()
    assert pages[0] == pages[1] != pages[2]
    assert "Grad-CAM: where" in pages[0] and "Occlusion: by how much" in pages[2]
    assert "chosen for a test" in pages[0] and pages[0].count("<figure ") == 4


def test_heat_is_that_of_the_finding_whichever_class_it_is(model, folder):
    contents = (folder / "a" / "0.png").read_bytes()
    network, saved, classifier = models.load(model), as_saved(model / "1"), Classifier(model)
    hottest = []
    for number in (0, 1):
        image, heat = gradcam_effect(network, classifier, contents, number)
        assert image.shape == (32, 32, 1)
        expected = gradcam(saved, image[None] / np.float32(255), finding=number)[0]
        expected = expected * classifier.predict([contents])[0, number]
        np.testing.assert_allclose(heat, expected, atol=1e-6)
        hottest.append(heat.max())
    assert max(hottest) > 0.1 and abs(hottest[0] - hottest[1]) > 0.01, "one class's heat is not the other's"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threshold", "1.5"], "--threshold must be from 0 to 1. Received: 1.5"),
        (["--explain", "occlusion"], "--explain goes with --overlays. Received: --explain occlusion alone"),
        (["--finding", "1"], "says itself that its finding is class 0: leave out --finding. Received: 1"),
        (["--explain", "gradcamm"], "Did you mean gradcam? Received: 'gradcamm'"),
    ],
)
def test_what_does_not_go_together_is_refused(capsys, folder, model, options, words):
    try:
        code, out, error = predict(capsys, folder, "--model", model, *options)
    except SystemExit as stop:
        code, (out, error) = stop.code, capsys.readouterr()
    assert (code, out, error.count("\n")) == (2, "", 1) and words in error


@pytest.mark.parametrize("said", [0.3, None, {}, {"value": "much"}, {"value": 2}, {"value": float("nan")}])
def test_a_threshold_that_is_no_probability_is_refused(said):
    with pytest.raises(ModelError, match=r"^net has a threshold that is no probability: .* Received: "):
        threshold_of({"threshold": said}, "net")


def test_a_threshold_comes_with_how_it_was_chosen():
    assert threshold_of({"threshold": {"value": 0, "chosen": "fixed beforehand"}}, "net") == (
        0,
        "fixed beforehand",
    )
    assert threshold_of({}, "net") == (0.5, None)


def test_images_that_were_asked_about_are_not_asked_about_again(capsys, tmp_path, folder, model, monkeypatch):
    monkeypatch.setattr(predicting, "_AT_A_TIME", 2)
    assert predict(capsys, folder, "--model", model, "--csv", tmp_path / "whole.csv")[0] == 0
    answer, asked = Classifier.predict, []

    def failing(classifier, images, names):
        asked.append(len(images))
        if len(asked) == 2:
            raise ModelError("cut off")
        return answer(classifier, images, names)

    monkeypatch.setattr(Classifier, "predict", failing)
    command = [folder, "--model", model, "--csv", tmp_path / "cut.csv"]
    assert predict(capsys, *command)[0] == 2 and not (tmp_path / "cut.csv").exists()
    first = min(path for path in Path(folder).rglob("*") if path.is_file())
    changed = first.stat().st_mtime_ns
    os.utime(first, ns=(changed, changed + 1))  # as an image that was exchanged meanwhile
    code, _, error = predict(capsys, *command, "--resume")
    assert code == 2 and "other images" in error
    os.utime(first, ns=(changed, changed))
    assert predict(capsys, *command, "--resume")[0] == 0 and asked == [2, 2, 2]
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"whole.csv", "cut.csv"}
    code, _, error = predict(capsys, folder, "--model", model, "--resume")
    assert code == 2 and "--csv FILE" in error


def test_the_verdict_of_a_sharp_model_is_that_of_evaluate():
    """Near 1 float32 knows no more than 6e-8; what is left for the other class does."""
    logits = np.array([18.0, 22.0, 26.0])
    answers = np.stack([expit(-logits), expit(logits)], 1).astype("float32")
    table = predicting_command._table(["a", "b", "c"], answers, ["healthy", "finding"], 1, expit(24.0))
    assert table["verdict"].tolist() == ["no finding", "no finding", "finding"]
    assert table["probability"].is_unique
    np.testing.assert_allclose(1 - table["probability"], expit(-logits), rtol=1e-4)
