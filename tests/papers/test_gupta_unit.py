import dataclasses
import json
import types

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from keras_fracture import models, synthesis
from keras_fracture.errors import FractureError
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.runs import Run
from keras_fracture.experiment.splits import Split, concatenate, load_splits
from keras_fracture.papers import comparison
from keras_fracture.papers.gupta_unit import checks, experiment, report, study
from keras_fracture.papers.gupta_unit.config import Config
from keras_fracture.papers.gupta_unit.parts import BONES, RATIOS, ROLES, parts_of
from keras_fracture.report.results import record
from tests.drawings import assert_figures

SHARES = (0.45, 0.15, 0.4)


def lower_limbs(hardware=False):
    """Two images a source; lesions of two bones, healthy images that know none."""
    rows = []
    for number in range(120):
        bone = ("", "", "tibia", "femur")[number % 4]
        rows += [
            {
                "filename": f"{number}-{shot}.png", "source": f"s{number}", "body_part": "lower limb", "bone": bone,
                "label": int(bone != ""), "hardware": hardware and number % 10 == 2, "height": 4, "width": 4,
                "boxes": np.array([[0.2, 0.2, 0.6, 0.6]] if bone else np.zeros((0, 4)), np.float32),
            }
            for shot in range(2)
        ]  # fmt: skip
    table = pd.DataFrame(rows)
    upper = table.assign(body_part="upper limb", bone="", source="u" + table["source"])
    table = pd.concat([table, upper], ignore_index=True)
    pixels = np.arange(len(table), dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    return Split(pixels, table.pop("label").to_numpy(), table)


def test_parts_share_healthy_images_but_never_a_source_between_splits():
    arm, tibia, femur = parts_of(lower_limbs(), "btxrd", SHARES, 4, 0)
    assert [part.bone for part in (arm, tibia, femur)] == list(BONES)
    for part in (arm, tibia, femur):
        sides = [set(split.sources) for split in (part.train, part.validation, part.test)]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        assert set(part.pool.sources).isdisjoint(sides[1] | sides[2])
        assert (part.pool.labels == 1).all()
    assert set(tibia.test.table["bone"]) == {"", "tibia"} and set(femur.pool.table["bone"]) == {"femur"}
    assert set(arm.train.table["body_part"]) == {"upper limb"}


def test_a_patient_of_several_parts_is_on_one_side_in_all():
    images = lower_limbs()
    alone = parts_of(images, "btxrd", SHARES, 4, 0)
    both = images.table.assign(source=images.table["source"].str.lstrip("u"))
    parts = parts_of(dataclasses.replace(images, table=both), "btxrd", SHARES, 4, 0)
    assert np.array_equal(parts[0].train.images, alone[0].train.images), "the first part is dealt as if alone"
    for part in parts[1:]:
        learnt = set(parts[0].train.sources) | set(parts[0].pool.sources) | set(parts[0].validation.sources)
        assert learnt.isdisjoint(part.test.sources) and len(part.test.labels)
    made = both.assign(synthetic=[name == "0-1.png" for name in both["filename"]])
    made.loc[made["body_part"] == "upper limb", "synthetic"] = False
    parts = parts_of(dataclasses.replace(images, table=made), "btxrd", SHARES, 4, 0)
    assert all("s0" in part.train.sources for part in parts), "in one part a synthetic image is made of it"


def test_a_part_whose_split_lacks_a_class_is_refused():
    images = lower_limbs()
    table = images.table.assign(source=images.table["source"].str.lstrip("u"))
    side = parts_of(dataclasses.replace(images, table=table), "btxrd", SHARES, 4, 0)[0]
    tested = set(side.test.sources)
    few = table["source"].isin(tested) | (table["bone"] != "femur") | (table["body_part"] == "upper limb")
    taken = dataclasses.replace(images, table=table).take(few.to_numpy())
    with pytest.raises(FractureError, match=r"femur: split train lacks a class .* \d+ images with a lesion"):
        parts_of(taken, "btxrd", SHARES, 4, 0)


def test_more_lesions_are_without_hardware_like_all_that_is_trained_on(tmp_path):
    _, tibia, _ = parts_of(lower_limbs(hardware=True), "btxrd", SHARES, 4, 0)
    more = experiment.unpainted(tibia, "pool", tmp_path)["train"]
    lesions = more.table[more.labels == 1]
    assert not lesions["hardware"].any()
    assert len(lesions) == (~tibia.pool.table["hardware"]).sum() < len(tibia.pool.labels)


def test_training_lesions_are_as_rare_as_in_the_paper():
    parts = parts_of(lower_limbs(), "btxrd", SHARES, 3, 0)
    for part, ratio in zip(parts, RATIOS, strict=True):
        healthy, lesions = np.bincount(part.train.labels)
        assert lesions == max(3, round(ratio * healthy))
        assert len(part.pool.labels) > 2 * lesions
        kept = part.train.sources[part.train.labels == 1]
        assert len(set(kept)) == -(-lesions // 2), "whole sources first"


def test_hardware_is_left_out_of_classification_only():
    images = lower_limbs(hardware=True)
    _, tibia, _ = parts_of(images, "btxrd", SHARES, 99, 0)
    for split in (tibia.train, tibia.validation, tibia.test):
        assert not split.table["hardware"].any()
    assert tibia.pool.table["hardware"].any()


def test_a_data_set_without_boxes_is_refused():
    with pytest.raises(FractureError, match="Received: 'kaggle_fracture'"):
        parts_of(lower_limbs(), "kaggle_fracture", SHARES, 4, 0)
    assert set(ROLES) == {"btxrd", "fracatlas", "phantom"}


@pytest.fixture(scope="module")
def run(smoke_run):
    """A whole run on phantoms."""
    return smoke_run("gupta_unit")


def test_every_arm_is_measured_beside_the_paper(run):
    folder, results = run
    kept = json.loads((results / "gupta_unit.json").read_text())["runs"]
    common = {"unvaried", "baseline", "oversampled", "weighted", "pool", "copy_paste"}
    arms = {part: {one["variant"] for one in kept if one["part"] == part} for part in BONES}
    assert arms["humerus"] == common | {"augmented"}
    assert arms["tibia"] == arms["femur"] == common | {"transfer"}
    for one in kept:
        assert 0 <= one["metrics"]["auc"]["low"] <= one["metrics"]["auc"]["high"] <= 1
        assert ("auc_gain" in one["metrics"]) == (one["variant"] != "baseline")
        assert (
            one["reported"] is None
            or one["reported"]["auc"] == Config.REPORTED[one["part"]][one["variant"]][0]
        )
    text = report.table(kept)
    assert "0.682 (0.594 to 0.764)" in text and "transfer: first part's translator" in text
    splits = json.loads((folder / "metrics.json").read_text())["splits"]
    assert [splits[part]["test"]["images_of_training_sources"] for part in BONES] == [0, 0, 0]
    assert_figures(folder)


def test_painted_images_come_from_healthy_training_images(run):
    folder, _ = run
    table = pd.read_csv(folder / "humerus" / "augmented" / "images.csv")
    assert table["synthetic"].all() and (table["body_part"] == "humerus").all()
    images, again = synthesis.read(folder / "humerus" / "augmented")
    assert len(images) == len(table) == len(again)
    with np.load(folder / "humerus" / "augmented.npz") as stored:
        assert np.array_equal(stored["images"], images)
    settings = json.loads((folder / "config.json").read_text())["settings"]
    assert settings["exponent"] == table["n"][0]
    config = configure(Config, "smoke")
    sets = load_splits(config, experiment.preprocess(config), "grouped")
    everything = concatenate(sets["train"], sets["validation"], sets["test"])
    train = parts_of(everything, config.data, config.shares, config.min_lesions, config.seed)[0].train
    healthy = train.take(train.labels == 0)
    assert set(table["filename"]) <= set(healthy.table["filename"])
    before = dict(zip(healthy.table["filename"], healthy.images, strict=True))
    for made, name, window in zip(
        images, table["filename"], table[["top", "left", "height", "width"]].to_numpy(), strict=True
    ):
        top, left, height, width = window
        outside = np.ones(made.shape, bool)
        outside[top : top + height, left : left + width] = False
        np.testing.assert_array_equal(made[outside], before[name][outside])


def test_few_xrays_get_no_verdict():
    gain = {"value": 0.217, "low": 0.103, "high": 0.338}
    row = {"part": "hip", "variant": "transfer", "added": 2, "metrics": {"auc_gain": gain}}
    said = [report._verdict(row | {"test_sources": count}) for count in (4, 5)]
    assert said[0].startswith(
        "hip, transfer: too few X-rays to tell, +0.217 (+0.103 to +0.338), by 2 painted"
    )
    assert said[1].startswith("hip, transfer: helped, +0.217")


def test_figures_are_kept_images_too_as_phantoms_are_drawn(run):
    _, results = run
    kept = {path.name for path in (results / "gupta_unit").rglob("*.png")}
    assert kept == {f"{kind}-{part}.png" for kind in ("auc", "stages") for part in BONES} | {
        "unit-losses.png"
    }


def test_the_report_shows_the_same_patches_through_the_training(run):
    folder, _ = run
    grids = sorted((folder / "humerus" / "unit" / "samples").glob("epoch-*.png"))
    first, last = (cv2.imread(str(grid), cv2.IMREAD_GRAYSCALE) for grid in (grids[0], grids[-1]))
    half = len(first) // 2
    np.testing.assert_array_equal(first[:half], last[:half])  # the healthy ones
    assert (first[half:] != last[half:]).any()
    with Image.open(folder / "translations-humerus.gif") as animation:
        assert animation.n_frames == len(grids)
    assert "translations-humerus.gif" in (folder / "report.md").read_text()
    assert not (folder / "translations-tibia.gif").exists(), "it has no translator of its own"


def test_images_of_real_data_are_not_kept():
    kept = report.public_figures("btxrd", ["upper-limb", "tibia"])
    assert kept == ["auc-upper-limb.png", "auc-tibia.png", "unit-losses.png"]


def test_what_is_painted_is_not_drawn_with_the_numbers_of_the_training(monkeypatch):
    config = Config(seed=3)
    split = types.SimpleNamespace(
        images=None, boxes=None, labels=np.zeros(1), table=pd.DataFrame({"body_part": ["hand"]}),
        take=lambda rows: split,
    )  # fmt: skip
    for kind in ("lesion_patches", "healthy_patches"):
        seeds = []
        monkeypatch.setattr(experiment.synthesis, kind, lambda *given, seeds=seeds: seeds.append(given[-1]))
        for purpose in experiment.PURPOSES:
            draw = getattr(experiment, kind)
            draw(config, *((split, 9) if kind == "lesion_patches" else (split, None, 9)), purpose)
        numbers = [np.random.default_rng(seed).random(500) for seed in seeds]
        assert np.abs(np.corrcoef(numbers) - np.eye(len(seeds))).max() < 0.2


@pytest.mark.slow
def test_the_translator_of_the_epoch_with_the_lowest_kid_paints(few_phantoms, tmp_path):
    config = configure(Config, "smoke", unit_epochs=3, unit_eval_every=2, unit_learning_rate=0.1)
    run = Run(tmp_path)
    part = experiment.load_parts(config, run)[0]
    translator = experiment.train_translator(config, run, part, tmp_path)
    kids = translator.history["kid"]
    assert kids.notna().tolist() == [False, True, True], "every second epoch, and the last"
    best = int(kids.idxmin()) + 1
    assert translator.chosen == {"epoch": best, "kid": kids.min(), "last_kid": kids.iloc[-1]}
    seen = [
        getattr(experiment, f"{kind}_patches")(config, part.validation, *more, 40, "validation").images
        for kind, *more in (("healthy", translator.lesions), ("lesion",))
    ]
    again = checks.LowestKID(tmp_path / "again", *seen, every=1, epochs=1)
    again.set_model(translator.unit)
    logs = {}
    again.on_epoch_end(0, logs)
    assert logs["kid"] == pytest.approx(kids.min(), rel=1e-3), "what paints is what was measured"
    longer = experiment.train_translator(dataclasses.replace(config, unit_epochs=4), run, part, tmp_path)
    assert len(longer.history) == 4, "best.weights.h5 there is not what fit with patience leaves"


def test_the_best_epoch_is_found_also_by_a_training_that_was_cut_off(tmp_path, monkeypatch):
    network = models.create("compact_cnn", image_size=32, channels=1)
    unit = types.SimpleNamespace(sampler=network, translate=lambda images: images)
    monkeypatch.setattr(checks.evaluation, "extract", lambda images, which: images)

    def train(callback, *epochs):
        callback.set_model(unit)
        for epoch, kid in epochs:
            monkeypatch.setattr(checks.evaluation, "kid", lambda *sets, kid=kid: (kid, 0))
            network.set_weights([np.full_like(weight, 10 * epoch + kid) for weight in network.get_weights()])
            callback.on_epoch_end(epoch - 1, {})
        callback.restore(unit, pd.DataFrame({"kid": [kid]}))
        return network.get_weights()[0].flat[0]

    def callback(folder):
        return checks.LowestKID(tmp_path / folder, "healthy", "lesions", every=1, epochs=4)

    assert train(callback("a"), (1, 0.5), (2, 0.3), (3, 0.4)) == np.float32(20.3)
    # Epoch 3 is not in the backup of a training that goes on behind epoch 2, and comes out worse this time.
    assert train(callback("b"), (1, 0.5), (2, 0.3), (3, 0.1)) == np.float32(30.1)
    assert train(callback("b"), (3, 0.2), (4, 0.15)) == np.float32(40.15)


def test_thresholds_that_agree_in_six_digits_share_no_classifier(tmp_path, monkeypatch):
    """A scorer that is sure gives all that it paints more than 0.999999: one file would answer for all thresholds."""

    def train_classifier(config, classifier, part, train, seed, *_):
        answers = np.random.default_rng(int(train.labels.sum())).random(
            20
        )  # told by how many lesions it learnt from
        return {"validation": answers, "test": answers}

    monkeypatch.setattr(experiment, "train_classifier", train_classifier)
    pixels = np.zeros((40, 8, 8, 1), "uint8")
    train = Split(pixels[:10], np.repeat([0, 1], [8, 2]), pd.DataFrame(index=range(10)))
    part = types.SimpleNamespace(train=train, validation=types.SimpleNamespace(labels=np.arange(20) % 2))
    config = types.SimpleNamespace(thresholds=(0.0,), passing_shares=(0.1, 0.25, 0.5), seeds=1, seed=0)
    scores = 1 - 10.0 ** -np.linspace(6.5, 9, 40)
    painted = {"scores": scores, "images": pixels}
    arm = experiment.choose_threshold(config, None, part, tmp_path, "augmented", painted)
    assert len(arm.tried) == 4
    for limit, auc in arm.tried.items():
        answers = np.random.default_rng(2 + int((scores > limit).sum())).random(20)
        assert auc == pytest.approx(roc_auc_score(part.validation.labels, answers))
    assert len({study.exactly(limit) for limit in arm.tried}) == 4
    assert all(float(study.exactly(limit)) == limit for limit in arm.tried)
    assert [study.exactly(limit) for limit in (0.0, 0.9, 0.236565)] == ["0", "0.9", "0.236565"]


@pytest.mark.parametrize(("limit", "chosen"), [(0.5, 1.0), (0.55, 1.0), (0.6, 2.0), (0.9, 4.0), (0.3, 0.5)])
def test_the_exponent_is_the_largest_whose_seam_is_hidden(limit, chosen):
    seams = {n: {"value": auc} for n, auc in {0.5: 0.52, 1.0: 0.5, 2.0: 0.58, 4.0: 0.71}.items()}
    assert checks.choose_exponent(seams, limit) == chosen
    assert checks.choose_exponent({}, limit) is None


def test_own_settings_reach_the_translator():
    unit = experiment.build_translator(
        configure(Config, "smoke", unit_noise=0.0, unit_learning_rate=1e-3, unit_d_learning_rate=2e-3)
    )
    assert unit.noise == 0
    assert float(unit.g_optimizer.learning_rate) == pytest.approx(1e-3)
    assert float(unit.d_optimizer.learning_rate) == pytest.approx(2e-3)
    unit = experiment.build_translator(configure(Config, "smoke"))
    assert unit.noise == 1
    assert float(unit.d_optimizer.learning_rate) == float(unit.g_optimizer.learning_rate)


def test_rows_of_other_settings_stand_beside_the_usual_ones(run, tmp_path):
    folder, _ = run
    recorded, metrics = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "metrics"))
    assert recorded["other_settings"] == {}
    munit = {"preset": "munit", "unit_noise": 0.3}
    for settings in ({}, munit, munit):
        record(tmp_path, recorded | {"other_settings": settings}, metrics, folder)
    kept = json.loads((tmp_path / "gupta_unit.json").read_text())["runs"]
    assert len(kept) == 2 * len(metrics["runs"])
    assert "| smoke, preset munit, unit_noise 0.3, 1 |" in report.table(kept)
    assert "| 2, preset munit, unit_noise 0.3 |" in report.checks_table(kept)
    folders = {path.parent.name for path in tmp_path.rglob("auc-humerus.png")}
    assert len(folders) == 2 and "phantom" in folders, "figures do not overwrite each other"
    beside = comparison.beside("gupta_unit", folder=tmp_path)
    assert "2 steps of UNIT |" in beside and "2 steps of UNIT, preset munit, unit_noise 0.3 |" in beside


def test_the_detectors_interval_resamples_patients(monkeypatch):
    """Several images of one patient are alike: they make the interval no narrower."""
    monkeypatch.setattr(checks, "small_classifier", lambda *args, **kwargs: None)
    monkeypatch.setattr(checks, "probabilities", lambda model, images: images.mean((1, 2, 3)) / 255)
    levels = np.random.default_rng(0).normal((90, 120), 30, (12, 2)).clip(0, 255)
    one = types.SimpleNamespace(translate=lambda images, *sides: images)

    def width(copies):
        sides = [np.repeat(levels[:, side], copies)[:, None, None, None] for side in (0, 1)]
        healthy, lesions = map(Many, sides)
        own = types.SimpleNamespace(unit=one, healthy=healthy, lesions=lesions)
        sources = np.repeat(np.arange(12), copies), 100 + np.repeat(np.arange(12), copies)
        auc = checks.judge_patches(own, healthy, lesions, sources, 0, None)["detector_auc"]
        return auc["high"] - auc["low"]

    assert width(10) == pytest.approx(width(1), rel=0.1)


class Many:
    """Patches, as far as a detector looks at them."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)
