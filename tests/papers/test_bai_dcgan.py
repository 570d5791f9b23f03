import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_fracture import inference
from keras_fracture.errors import FractureError
from keras_fracture.evaluation.generative import BY_NEIGHBOURS
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.splits import Split, load_splits
from keras_fracture.papers import tables
from keras_fracture.papers.bai_dcgan import experiment, report
from keras_fracture.papers.bai_dcgan.config import Config
from keras_fracture.report import galleries
from keras_fracture.report.generated import MEASURES
from tests.drawings import assert_drawn, assert_figures


@pytest.fixture(scope="module")
def modern(smoke_run):
    """A whole run of the conditional variant with two seeds: its folder, its numbers, what it asked of others.

    That is the seeds of evaluation, and name of a figure to the generated and real images beside each other.
    """
    seeds, evaluate = [], experiment.evaluate
    pairs, neighbours = {}, galleries.neighbours

    def noted(config, sets, generated, extractor, seed):
        seeds.append(seed)
        return evaluate(config, sets, generated, extractor, seed)

    def drawn(generated, real, path, titles):
        pairs[path.name] = generated, real
        return neighbours(generated, real, path, titles)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "evaluate", noted)
        patch.setattr(galleries, "neighbours", drawn)
        return *smoke_run("bai_dcgan", variant="modern", seed=3, seeds=2), {"seeds": seeds, "pairs": pairs}


@pytest.fixture(scope="module")
def settings():
    return configure(Config, "smoke")


def test_the_paper_variant_has_the_papers_numbers():
    paper = configure(Config, "paper")
    stated = {"image_size": 64, "channels": 3, "width": 64, "activation": "silu", "batch_size": 32,
              "epochs": 900, "g_learning_rate": 0.002, "d_learning_rate": 0.002, "loss": "non_saturating"}  # fmt: skip
    assert {name: getattr(paper, name) for name in stated} == stated
    gan = experiment.build_gan(paper, 0, None)
    assert gan.generator.count_params() - 2 * (512 + 256 + 128 + 64) == 3_576_704
    assert gan.fresh_noise and gan.ema_generator is None and gan.augment is None
    assert gan.d_optimizer.beta_1 == gan.g_optimizer.beta_1 == 0.5


def test_dropout_reaches_the_discriminator_and_leaves_something():
    gan = experiment.build_gan(configure(Config, "smoke", dropout=0.25), 0, None)
    rates = [layer.rate for layer in gan.discriminator.main.layers if layer.name.startswith("dropout")]
    assert rates == [0.25] * 3
    with pytest.raises(FractureError, match=r"below 1.* Received: 1"):
        Config(dropout=1.0)


def test_the_papers_policy_trains_on_validation_images_too(few_phantoms, settings):
    loaded = load_splits(settings, experiment.preprocess(settings), "paper")
    sets = experiment.prepare_splits(settings, loaded)
    count = len(loaded["train"].labels) + len(loaded["validation"].labels)
    assert len(sets["train"].labels) == len(sets["train"].table) == len(sets["train"].images) == count
    images, classes, names = experiment.gan_training_data(settings, sets["train"])
    assert (classes, names) == (None, None) and len(images) == sets["train"].labels.sum()


def test_body_parts_as_classes(few_phantoms, settings):
    by_part = configure(Config, "smoke", condition="body_part")
    train = load_splits(by_part, experiment.preprocess(by_part), "grouped")["train"]
    _, classes, names = experiment.gan_training_data(by_part, train)
    assert names == ["femur", "forearm", "humerus", "tibia"]
    parts = train.table["body_part"][train.labels == 1]
    assert [names[code] for code in classes] == parts.tolist()
    unknown = Split(train.images, train.labels, train.table.assign(body_part="unknown"))
    with pytest.raises(FractureError, match=r"does not tell body parts.*Received: unknown"):
        experiment.gan_training_data(by_part, unknown)
    with pytest.raises(FractureError, match="condition must be"):
        Config(condition="age")


def test_the_report_has_each_seed_beside_real_against_real(modern):
    folder, results, _ = modern
    metrics = json.loads((folder / "metrics.json").read_text())
    (run,) = metrics["runs"]
    for name in ("fid", "kid", "copies_pixels", "copies_features"):
        score = run["metrics"][name]
        assert score["low"] <= score["value"] <= score["high"] and np.isfinite(score["real_vs_real"])
    # Two epochs of two steps draw noise: far from the data, beyond what two halves of it are apart.
    assert run["metrics"]["fid"]["value"] > run["metrics"]["fid"]["real_vs_real"]
    text = (folder / "report.md").read_text()
    assert "3.1071 (1)" in text and "1.5-2.2 (100-900)" in text
    assert "(samples.gif)" in text
    assert "while training, by " in text and experiment.watched_images(Config()) == 1000
    train, validation = (metrics["splits"]["paper"][name]["images"] for name in ("train", "validation"))
    assert (
        f"The {validation:,} validation images, drawn from the paper's training set, are among the {train:,}"
        in text
    )
    assert "learns for 2 epochs, no more than the GAN (runs of 20 epochs or more: 20)" in text
    assert_figures(folder)
    history = pd.read_csv(folder / "history.csv")
    assert history.groupby("run")["kid"].count().tolist() == [2, 2]
    assert run["losses"]["g_loss"]["first"] == pytest.approx(history.query("epoch == 1")["g_loss"].mean())
    kept = json.loads((results / "bai_dcgan.json").read_text())["runs"][0]
    assert kept["metrics"] == run["metrics"] and kept["seeds"] == 2
    first, mean = (run[name]["kid"] for name in ("saved_model_metrics", "metrics"))
    assert first["value"] in (mean["low"], mean["high"]), "of two seeds one is the lower, one the higher"


def test_each_gan_is_evaluated_by_its_own_seed(modern):
    assert modern[2]["seeds"] == [3, 4]


def test_only_figures_without_real_images_are_kept(few_phantoms, modern):
    folder, results, asked = modern
    kept = {path.name for path in (results / "bai_dcgan").rglob("*.png")}
    assert kept == {"losses.png", "metrics-over-epochs.png", "generated.png", "over-time.png"}
    assert_drawn(folder / "real-and-generated.png", share=0.2)
    config = configure(Config, "smoke", variant="modern")
    sets = load_splits(config, experiment.preprocess(config), config.policy)
    real = {image.tobytes() for image in experiment.prepare_splits(config, sets)["train"].of(1)}
    for name in ("closest-pixels.png", "closest-features.png"):
        generated, nearest = asked["pairs"][name]
        assert len(generated) == len(nearest) == 12
        assert all(image.tobytes() in real for image in nearest), "a training image stands below"
        assert not any(image.tobytes() in real for image in generated)
        assert_drawn(folder / name, share=0.2)
    with Image.open(folder / "samples.gif") as moving:
        assert moving.n_frames == 2


def test_images_of_a_run_can_be_drawn_again(modern, tmp_path):
    folder, *_ = modern
    table = inference.generate(folder, tmp_path / "made", 4, seed=3, label="finding")
    told = table[["data", "policy", "splits", "crop"]].drop_duplicates()
    assert told.to_numpy().tolist() == [["phantom", "paper", "train+validation", True]]
    with np.load(folder / "run-0" / "generated.npz") as stored:
        assert set(stored) == {"healthy", "finding"}
        for number, image in enumerate(stored["finding"][:4, :, :, 0]):
            drawn = np.asarray(Image.open(tmp_path / "made" / f"{number:06d}.png"))
            np.testing.assert_allclose(drawn.astype(int), image, atol=1)


def test_the_readme_row_shows_the_reported_losses(modern):
    row = tables.generate(modern[1], "bai_dcgan").splitlines()[2]
    assert "1.90" in row and "0.83" in row and "modern" in row


def test_words_for_reported_losses():
    assert report._reported((100, 900), (1.5, 2.2)) == "1.5-2.2 (100-900)"
    assert report._reported((210, 900), (0.84, 0.84)) == "0.84 (210-900)"
    assert report._reported(1, 3.1071) == "3.1071 (1)"


def test_of_several_seeds_images_are_those_of_the_smallest():
    found = report._mean_over_seeds([{"value": 0.1, "images": 33}, {"value": 0.3, "images": 32}])
    assert found == {"value": 0.2, "images": 32, "low": 0.1, "high": 0.3} and isinstance(found["images"], int)


def test_measures_by_neighbours_of_few_images_are_marked():
    score = {"value": 1.0, "low": 1.0, "high": 1.0, "real_vs_real": 1.0}
    marked = {}
    for images in (249, 500):
        row = {"metrics": dict.fromkeys(MEASURES, score | {"images": images})}
        lines = report._measures_table(configure(Config, "quick"), row).splitlines()
        marked[images] = [
            line for line in lines if "(says little: its k is 50, of 249 images a side)" in line
        ]
    assert marked[500] == [] and [line.split()[1].strip(":") for line in marked[249]] == list(BY_NEIGHBOURS)


def test_the_report_says_what_a_class_that_is_real_does_to_the_comparison():
    findings_only, both = configure(Config, "quick"), configure(Config, "quick", condition="label")
    assert "told apart by their style" in report._real_healthy(findings_only)
    assert report._real_healthy(both) == ""


def test_the_larger_class_of_each_test_set_is_that_of_its_images():
    findings_only = configure(Config, "smoke", generated_images=100)
    both = configure(Config, "smoke", generated_images=100, condition="label")
    test = {"images": 50, "findings": 20}
    assert report._larger_class(findings_only, test) == {"trtr": 0.6, "tstr": 0.6, "trts": 100 / 130}
    assert report._larger_class(both, test) == {"trtr": 0.6, "tstr": 0.6, "trts": 0.5}


def test_the_papers_losses_stand_beside_losses_of_their_kind_alone():
    row = {
        "losses": {
            name: dict.fromkeys(("first", "last", "lowest", "highest"), 1.0) for name in Config.REPORTED
        }
    }
    words = {}
    for loss in ("non_saturating", "wasserstein", "hinge", "pearson"):
        config = configure(Config, "smoke")
        object.__setattr__(config, "loss", loss)
        words[loss] = report._losses_caption(config)
        assert ("3.1071 (1)" in report._losses_table(config, row)) == (loss == "non_saturating")
        assert ("near 0 means that it tells" in words[loss]) == (loss in ("non_saturating", "hinge"))
    assert words["non_saturating"].endswith("ones.") and "what the paper reports" in words["non_saturating"]
    assert "near 0 it does not tell them apart" in words["wasserstein"]
    assert words["pearson"].endswith("the paper's are cross-entropies, and not drawn.")
