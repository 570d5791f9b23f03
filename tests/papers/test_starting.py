"""Runs whose networks start from a trained model, or from a file of weights."""

import dataclasses
import json

import numpy as np
import pytest

from keras_fracture import cli, models, serving
from keras_fracture.errors import ModelError, WeightsError
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.runs import Run
from keras_fracture.experiment.splits import load_splits, seen_by_training
from keras_fracture.inference import scoring
from keras_fracture.papers import classifier
from keras_fracture.papers.garcia_inception import experiment as garcia
from keras_fracture.papers.garcia_inception.config import Config as Garcia
from keras_fracture.papers.lisbon_resnet import experiment as lisbon_resnet
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonResNet
from keras_fracture.papers.teaching import check_pretrained, check_unseen, load_pretrained, seen_before
from keras_fracture.serving.releasing import model_of_run

SHAPE = {"num_classes": 2, "width": 8, "image_size": 32}
CLASSES = {"classes": ["healthy", "finding"], "finding": "finding"}


def settings(**others):
    given = {"data": "phantom", "image_size": 32, "width": 8, "epochs": 1, "learning_rate": 1e-30} | others
    return LisbonResNet(**given)


PREPROCESS = lisbon_resnet.preprocess(settings())


@pytest.fixture(scope="module")
def sets(few_phantoms):
    return load_splits(settings(), PREPROCESS, "grouped")


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    """A function of what a model says it has seen, and of models: the path of a SavedModel."""

    def export(seen, *members, **preprocess):
        folder = tmp_path_factory.mktemp("models") / "trained"
        serving.export(
            models.Ensemble(members) if len(members) > 1 else members[0], folder,
            preprocess=dataclasses.replace(PREPROCESS, channels=3, **preprocess), metadata=CLASSES | seen,
        )  # fmt: skip
        return str(folder)

    return export


def train(config, sets, number, folder):
    return classifier.train_model(config, Run(folder), lisbon_resnet.METHOD, "resnet18", number, sets, folder)


def test_a_run_starts_from_the_weights_and_normalisation_of_a_trained_model(sets, trained, tmp_path, caplog):
    """With hardly any learning rate, what was put in comes out: of an ensemble another member a seed."""
    members = [models.create("resnet18", mean=0.2, std=0.4, **SHAPE) for _ in range(2)]
    path = trained(seen_by_training("fracatlas", sets), *members)
    config = settings(pretrained=path)
    for number, member in enumerate(members):
        model = train(config, sets, number, tmp_path / f"run-{number}")["model"]
        for layer in ("conv1", "layer4", "fc"):
            ours, theirs = (getattr(one, layer).get_weights()[0] for one in (model, member))
            np.testing.assert_array_equal(ours, theirs)
        assert (model.mean, model.std) == (0.2, 0.4)
    assert f"pretrained model {path} has learnt from fracatlas; make sure" in caplog.text


def test_the_inception_net_normalises_as_its_start_does(sets, trained):
    config = configure(Garcia, "smoke", data="phantom", image_size=32)
    own = garcia.build_model(config, "inception_net", sets["train"])
    assert own.mean == pytest.approx(sets["train"].images.mean() / 255, abs=1e-6)
    start = models.create("inception_net", **(own.get_config() | {"mean": 0.2, "std": 0.4}))
    config = configure(Garcia, "smoke", data="phantom", image_size=32, pretrained=trained({}, start))
    model = garcia.build_model(config, "inception_net", sets["train"])
    assert (model.mean, model.std) == (0.2, 0.4)


@pytest.mark.parametrize("name", ["resnet18", "inception_net", "efficientnet_lite0"])
def test_a_head_whose_first_class_is_the_finding_is_turned_round(trained, name):
    shape = {"num_classes": 2, "image_size": 32}
    shape |= {"inception_net": {"stem_width": 4, "stages": ((4, True),)}, "resnet18": {"width": 8}}.get(
        name, {}
    )
    model, started = (models.create(name, **shape) for _ in range(2))
    path = trained({"classes": ["fractured", "healthy"], "finding": "fractured"}, model)
    load_pretrained(settings(pretrained=path), started, name)
    images = np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    np.testing.assert_allclose(started(images), np.asarray(model(images))[:, ::-1], atol=1e-5)


def test_a_model_that_may_know_the_test_is_refused(sets, trained, caplog):
    model = models.create("resnet18", **SHAPE)
    same = settings(pretrained=trained(seen_by_training("phantom", sets), model))
    check_pretrained(same, PREPROCESS, sets)
    assert not caplog.messages
    with pytest.raises(
        ModelError, match=r"^The pretrained model .* must have learnt from this run's training"
    ):
        check_pretrained(same, PREPROCESS, sets | {"validation": sets["test"]})
    silent = settings(pretrained=trained({}, model))
    with pytest.raises(ModelError, match=r"^The pretrained model .* does not say which X-rays it has learnt"):
        check_pretrained(silent, PREPROCESS, sets)


def test_what_a_model_saw_otherwise_is_told(sets, trained, caplog):
    model = models.create("resnet18", **SHAPE)
    path = trained(seen_by_training("phantom", sets), model, clahe=None, size=32)
    check_pretrained(settings(pretrained=path), PREPROCESS, sets)
    assert caplog.messages == [
        f"pretrained model {path} has seen images with clahe None, this run's have (2.0, 8)"
    ]


@pytest.mark.parametrize(("classes", "told"), [(2, True), (1000, False)])
def test_weights_of_unknown_origin_are_told(sets, tmp_path, caplog, classes, told):
    path = tmp_path / "start.weights.h5"
    models.create("resnet18", **SHAPE | {"num_classes": classes}).save_weights(path)
    check_pretrained(settings(pretrained=str(path)), PREPROCESS, sets)
    assert ("do not say what they have learnt from; make sure" in caplog.text) == told


def test_weights_that_one_of_the_models_cannot_start_from_are_refused_before_any_training(
    few_phantoms, tmp_path
):
    path = tmp_path / "start.weights.h5"
    models.create("resnet18", **SHAPE).save_weights(path)
    config = settings(pretrained=str(path), models=("resnet18", "resnet34"))
    with pytest.raises(WeightsError, match="Does not fit ResNet"):
        classifier.run(config, Run(tmp_path / "run"), lisbon_resnet.METHOD)
    assert not (tmp_path / "run").exists()


def test_a_whole_run_says_what_it_started_from_and_its_model_what_that_had_seen(smoke_run, sets, trained):
    before = seen_by_training("fracatlas", sets)
    path = trained(before, models.create("resnet18", **SHAPE))
    folder, results = smoke_run("lisbon_resnet", width=8, pretrained=path)
    (row,) = json.loads((results / "lisbon_resnet.json").read_text())["runs"]
    assert row["other_settings"]["pretrained"] == path
    assert f"pretrained {path}" in (folder / "report.md").read_text()
    assert model_of_run(folder, None)[1]["trained_on"].endswith(f"seed 0. Started from `{path}`.")
    assert set(json.loads((folder / "config.json").read_text())["fingerprints"]["weights"]) == {"pretrained"}
    model = folder / row["saved_model"]
    said = json.loads((model / "1" / "metadata.json").read_text())["seen_sources"]
    assert said == seen_by_training("phantom", sets)["seen_sources"] | {"earlier": [before["seen_sources"]]}
    shown = {split: sets[split].table[["source", "filename"]] for split in ("train", "validation", "test")}
    for data in ("phantom", "fracatlas"):
        seen = {split: scoring.seen(model, data, table) for split, table in shown.items()}
        assert seen["train"].all() and seen["validation"].all() and not seen["test"].any()
    assert not scoring.seen(model, "btxrd", shown["train"]).any()
    with pytest.raises(ModelError, match="not from others of fracatlas"):  # two steps back
        check_unseen("teacher", model, "fracatlas", sets | {"validation": sets["test"]})


def test_a_model_tells_what_was_before_it_once_and_of_what_nobody_knows(sets, trained, tmp_path, caplog):
    own, elsewhere = (seen_by_training(name, sets)["seen_sources"] for name in ("phantom", "btxrd"))
    model = models.create("resnet18", **SHAPE)
    both = {"seen_sources": own | {"earlier": [elsewhere], "unknown": "start.pth"}}
    paths = [trained(seen, model) for seen in (both, {"seen_sources": elsewhere})]
    before = seen_before(settings(pretrained=paths[0], teacher=paths[1]))
    assert seen_by_training("phantom", sets, **before) == both
    scoring.seen(paths[0], "phantom", sets["test"].table[["source", "filename"]])
    check_unseen("teacher", paths[0], "phantom", sets)
    assert [text.split("; ")[0].split(": ")[-1] for text in caplog.messages] == [
        "start.pth",
        f"teacher {paths[0]} started from start.pth",
        f"teacher {paths[0]} has learnt from btxrd",
    ]
    model.save_weights(tmp_path / "own.weights.h5")
    unknown = seen_before(settings(pretrained=str(tmp_path / "own.weights.h5")))
    assert unknown == {"earlier": [], "unknown": "own.weights.h5"}
    assert (
        seen_before(settings())
        == seen_before(settings(pretrained="imagenet"))
        == {
            "earlier": [],
            "unknown": None,
        }
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("no_such_model", "There is no such model"),
        ("compact_cnn", "Does not fit ResNet"),
        ("missing.weights.h5", "pretrained must name a file of weights. Received: missing.weights.h5"),
    ],
)
def test_what_cannot_be_started_from_is_refused(few_phantoms, tmp_path, capsys, given, words):
    out = tmp_path / "run"
    said = ["reproduce", "lisbon_resnet", "--profile", "smoke", "--pretrained", given, "--out", str(out)]
    assert cli.main(said) == 2
    assert words in capsys.readouterr().err and not list(out.rglob("*.h5"))
