"""What `ibrahim_gan` answers of its numbers, and the images that its arms learn from."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit

from keras_fracture.experiment.config import configure
from keras_fracture.papers.ibrahim_gan import answer, learning_curve, report
from keras_fracture.papers.ibrahim_gan.config import Config
from keras_fracture.papers.ibrahim_gan.gans import TrainedGAN, good_enough
from tests.papers.test_ibrahim_gan import split


@pytest.mark.parametrize("labels", [(0,) * 9 + (1,) * 3, (0, 1) * 6])
def test_synthetic_images_come_in_the_real_ones_shares(labels):
    real = split([str(k) for k in range(12)], labels)
    gan = TrainedGAN((np.zeros((20, 4, 4, 1), np.uint8), np.ones((20, 4, 4, 1), np.uint8)), None, None)
    images, wanted = learning_curve.chosen(None, None, learning_curve.Arm("x", ratio=2.0), 0, real, gan)
    assert wanted.tolist() == sorted([*labels, *labels])
    assert (images.max((1, 2, 3)) == wanted).all()


def curve_of(aucs, size=400):
    """A `Curve` whose one arm beside the baseline ranks as many pairs rightly as the baseline does further on."""
    rng = np.random.default_rng(0)
    labels = np.repeat((0, 1), size // 2)
    sets = {"test": split([str(k) for k in range(size)], labels)}
    outcomes = {key: expit(labels * shift + rng.normal(size=size))[None] for key, shift in aucs.items()}
    return learning_curve.Curve(sets, (50, 100, 200), ("original", "better"), outcomes, {})


def test_equivalent_images_are_read_off_the_baselines_curve():
    shifts = {(50, "original"): 0.2, (100, "original"): 1.0, (200, "original"): 2.0}
    curve = curve_of(shifts | {(50, "better"): 1.0, (100, "better"): 9.0})
    own = curve.equivalent(50, "better")
    assert own["value"] == pytest.approx(50, abs=15), "as good as 100 images are"
    assert own["low"] < own["value"] < own["high"]
    assert curve.equivalent(100, "better")["value"] == pytest.approx(100), (
        "no more than the last size is known"
    )


@pytest.mark.parametrize(
    ("curve", "size", "level", "images", "rises"),
    [
        ((0.6, 0.7, 0.8), 100, 0.65, 50 * 2**0.5, True),
        ((0.6, 0.7, 0.8), 100, 0.7, 100, True),
        ((0.6, 0.7, 0.8), 100, 0.9, 200, True),
        ((0.6, 0.7, 0.8), 100, 0.5, 50, True),
        ((0.6, 0.7, 0.8), 50, 0.5, 50, True),
        ((0.7, 0.6, 0.8), 100, 0.6, 100, True),  # equal to the baseline: worth no image, wherever that lies
        ((0.7, 0.6, 0.8), 100, 0.65, 100 * 2**0.25, False),  # the smallest size reaches it, too
        ((0.6, 0.7, 0.65), 100, 0.75, 200, False),
        ((0.6, 0.55, 0.8), 50, 0.5, 50, False),
        ((0.6, 0.7, 0.7), 50, 0.9, 200, False),
    ],
)
def test_images_are_read_off_only_where_the_curve_rises(curve, size, level, images, rises):
    read = learning_curve.read_off((50, 100, 200), curve, size, level)
    assert read == (pytest.approx(images), rises)


def test_equivalent_images_of_a_flat_curve_are_not_determined_and_harm_is_not_worth_nothing():
    falling = {(50, "original"): 1.5, (100, "original"): 1.0, (200, "original"): 1.2}
    curve = curve_of(falling | {(100, "better"): 1.3})
    assert curve.equivalent(100, "better") is None
    assert report._whole(None, 100, (50, 100, 200)) == "not determined"
    # 100 images are a little better than 50 here, but not in every third resample: what is read there is a clipped end.
    unsure = curve_of(
        {(50, "original"): 0.2, (100, "original"): 0.3, (200, "original"): 2.0, (50, "better"): 1.0}
    )
    levels = [unsure.scores(each, "original")["auc"]["value"] for each in (50, 100, 200)]
    assert levels == sorted(levels)
    assert unsure.equivalent(50, "better") is None
    same = {"value": 0.0, "low": 0.0, "high": 20.2}
    assert report._whole(same, 50, (50, 100, 200)) == "+0 or fewer (+0 to +20)"
    assert report._whole(same, 100, (50, 100, 200)) == "+0 (+0 to +20)"
    assert report._whole(same | {"value": 150.0}, 50, (50, 100, 200)) == "+150 or more (+0 to +20)"


def test_images_are_good_enough_by_distance_and_variety():
    def of(kid, coverage):
        return {"kid": {"value": kid, "real_vs_real": 0.001, "real_vs_real_std": 0.0005},
                "coverage": {"value": coverage, "real_vs_real": 0.9}}  # fmt: skip

    assert good_enough(of(0.016, 0.46))
    assert not good_enough(of(0.017, 0.9))
    assert not good_enough(of(0.001, 0.44))


@pytest.mark.parametrize(
    "low, high, words",
    [(0.01, 0.05, "helped: **+3.0"), (-0.05, -0.01, "did harm: **+3.0"), (-0.01, 0.05, "no diff")],
)
def test_a_verdict_follows_the_interval(low, high, words):
    gain = {"value": 0.03, "low": low, "high": high}
    assert words in answer.verdict(gain)
    assert answer.verdict(gain, few=True).startswith("cannot be judged (too few X-rays to tell): +3.0")


def test_a_gain_after_more_steps_is_not_one_of_images():
    config = configure(Config, "smoke", batch_size=32, synthetic_per_class=320, epochs=3)
    gain = {"value": 0.039, "low": 0.018, "high": 0.057}
    arms = {arm: {"accuracy": gain, "auc": gain, "validation_accuracy": gain} for arm in config.REPORTED}
    arms |= {arm: one | {"accuracy_gain": gain} for arm, one in arms.items() if arm != "original"}
    sets = {name: split([str(one) for one in range(320)], (0, 1) * 160) for name in ("train", "test")}
    quality = {"good_enough": True, "kid": QUALITY, "coverage": QUALITY, "near_copies": QUALITY}
    poster = {"grouped": SimpleNamespace(sets=sets, quality=quality)}
    results = SimpleNamespace(poster=poster, curve=None, few_labels=None)
    said = " ".join(answer.sentences(config, results, {"grouped": arms}, {}))
    # 320 images are 10 steps, a block of 8 more: 16; with 640 synthetic ones 30, so 32; three epochs of each.
    assert "classic augmentation helped: **+3.9 (+1.8 to +5.7) points**" in said
    longer = "cannot be told from longer training (96 steps instead of 48): +3.9 (+1.8 to +5.7) points"
    assert f"adding synthetic images {longer}" in said
    assert "from GANs" not in said, "what says nothing of them does not count"
    table = report._arms_table(config, arms, False, 320)
    assert table.count("**+3.9") == 1


def test_synthetic_images_are_counted_beyond_the_augmentation_they_come_with():
    score = {"value": 0.6, "low": 0.5, "high": 0.7}
    above, none = {"value": 0.1, "low": 0.05, "high": 0.2}, {"value": 0.0, "low": -0.1, "high": 0.1}
    numbers = {
        (8, "original"): {"auc": score},
        (8, "classic"): {"auc": score, "auc_gain": above},
        (8, "classic + synthetic"): {"auc": score, "auc_gain": above, "auc_gain_over_classic": none},
    }
    sets = {"test": split([str(number) for number in range(10)], (0, 1) * 5)}
    curve = SimpleNamespace(sets=sets, sizes=(8,), quality=None)
    results = SimpleNamespace(poster={}, curve=None, few_labels=curve)
    said = " ".join(answer.sentences(configure(Config, "smoke"), results, {}, {"few_labels": numbers}))
    assert "Of 1 gain from GANs, over the same training without them, 0 have" in said


QUALITY = {"value": 0.1, "real_vs_real": 0.1, "real_vs_real_std": 0.1}


def test_seeds_that_learn_from_the_same_images_do_not_cover_other_draws():
    results = SimpleNamespace(poster={}, curve=None, few_labels=None)
    gain = {"value": 0.03, "low": 0.01, "high": 0.05}
    measured = {"learning_curve": {(8, "original"): {"auc": gain}, (8, "synthetic"): {"auc_gain": gain}}}

    def said(**options):
        config = configure(Config, "smoke", **options)
        answer_to = answer.sentences(config, results, {}, measured)
        return " ".join(answer_to)

    assert "By chance at least one in twenty would, more with few seeds (2 here)" in said(seeds=2)
    assert "resamples whole X-rays (sources, not files); one seed" in said(seeds=1)
    assert "nor other draws" not in said(gans_per_class=1)
    results.curve = SimpleNamespace(
        sets={"test": split([str(number) for number in range(10)], (0, 1) * 5)},
        sizes=(8, 3000),
        quality={"good_enough": True, "kid": QUALITY, "coverage": QUALITY, "near_copies": QUALITY},
    )
    assert "(1 of each kind here), nor other draws of the real images" in said(gans_per_class=1)
    assert "nor other draws" not in said(gans_per_class=2)


@pytest.mark.parametrize("sources", [8, 10])
def test_gains_of_few_x_rays_are_neither_bold_nor_counted(sources):
    gain = {"value": 0.03, "low": 0.01, "high": 0.05}
    numbers = {(8, "original"): {"auc": gain}, (8, "synthetic"): {"auc": gain, "auc_gain": gain}}
    sets = {
        "train": split("ab", (0, 1)),
        "test": split([str(one) for one in range(sources)], (0, 1) * (sources // 2)),
    }
    sets["validation"] = sets["test"]
    curve = SimpleNamespace(sets=sets, sizes=(8,), drawn={})
    results = SimpleNamespace(poster={}, curve=None, few_labels=curve)
    config = configure(Config, "smoke")
    said = " ".join(answer.sentences(config, results, {}, {"few_labels": numbers}))
    table = report._study(config, "few_labels", curve, numbers, report.Figures())[-1]
    unjudged = "gains in points, which cannot be judged (too few X-rays to tell): synthetic +3.0" in said
    assert unjudged == (sources == 8)
    for words, text in (("**+3.0", said), ("**+3.0", table), ("Of 1 gain", said)):
        assert (words in text) == (sources == 10)


def test_which_gan_is_judged_is_said():
    quality = {"good_enough": True, "kid": QUALITY, "coverage": QUALITY, "near_copies": QUALITY}
    curve = SimpleNamespace(sizes=(8, 3000), quality=quality)
    comparison = SimpleNamespace(sets={"train": split(list("abc"), (0, 1, 1))}, quality=quality)

    def said(gans):
        config = configure(Config, "smoke", seeds=3, gans_per_class=gans)
        results = SimpleNamespace(poster={"grouped": comparison}, curve=curve, few_labels=None)
        return answer._judged(config, results).values()

    assert [words.split(";")[0] for words in said(3)] == [
        "Judged are the GANs of all 3 training images, the first of 3 of each class.",
        "Judged is the GAN of all 3,000 real images, the first of 3",
    ]
    assert "those of fewer images were not judged" in [*said(1)][1] and "first" not in "".join(said(1))
