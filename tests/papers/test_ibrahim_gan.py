import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from keras_fracture import papers
from keras_fracture.data.datasets.phantom import layout as phantom_layout
from keras_fracture.errors import EvaluationError, FractureError, OutputError
from keras_fracture.experiment.config import configure, from_recorded
from keras_fracture.experiment.runs import run_folder
from keras_fracture.experiment.splits import Split, as_grey, load_splits
from keras_fracture.papers.ibrahim_gan import experiment, few_labels, learning_curve
from keras_fracture.papers.ibrahim_gan.config import Config
from keras_fracture.papers.ibrahim_gan.experiment import ARMS
from keras_fracture.papers.ibrahim_gan.gans import TrainedGAN, draw, drawn_from
from keras_fracture.serving import releasing
from tests.drawings import assert_drawn

TINY = {
    "gan_width": 1 / 64,
    "epochs": 2,
    "synthetic_per_class": 20,
    "batch_size": 16,
    "policies": ("grouped",),
    "sizes": (8,),
    "few_labels": (8, 12),
    "ratios": (1.0, 2.0),
    "filters": (0.01,),
}
CURVE = ("original", "classic", "synthetic", "classic + synthetic", "warm start")
FEW = ("original", "start from the discriminator", "discriminator features", "synthetic")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run on few phantoms: its folder, and the folder its numbers were recorded in."""
    patch = pytest.MonkeyPatch()
    patch.setattr(phantom_layout, "SOURCES", (48, 60))
    patch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path_factory.mktemp("cache")))
    folder, results = tmp_path_factory.mktemp("runs") / "run", tmp_path_factory.mktemp("results")
    papers.reproduce("ibrahim_gan", "smoke", out=folder, results=results, **TINY)
    yield folder, results
    patch.undo()


@pytest.fixture(scope="module")
def metrics(finished):
    return json.loads((finished[0] / "metrics.json").read_text())


def rows(metrics, study=None):
    """Metrics of a study's runs by (number of real images, arm)."""
    return {
        (run.get("real_images"), run["variant"]): run["metrics"]
        for run in metrics["runs"]
        if run.get("study") == study
    }


def test_the_report_begins_with_the_answer_and_holds_every_arm_with_the_posters_number(finished, metrics):
    text = (finished[0] / "report.md").read_text()
    before, after = text.split("## The images")
    assert "good enough to ask the question: no" in before, "a GAN of four steps draws no bones"
    assert before.count("**With ") == 2 + 2  # sizes and all, numbers of labels
    for reported in ("92", "87", "91", "93"):
        assert f"| {reported} |" in after
    assert "*synthetic*: real and synthetic images together; *classic + synthetic*" in after
    assert "all networks of the modern study get the same; the poster's do not" in after
    real = metrics["splits"]["grouped"]["train"]["images"]
    # Epochs of 40 generated, then of the real images, in blocks of 8 steps.
    steps = 2 * (8 + 8 * -(-(real // 16) // 8))
    assert f"| warm start on synthetic | {steps:,} | 93 |" in after
    assert [run["steps"] for run in metrics["runs"] if run["variant"] == "warm_start"] == [steps]
    assert "**0 of" in text, "the grouped split must not leak"
    figures = ["samples", "neighbours-poster", "neighbours-modern", "learning_curve", "few_labels", "options",
               "arms-accuracy", "arms-auc", "classifier-accuracy", "gan-losses"]  # fmt: skip
    for figure in figures:
        assert_drawn(finished[0] / f"{figure}.png")
        assert f"]({figure}.png)" in text
    assert (finished[0] / "samples-modern.gif").read_bytes().startswith(b"GIF")


def test_the_posters_arms_have_intervals_and_gains_against_the_original_arm(finished, metrics):
    arms = {arm: one for (_, arm), one in rows(metrics).items()}
    assert set(arms) == set(ARMS)
    for arm, one in arms.items():
        assert one["auc"]["low"] <= one["auc"]["value"] <= one["auc"]["high"]
        if arm != "original":
            gain = one["accuracy"]["value"] - arms["original"]["accuracy"]["value"]
            assert one["accuracy_gain"]["value"] == pytest.approx(gain, abs=1e-12)
    assert metrics["splits"]["grouped"]["test"]["images_of_training_sources"] == 0
    recorded = json.loads((finished[1] / "ibrahim_gan.json").read_text())
    assert [run["metrics"] for run in recorded["runs"]] == [run["metrics"] for run in metrics["runs"]]
    assert {"command", "date", "versions", "reported"} <= set(recorded["runs"][0])


def test_the_posters_arms_take_the_steps_that_their_images_make():
    config = configure(Config, "smoke", synthetic_per_class=100, batch_size=10, epochs=3)
    steps = {arm: experiment.steps_of(config, arm, 155) for arm in ARMS}
    # 15, 35 and 20 batches an epoch, in blocks of 8.
    assert steps == {"original": 48, "classic": 48, "synthetic": 120, "warm_start": 72 + 48}


def test_a_classifiers_model_card_tells_of_the_first_seed_alone(finished, tmp_path):
    version = releasing.release(finished[0], tmp_path / "cnn", which="grouped/compact_cnn/original")
    card = json.loads((version / "metadata.json").read_text())
    config = configure(Config, "smoke", **TINY)
    labels = load_splits(config, experiment.preprocess(config), "grouped")["test"].labels
    first, second = (
        np.load(finished[0] / "grouped" / "classifiers" / f"original-{number}.npz")["probabilities"]
        for number in range(2)
    )
    assert card["metrics"]["auc"]["value"] == pytest.approx(roc_auc_score(labels, first))
    assert roc_auc_score(labels, first) != pytest.approx(roc_auc_score(labels, second))


def test_each_size_has_every_arm_with_its_gains(metrics):
    curve = rows(metrics, "learning_curve")
    everything = metrics["splits"]["grouped"]["train"]["images"]
    options = ("classic + synthetic, 2 x", "classic + synthetic, filtered at 0.01")
    assert set(curve) == {(size, arm) for size in (8, everything) for arm in (*CURVE, *options)}
    few = rows(metrics, "few_labels")
    assert set(few) == {(size, arm) for size in (8, 12) for arm in FEW}
    for numbers, arm, over, name in (
        (curve, "classic + synthetic", "classic", "auc_gain_over_classic"),
        (curve, "synthetic", "original", "auc_gain"),
    ):
        gain = numbers[8, arm]["auc"]["value"] - numbers[8, over]["auc"]["value"]
        assert numbers[8, arm][name]["value"] == pytest.approx(gain, abs=1e-12)
    assert "equivalent_images" in curve[8, "classic"]
    assert "equivalent_images" not in curve[everything, "classic"], "beyond all images nothing is known"


def test_the_history_has_every_epoch_of_every_classifier_of_the_poster(finished):
    history = pd.read_csv(finished[0] / "history.csv")
    assert len(history) == 2 * 2 * 4  # epochs, seeds, arms
    assert history.groupby(["arm", "run"])["epoch"].max().eq(2).all()
    assert history["val_accuracy"].between(0, 1).all()


def test_synthetic_images_are_made_for_both_classes_and_differ(finished):
    made = [np.load(finished[0] / "grouped" / "gan" / f"{name}-0" / "synthetic.npz")["images"]
            for name in ("healthy", "finding")]  # fmt: skip
    assert [images.shape for images in made] == [(20, 32, 32, 1)] * 2
    assert np.abs(made[0].astype(int) - made[1]).max() > 0


@pytest.mark.slow
def test_a_run_cut_off_late_resumes_to_the_same_numbers(finished, metrics):
    folder = finished[0]
    lost = ["metrics.json", "grouped/classifiers/warm_start-1.npz", "modern/8/warmstart-1.npz",
            "few_labels/12/synthetic-1.npz"]  # fmt: skip
    for name in lost:
        (folder / name).unlink()
    papers.reproduce("ibrahim_gan", "smoke", out=folder, resume=True, **TINY)
    assert json.loads((folder / "metrics.json").read_text())["runs"] == metrics["runs"]


def test_the_gan_of_all_images_is_exported_with_what_was_measured_of_it(finished, metrics, tmp_path):
    version = releasing.release(finished[0], tmp_path / "drawn", which="grouped/dcgan_generator")
    card = json.loads((version / "metadata.json").read_text())
    measured = metrics["gans"]["the modern GAN"]
    assert {name: score["value"] for name, score in card["metrics"].items()} == {
        name: measured[name]["value"] for name in ("kid", "coverage", "recall", "near_copies")
    }
    assert card["classes"] == ["healthy", "finding"] and card["licence"].startswith("Apache-2.0")
    told = {"data": "phantom", "policy": "grouped", "splits": "train", "crop": False}
    assert card["learnt_from"] == told
    dense = finished[0] / "grouped/gan/finding-0/saved_model/1/metadata.json"
    assert json.loads(dense.read_text())["learnt_from"] == told
    largest = max(run["real_images"] for run in metrics["runs"] if run.get("study") == "learning_curve")
    weights = (finished[0] / f"modern/{largest}/gan-0/saved_model", tmp_path / "drawn")
    ours, kept = (releasing.models.load(folder).get_weights() for folder in weights)
    for one, other in zip(ours, kept, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_folder_in_use_and_other_settings_are_refused(finished, tmp_path):
    with pytest.raises(OutputError, match="holds a run already"):
        papers.reproduce("ibrahim_gan", "smoke", out=finished[0], **TINY)
    with pytest.raises(OutputError, match="other settings of synthetic"):
        papers.reproduce(
            "ibrahim_gan", "smoke", out=finished[0], resume=True, **TINY | {"synthetic_per_class": 21}
        )


def test_figures_that_show_x_rays_are_kept_of_drawn_ones_alone(finished):
    report = papers.get("ibrahim_gan").report
    (folder,) = (finished[1] / "ibrahim_gan" / "phantom").iterdir()  # of the settings of this run
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"learning_curve.png", "few_labels.png", "samples.png", "history.csv"}
    assert report.kept_figures("btxrd", ["learning_curve"]) == ["learning_curve.png"]


def test_the_tables_show_a_row_for_each_number_of_images(finished):
    report = papers.get("ibrahim_gan").report
    runs = json.loads((finished[1] / "ibrahim_gan.json").read_text())["runs"]
    table = report.table(runs)
    rows, below = table.split("\n\n")
    assert len(rows.splitlines()) == 2 + 4, "the poster's arms alone"
    assert "`warm_start` took other numbers of steps" in below
    assert table.count("| smoke, epochs 2, ") == 4
    lines = report.TABLES["ibrahim_few_labels"](runs).splitlines()
    told = [f"{count} of {count} sources, 50 % findings" for count in (8, 12)]
    assert [line.split(" | ")[1] for line in lines[2:]] == told
    assert lines[0].count("gain, points") == 3 and "| classic augmentation: AUC |" in lines[0]
    assert "| original: AUC |" in report.TABLES["ibrahim_learning_curve"](runs).splitlines()[0]
    earlier = [{name: one for name, one in run.items() if name != "real_sources"} for run in runs]
    assert "| 8 | " in report.TABLES["ibrahim_few_labels"](earlier)


def test_rows_tell_how_many_x_rays_the_real_images_show(metrics):
    told = {
        (run["study"], run["real_images"]): (run["real_sources"], run["real_findings"])
        for run in metrics["runs"]
        if "study" in run
    }
    train = metrics["splits"]["grouped"]["train"]
    assert told.pop(("learning_curve", train["images"])) == (train["sources"], train["findings"])
    assert told.pop(("learning_curve", 8))[1] == 4
    assert told == {("few_labels", 8): (8, 4), ("few_labels", 12): (12, 6)}


def test_of_few_labels_gains_are_over_classic_augmentation(finished, metrics):
    """Rows call the arm `original`, though its images are turned, moved and mirrored."""
    text = (finished[0] / "report.md").read_text()
    few = text.split("## Few labels, many images")[1].split("## ")[0]
    assert "gain over classic augmentation, points" in few and "| original |" not in few
    validation = metrics["splits"]["grouped"]["validation"]["images"]
    assert f"whole validation split ({validation:,} labels more)" in few
    assert "from these alone with classic augmentation; gains" in text


def split(sources, labels):
    """A `Split` whose images are empty."""
    table = pd.DataFrame({"source": sources, "filename": [f"{k}.png" for k in range(len(sources))]})
    return Split(np.zeros((len(labels), 1, 1, 1), np.uint8), np.asarray(labels), table)


def test_drawn_images_are_half_of_each_class_and_whole_x_rays_first():
    data = split(
        [f"{label}{source}" for label in "ab" for source in range(10) for _ in range(3)], [0] * 30 + [1] * 30
    )
    rows = draw(data, 12, seed=3)
    assert data.labels[rows].tolist() == [0] * 6 + [1] * 6
    assert len(set(data.sources[rows])) == 4, "three images of each X-ray"
    assert set(rows) <= set(draw(data, 24, seed=3)), "a larger size holds the smaller one"
    assert set(rows) != set(draw(data, 12, seed=4))
    assert drawn_from(data, [np.arange(60), rows]) == {"real_sources": 4, "real_findings": 30}
    apart = draw(data, 12, seed=3, one_a_source=True)
    assert len(set(data.sources[apart])) == 12, "somebody who labels few images takes different X-rays"


def test_of_an_x_ray_with_many_copies_no_more_than_half_a_class_is_drawn():
    data = split([f"{label}{k % 2}" for label in "ab" for k in range(80)], [0] * 80 + [1] * 80)
    sources, counts = np.unique(data.sources[draw(data, 40, seed=0)], return_counts=True)
    assert sources.tolist() == ["a0", "a1", "b0", "b1"] and counts.tolist() == [10] * 4


def test_what_cannot_be_drawn_is_said():
    data = split([f"{k // 3}" for k in range(12)], [0] * 6 + [1] * 6)
    with pytest.raises(FractureError, match="Received: 6 images of class healthy"):
        draw(data, 14, seed=0)
    with pytest.raises(FractureError, match=r"two X-rays or more. Received: a alone"):
        draw(split(["a"] * 6 + ["b", "c"] * 3, [0] * 6 + [1] * 6), 4, seed=0)
    with pytest.raises(FractureError, match=r"below all of the training split.*Received: 12 of 12"):
        learning_curve.check(configure(Config, "smoke", sizes=(12,), few_labels=(8,)), data)
    with pytest.raises(FractureError, match=r"half of each class. Received: \(7,\)"):
        configure(Config, "smoke", sizes=(7,))
    with pytest.raises(FractureError, match="filters"):
        configure(Config, "smoke", filters=("half",))
    with pytest.raises(FractureError, match="No such variant"):
        configure(Config, "smoke", variant="future")


@pytest.mark.parametrize("variant", Config.VARIANTS)
def test_too_few_sources_are_said_before_anything_is_trained(variant, monkeypatch):
    def train(*_):
        raise AssertionError("trained")

    few = split([f"{k}" for k in range(24)], [0, 1] * 12)
    monkeypatch.setattr(
        experiment, "load_splits", lambda *_: dict.fromkeys(("train", "validation", "test"), few)
    )
    monkeypatch.setattr(experiment, "train_ahead", train)
    run = SimpleNamespace(data_dir=None)
    with pytest.raises(EvaluationError, match=r"30 sources.*Received: 24 sources"):
        experiment.run(configure(Config, "smoke", variant=variant), run)


def test_a_filter_that_nothing_passes_is_said(finished):
    with pytest.raises(FractureError, match=r"passes the filter.*Received: 1 at 8 real images"):
        papers.reproduce(
            "ibrahim_gan", "smoke", out=finished[0].with_name("filtered"),
            **{name: TINY[name] for name in TINY if name not in ("gan_width", "synthetic_per_class", "epochs")}
            | {"filters": (1.0,), "variant": "modern"},
        )  # fmt: skip


def test_more_labels_than_generated_images_are_learnt_from_too(monkeypatch):
    """Of 6 labels and 4 generated images each label counts once, of 2 labels twice."""
    taught = []
    data = split([str(k) for k in range(6)], [0, 1] * 3)
    for name, value in {
        "train_network": lambda _, __, real, synthetic=None, **___: taught.append((len(real[0]), synthetic)),
        "predictor": lambda _: lambda images: np.linspace(0, 1, len(images)),
        "probabilities": lambda *_: None,
        "features": lambda _, __, images: np.arange(len(images) * 2.0).reshape(-1, 2) % 3,
        "draw": lambda train, size, *_, **__: np.arange(size),
    }.items():
        monkeypatch.setattr(few_labels, name, value)
    network = SimpleNamespace(pixel_range=(0, 1))
    gan = TrainedGAN((np.zeros((4, 1, 1, 1), np.uint8),), None, None), []
    sets = dict.fromkeys(("train", "validation", "test"), data)
    for size in (6, 2):
        few_labels._train_arm(
            configure(Config, "smoke"), network, few_labels.SYNTHETIC, size, 0, *gan, sets, {}
        )
    assert [count for count, synthetic in taught if synthetic is not None] == [6, 4]


def test_odd_halves_of_a_warm_start_are_said(caplog):
    data = split([str(k) for k in range(12)], [0, 1] * 6)
    for steps in (16, 800, 2000, 24, 8):
        config = configure(Config, "smoke", sizes=(8,), few_labels=(8,), classifier_steps=steps)
        learning_curve.check(config, data)
    assert [message.split("differ: ")[1].split(". ")[0] for message in caplog.messages] == [
        "16 on synthetic and 8 on real images",
        "8 on synthetic and 0 on real images",
    ]


def test_profiles_are_the_papers_numbers_and_overrides_win():
    paper = configure(Config, "paper", data=None, seeds=None)
    assert (paper.gan_epochs, paper.synthetic_per_class, paper.epochs, paper.gan_width, paper.gan_channels) == (
        100, 10_500, 20, 1.0, 3,
    )  # fmt: skip
    assert (paper.gan_steps, paper.seeds) == (None, 5)
    assert configure(Config, "quick").seeds == 3
    assert configure(Config, "quick", seeds=4, data="btxrd").data == "btxrd"
    assert configure(Config, "quick", variant="poster").studies == ("poster",)
    assert Config.REPORTED == {"original": 0.92, "classic": 0.87, "synthetic": 0.91, "warm_start": 0.93}
    with pytest.raises(dataclasses.FrozenInstanceError):
        paper.seeds = 1


def test_no_gan_is_trained_that_no_seed_uses():
    assert configure(Config, "paper", seeds=3).gans == 3 and configure(Config, "paper").gans == 5
    assert configure(Config, "quick").gans == 1


def test_the_modern_study_has_one_split():
    assert configure(Config, "paper", variant="modern").policies == ("grouped",)
    assert configure(Config, "paper", variant="modern", policies=("paper",)).policies == ("paper",)
    assert configure(Config, "paper").policies == ("grouped", "paper")


def test_how_long_the_modern_gans_train_is_told_with_what_ends_it():
    report = papers.get("ibrahim_gan").report
    told = [report._gan_steps(configure(Config, profile)) for profile in ("quick", "paper")]
    assert told == ["at most 3,000 steps and 300 passes over what each sees,", "6,000 steps"]


def test_a_recorded_run_of_earlier_versions_is_the_posters_study():
    known = ("data", "seed", "seeds", "precision", "policies", "gans_per_class", "gan_epochs", "gan_steps", "gan_width",
             "discriminator_width", "gan_channels", "gan_learning_rate", "gan_ema", "synthetic_per_class", "epochs",
             "batch_size", "image_size")  # fmt: skip
    settings = {name: getattr(configure(Config, "quick"), name) for name in known}
    settings = json.loads(json.dumps(settings))
    assert from_recorded(Config, settings).studies == ("poster",)


def test_what_does_not_exist_is_said(tmp_path, monkeypatch):
    with pytest.raises(FractureError, match="No such paper"):
        papers.get("nature_2030")
    with pytest.raises(FractureError, match="No such profile"):
        configure(Config, "huge")
    with pytest.raises(FractureError, match="has no setting colour"):
        configure(Config, "smoke", colour=3)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="no unfinished run"):
        run_folder("ibrahim_gan", resume=True)


def test_grey_is_the_mean_of_the_channels():
    images = np.array([[[[0, 3, 6], [10, 10, 11]]]], np.uint8)
    assert as_grey(images)[..., 0].tolist() == [[[3, 10]]]
