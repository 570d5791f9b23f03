import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from keras_fracture import cli, evaluation, models, papers
from keras_fracture.errors import FractureError, ModelError, WeightsError
from keras_fracture.evaluation.predicting import probabilities
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.runs import Run
from keras_fracture.experiment.splits import Split, load_splits
from keras_fracture.interop.convert import load_keras_weights
from keras_fracture.papers import classifier, tables
from keras_fracture.papers.classifier import PolicyResult
from keras_fracture.papers.garcia_inception import experiment as garcia
from keras_fracture.papers.garcia_inception.config import Config as GarciaInception
from keras_fracture.papers.lisbon_resnet import experiment as lisbon_resnet
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonResNet
from keras_fracture.report import baselines
from keras_fracture.report.markdown import decimal
from keras_fracture.serving import releasing
from tests.drawings import assert_drawn, assert_figures


@pytest.fixture(scope="module")
def lisbon(smoke_run):
    """A whole run of ResNet-18."""
    return smoke_run("lisbon_resnet")


def test_the_report_shows_the_papers_numbers_beside_ours(lisbon):
    text = (lisbon[0] / "report.md").read_text()
    assert "| 72 (validation), 0.84 |" in text  # Table 1, ResNet-18
    assert "**0 of" in text, "the grouped split must not leak"
    for words in (
        "sensitivity",
        "sensitivity at 90 % specificity",
        "expected calibration error",
        "AUC",
        "F1",
    ):
        assert f"\n| {words} | " in text
    for figure in (
        "accuracy",
        "loss",
        "preprocessing",
        "grouped/resnet18/confusion",
        "grouped/resnet18/precision-recall",
        "grouped/resnet18/heat",
    ):
        assert f"({figure}.png)" in text
        assert_drawn(lisbon[0] / f"{figure}.png")
    assert_figures(lisbon[0])


def test_the_report_begins_with_what_needs_no_network(lisbon):
    row = json.loads((lisbon[0] / "metrics.json").read_text())["runs"][0]
    text = (lisbon[0] / "report.md").read_text()
    verdict = baselines.verdict(row["baselines"])
    assert text.index(f"grouped split, resnet18: {verdict}") < text.index("## grouped split")
    assert list(row["baselines"]["scores"]) == ["majority", "table", "file", "hog", "all"]
    ours = np.load(lisbon[0] / "grouped" / "resnet18" / "run-0" / "probabilities.npz")["test"]
    config = LisbonResNet(data="phantom", image_size=32, seeds=1)
    sets = load_splits(config, lisbon_resnet.preprocess(config), "grouped")
    labels = sets["test"].labels
    named = row["baselines"]["strongest"]
    expected = roc_auc_score(labels, ours) - row["baselines"]["scores"][named["name"]]["auc"]["value"]
    assert named["auc_difference"]["value"] == pytest.approx(expected)
    assert 0 <= row["metrics"]["auc_within_body_part"]["value"] <= 1
    for name, score in row["body_parts"].items():
        chosen = sets["test"].table["body_part"].to_numpy() == name
        assert score["value"] == pytest.approx(roc_auc_score(labels[chosen], ours[chosen]))
    table = tables.generate(lisbon[1], "lisbon_resnet")
    assert f" {name} {score['value']:.2f} | {100 * row['pointing']['value']:.0f} (" in table
    assert f") `{named['name']}`: " in table


def test_scores_are_those_of_the_stored_probabilities(lisbon):
    run = json.loads((lisbon[0] / "metrics.json").read_text())["runs"][0]
    probabilities = np.load(lisbon[0] / "grouped" / "resnet18" / "run-0" / "probabilities.npz")
    config = LisbonResNet(data="phantom", image_size=32)
    loaded = load_splits(config, lisbon_resnet.preprocess(config), "grouped")
    positive = probabilities["test"] >= run["threshold"]
    assert run["metrics"]["accuracy"]["value"] == pytest.approx((positive == loaded["test"].labels).mean())
    chosen = min(one for one in probabilities["validation"] if one >= run["threshold"])
    assert 0 < chosen - run["threshold"] <= 1.001e-4 and run["thresholds"] == [run["threshold"]]
    for score in run["metrics"].values():
        assert score["low"] <= score["value"] <= score["high"]


def test_predictions_are_written_as_score_reads_them(lisbon, capsys):
    path = lisbon[0] / "grouped" / "resnet18" / "predictions.csv"
    row = json.loads((lisbon[0] / "metrics.json").read_text())["runs"][0]
    assert cli.main(["score", str(path), "--data", "phantom", "--threshold", str(row["threshold"])]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert f"accuracy                         {decimal(row['metrics']['accuracy'])}" in printed
    assert f"AUC                              {decimal(row['metrics']['auc'])}" in printed
    recorded = json.loads((lisbon[1] / "lisbon_resnet.json").read_text())["runs"][0]
    assert f"split {recorded['split_digest']}" in printed


@pytest.mark.slow
def test_a_run_on_a_split_file_is_that_on_its_policy(lisbon, smoke_run, tmp_path):
    path = tmp_path / "splits.csv"
    assert cli.main(["data", "split", "phantom", "--out", str(path)]) == 0
    folder, results = smoke_run("lisbon_resnet", splits=str(path))
    (row,) = json.loads((results / "lisbon_resnet.json").read_text())["runs"]
    (before,) = json.loads((lisbon[1] / "lisbon_resnet.json").read_text())["runs"]
    assert row["metrics"] == before["metrics"] and row["split_digest"] == before["split_digest"]
    assert row["split_policy"] == "file" and (folder / "file" / "resnet18" / "predictions.csv").is_file()


def test_a_paper_that_deals_out_itself_takes_no_split_file():
    with pytest.raises(FractureError, match="deals images out by itself"):
        configure(papers.get("gupta_unit").config.Config, "smoke", splits="splits.csv")


def test_each_seed_has_the_threshold_that_its_own_validation_chose(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    sharp, flat = labels * 0.2 + 0.7, labels * 0.05 + 0.1  # each is perfect at a threshold of its own

    def train(config, run, method, name, number, sets, folder):
        row = (sharp, flat)[number] + rng.random(40) * 0.01
        both = {"validation": row, "test": row}
        return {"model": None, "history": None, "probabilities": both, "exported": both}

    monkeypatch.setattr(classifier, "train_model", train)
    config = LisbonResNet(seeds=2)
    table = pd.DataFrame({"source": [str(number) for number in range(40)]})
    sets = dict.fromkeys(("validation", "test"), Split(None, labels, table))
    train_seeds = classifier.train_seeds
    result = PolicyResult(sets, {"net": train_seeds(config, None, None, "net", sets, Path("none"))}, None)
    assert result.trained["net"].thresholds[0] > 0.89 and result.trained["net"].thresholds[1] < 0.17
    scores = evaluation.scores(result.predictions("net"), ["accuracy"], 5)
    assert scores["accuracy"]["value"] == 1.0, "at the threshold of the mean one of the two is a coin"
    fixed = dataclasses.replace(config, threshold=0.5)
    assert train_seeds(fixed, None, None, "net", sets, Path("none")).thresholds == (0.5, 0.5)


def test_the_exported_model_says_what_the_run_says(lisbon):
    folder = lisbon[0] / "grouped" / "resnet18" / "run-0"
    settings = LisbonResNet(data="phantom", image_size=32)
    test = load_splits(settings, lisbon_resnet.preprocess(settings), "grouped")["test"]
    serve = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures["serving_default"]
    images = np.repeat(test.images[:5], 3, axis=3).astype("float32") / 255
    served = serve(images=tf.constant(images))["probabilities"].numpy()[:, 1]
    np.testing.assert_allclose(served, np.load(folder / "probabilities.npz")["test"][:5], atol=1e-5)


def test_a_run_is_released_with_all_it_knows(lisbon, tmp_path, capsys):
    folder, _ = lisbon
    assert cli.main(["export", str(folder), "--which", "grouped", "--to", str(tmp_path / "net")]) == 0
    facts = json.loads((tmp_path / "net" / "1" / "metadata.json").read_text())
    row = json.loads((folder / "metrics.json").read_text())["runs"][0]
    assert facts["threshold"] == {
        "value": row["threshold"],
        "chosen": "chosen on validation for the highest balanced accuracy",
    }
    own = json.loads((folder / row["saved_model"] / "1" / "metadata.json").read_text())
    assert own["threshold"] == facts["threshold"]  # as `predict` takes it
    assert facts["classes"] == ["healthy", "finding"]
    assert facts["metrics"]["auc"]["value"] == row["metrics"]["auc"]["value"]
    assert "0 test images show an X-ray " in facts["trained_on"]
    card = (tmp_path / "net" / "1" / "model_card.md").read_text()
    assert f"{row['metrics']['auc']['value']:.3f}" in card and f"{row['threshold']:.4f}" in card
    before = models.load(folder / "grouped" / "resnet18" / "run-0" / "saved_model")
    after = models.load(tmp_path / "net")
    images = np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    np.testing.assert_array_equal(before(images), after(images))
    capsys.readouterr()
    assert cli.main(["export", str(folder), "--which", "paper", "--to", str(tmp_path / "other")]) == 2
    assert "grouped/resnet18/paper" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("odd", "low", "kept"),
    [("none", 0.1, True), ("version", 0.1, False), ("date", 0.1, False), ("none", 0.3, False)],
)
def test_the_interval_of_a_calibration_error_of_an_earlier_version_is_left_out(
    lisbon, tmp_path, odd, low, kept
):
    """It held percentiles, of which the value was often none."""
    for name in ("metrics.json", "config.json"):
        said = json.loads((lisbon[0] / name).read_text())
        if name == "metrics.json":
            score = {"value": 0.2, "low": low, "high": 0.5}
            for row in said["runs"]:
                row.get("saved_model_metrics", row["metrics"])["ece"] = score
        else:
            said["date"] = "2026-11-30" if odd == "date" else "2026-12-01"
        if name == "config.json" and odd == "version":
            del said["versions"]["keras_fracture"]
        (tmp_path / name).write_text(json.dumps(said))
    metrics = releasing.model_of_run(tmp_path, "grouped")[1]["metrics"]
    assert metrics["ece"] == (score if kept else {"value": 0.2})
    assert "low" in metrics["auc"]


@pytest.mark.slow
def test_a_model_card_tells_of_the_model_alone(smoke_run, tmp_path):
    """The run's numbers are means over two seeds, and of predictions that average over mirror images."""
    folder, _ = smoke_run("lisbon_resnet", width=8, seeds=2, flips=True, learning_rate=1e-4)
    (row,) = json.loads((folder / "metrics.json").read_text())["runs"]
    assert cli.main(["export", str(folder), "--to", str(tmp_path / "net")]) == 0
    facts = json.loads((tmp_path / "net" / "1" / "metadata.json").read_text())
    settings = LisbonResNet(data="phantom", image_size=32)
    sets = load_splits(settings, lisbon_resnet.preprocess(settings), "grouped")
    model, labels = models.load(tmp_path / "net"), sets["test"].labels
    ours = probabilities(model, sets["test"].images)
    right = roc_auc_score(labels, ours)
    assert facts["metrics"]["auc"]["value"] == pytest.approx(right, abs=1e-6)
    assert row["metrics"]["auc"]["value"] != pytest.approx(right, abs=1e-4)
    assert np.mean(row["by_seed"]["auc"]) == pytest.approx(row["metrics"]["auc"]["value"])
    assert (folder / "grouped" / "resnet18" / "seeds.png").is_file()
    checked = sets["validation"].labels, probabilities(model, sets["validation"].images)
    assert facts["threshold"]["value"] == pytest.approx(evaluation.best_threshold(*checked), abs=1e-6)
    assert models.load(folder / row["saved_model"]).threshold == row["threshold"]
    assert facts["metrics"]["validation_auc"]["value"] == pytest.approx(roc_auc_score(*checked), abs=1e-6)
    inside = evaluation.within(
        evaluation.Predictions(labels, sets["test"].sources, ours[None], 0.5), sets["test"].table["body_part"]
    )
    assert facts["metrics"]["auc_within_body_part"]["value"] == pytest.approx(inside["value"], abs=1e-6)
    assert facts["limits"].startswith("Metrics are this model's.")


def test_groups_add_up_to_the_test_set_worst_first(lisbon):
    groups = pd.read_csv(lisbon[0] / "grouped" / "resnet18" / "groups.csv")
    counts = json.loads((lisbon[0] / "metrics.json").read_text())["splits"]["grouped"]["test"]
    for _, rows in groups.groupby("column"):
        assert rows["images"].sum() == counts["images"]
        assert rows["auc"].dropna().is_monotonic_increasing and not rows["auc"].isna().iloc[0]


def test_captions_are_those_of_the_runs_numbers(lisbon):
    row = json.loads((lisbon[0] / "metrics.json").read_text())["runs"][0]
    text, scores = (lisbon[0] / "report.md").read_text(), row["metrics"]
    assert "hold them against ours at as many, such as balanced accuracy" in text
    found, alarms = scores["recall"]["value"], 1 - scores["specificity"]["value"]
    assert f"{100 * found:.1f} % of the findings are found and {100 * alarms:.1f} % of the healthy" in text
    assert (
        f"threshold {row['threshold']:.3g} (chosen on validation for the highest balanced accuracy)" in text
    )
    assert f"average precision is {decimal(scores['average_precision'])}. Where" in text
    recorded = {path.name for path in (lisbon[1] / "lisbon_resnet").rglob("*.png")}
    assert recorded == {"roc.png", "precision-recall.png"}, "plots alone, no X-rays"


def test_results_make_a_table_for_the_readme(lisbon):
    table = tables.generate(lisbon[1], "lisbon_resnet")
    assert "| 1 | resnet18, paper | 32, 1, 1 | phantom, grouped | 72 (validation), 0.84 |" in table
    (run,) = json.loads((lisbon[0] / "metrics.json").read_text())["runs"]
    assert " | test AUC | AUC less that of the strongest trees | test accuracy % |\n" in table
    assert f"| {decimal(run['metrics']['auc'])} | {baselines.cells(run['baselines'])[0]} | " in table


def test_a_resumed_run_trains_nothing_again(lisbon, capsys):
    folder = lisbon[0]
    before = json.loads((folder / "metrics.json").read_text())["runs"]
    history = (folder / "grouped" / "resnet18" / "run-0" / "history.csv").read_text()
    (folder / "metrics.json").unlink()
    papers.reproduce("lisbon_resnet", "smoke", out=folder, resume=True)
    assert json.loads((folder / "metrics.json").read_text())["runs"] == before
    assert (folder / "grouped" / "resnet18" / "run-0" / "history.csv").read_text() == history


def test_garcia_doubles_and_draws_validation_after_that(few_phantoms, tmp_path):
    papers.reproduce("garcia_inception", "smoke", out=tmp_path / "run", policies=("paper",))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    counts = metrics["splits"]["paper"]
    settings = GarciaInception(data="phantom", image_size=32)
    plain = load_splits(settings, garcia.preprocess(settings), "paper")
    both = 2 * (len(plain["train"].labels) + len(plain["validation"].labels))
    assert counts["train"]["with_mirrored"] == both - both // 10
    assert sum(counts[split]["with_mirrored"] for split in ("train", "validation")) == both
    drawn = garcia.prepare_splits(settings, plain, "paper")
    for split in ("train", "validation"):  # each image once
        assert counts[split]["images"] == drawn[split].table["filename"].nunique()
    # Nearly every mirror image has its image on the other side.
    assert counts["validation"]["images_of_training_sources"] > 0.8 * counts["validation"]["images"]
    config = json.loads((tmp_path / "run/paper/inception_net/run-0/saved_model/1/metadata.json").read_text())
    trained = garcia.prepare_splits(settings, plain, "paper")["train"].images / 255.0
    assert config["config"]["mean"] == pytest.approx(trained.mean(), abs=1e-6)
    assert config["config"]["std"] == pytest.approx(trained.std(), abs=1e-6)


def test_garcias_published_code_has_two_blocks_and_mirrors_nothing(few_phantoms):
    published = configure(GarciaInception, "smoke", variant="published_code", image_size=32)
    assert (published.epochs, published.threshold) == (10, 0.5)
    assert configure(GarciaInception, "paper", variant="published_code").image_size == 112
    plain = load_splits(published, garcia.preprocess(published), "paper")
    sets = garcia.prepare_splits(published, plain, "paper")
    images = len(plain["train"].labels) + len(plain["validation"].labels)
    assert len(sets["train"].labels) + len(sets["validation"].labels) == images
    assert garcia.prepare_splits(published, plain, "grouped")["train"] is plain["train"]
    model = garcia.build_model(published, "inception_net_published", sets["train"])
    assert sum(np.size(one) for one in model.trainable_weights) == 472_258, (
        "what PyTorch counts in the author's class"
    )
    with pytest.raises(FractureError, match="models of garcia_inception are inception_net,"):
        configure(GarciaInception, "smoke", models=("inception",))


def test_the_inception_net_normalises_by_mean_and_std():
    small = {"image_size": 32, "stem_width": 4, "stages": ((4, True),), "dropout": 0.0}
    keras.utils.set_random_seed(0)
    plain = models.create("inception_net", **small)
    normalising = models.create("inception_net", mean=0.2, std=0.4, **small)
    normalising.set_weights(plain.get_weights())
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype="float32")
    np.testing.assert_allclose(normalising(images), plain((images - 0.2) / 0.4), rtol=1e-5, atol=1e-6)
    with pytest.raises(ModelError, match="std must be above 0"):
        models.create("inception_net", std=0)


def test_pretrained_weights_come_in_and_a_head_of_another_width_stays(tmp_path):
    small = {"image_size": 32, "width": 4, "depths": (1, 1, 1, 1)}
    source = models.create("resnet18", num_classes=5, **small)
    source.save_weights(tmp_path / "five.weights.h5")
    model = models.create("resnet18", num_classes=2, **small)
    head = model.fc.get_weights()
    load_keras_weights(model, tmp_path / "five.weights.h5", any_head=True)
    np.testing.assert_array_equal(model.conv1.get_weights()[0], source.conv1.get_weights()[0])
    np.testing.assert_array_equal(model.layer4.get_weights()[0], source.layer4.get_weights()[0])
    np.testing.assert_array_equal(model.fc.get_weights()[0], head[0])


def test_pretrained_weights_of_another_architecture_change_nothing(tmp_path):
    models.create("resnet18", image_size=32, width=8, depths=(1, 1, 1, 1)).save_weights(
        tmp_path / "a.weights.h5"
    )
    model = models.create("resnet18", image_size=32, width=4, depths=(1, 1, 1, 1))
    before = model.get_weights()
    for any_head in (False, True):
        with pytest.raises(WeightsError, match=r"Does not fit ResNet: .* Received: \(8,\)"):
            load_keras_weights(model, tmp_path / "a.weights.h5", any_head)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    with pytest.raises(WeightsError, match=r"Expected an existing .weights.h5 file"):
        load_keras_weights(model, tmp_path / "none.weights.h5")


def test_a_paper_starts_from_pretrained_weights(few_phantoms, tmp_path):
    """With hardly any learning rate, what was put in comes out."""
    source = models.create("resnet18", num_classes=1000, image_size=32)
    source.save_weights(tmp_path / "a.weights.h5")
    path = str(tmp_path / "a.weights.h5")
    still = configure(LisbonResNet, "smoke", pretrained=path, learning_rate=1e-30)
    sets = load_splits(still, lisbon_resnet.preprocess(still), "grouped")
    folder = tmp_path / "grouped" / "resnet18" / "run-0"
    trained = classifier.train_model(still, Run(tmp_path), lisbon_resnet.METHOD, "resnet18", 0, sets, folder)[
        "model"
    ]
    np.testing.assert_array_equal(trained.conv1.get_weights()[0], source.conv1.get_weights()[0])


def test_variants_and_depths_by_name(capsys):
    tuned = configure(LisbonResNet, "paper", variant="tuned", epochs=3)
    assert (tuned.augment, tuned.body_parts, tuned.epochs) == (True, True, 3)
    scratch, imagenet = (configure(LisbonResNet, "quick", variant=one) for one in ("scratch", "imagenet"))
    assert (scratch.pretrained, imagenet.pretrained) == (None, "imagenet")
    with pytest.raises(FractureError, match="No such variant"):
        configure(LisbonResNet, "paper", variant="best")
    assert cli.main(["reproduce", "lisbon_resnet", "--depth", "19"]) == 2
    assert "lisbon_resnet has depths (18, 34, 50, 101, 152)" in capsys.readouterr().err


def test_body_parts_are_learnt_beside_findings(few_phantoms, tmp_path):
    tuned = configure(
        LisbonResNet, "smoke", variant="tuned", epochs=3, augment=False, image_size=32, learning_rate=0.005
    )
    sets = load_splits(tuned, lisbon_resnet.preprocess(tuned), "grouped")
    targets = classifier.targets(tuned, sets["test"], sets)
    assert targets.shape == (len(sets["test"].labels), 2 + 4) and (targets.sum(axis=1) == 2).all()
    np.testing.assert_array_equal(targets[:, :2], np.eye(2)[sets["test"].labels])
    parts = np.array(["femur", "forearm", "humerus", "tibia"])[targets[:, 2:].argmax(axis=1)]
    assert parts.tolist() == sets["test"].table["body_part"].tolist()
    folder = tmp_path / "grouped" / "resnet18" / "run-0"
    trained = classifier.train_model(tuned, Run(tmp_path), lisbon_resnet.METHOD, "resnet18", 0, sets, folder)
    assert trained["model"].num_classes == 2
    assert trained["probabilities"]["test"].shape == sets["test"].labels.shape
    assert {"accuracy", "val_accuracy", "loss", "val_loss"} <= set(trained["history"])
    losses = trained["history"]["body_part_loss"]
    assert losses.iloc[2] < losses.iloc[0]
    unknown = {
        name: Split(split.images, split.labels, split.table.assign(body_part="unknown"))
        for name, split in sets.items()
    }
    once, method = dataclasses.replace(tuned, epochs=1), lisbon_resnet.METHOD
    alone = classifier.train_model(once, Run(tmp_path), method, "resnet18", 0, unknown, tmp_path / "one")
    assert "loss" in alone["history"] and "body_part_loss" not in alone["history"], "one part teaches nothing"
    with pytest.raises(FractureError, match="does not go with body_parts"):
        LisbonResNet(balanced=True, body_parts=True)
