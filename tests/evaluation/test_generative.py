import json
import warnings

import numpy as np
import pytest

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import compare, fid, kid, prdc
from keras_fracture.evaluation.generative import METRICS, halves


def pixels(images):
    """Means of 4 x 4 cells of 16 x 16 images."""
    cells = images.reshape(len(images), 4, 4, 4, 4)
    return cells.mean((2, 4)).reshape(len(images), 16) / 255


@pytest.fixture(scope="module")
def draw():
    """A function that draws images of one distribution, shifted by some levels."""
    generator = np.random.default_rng(0)
    mix = generator.standard_normal((6, 256))

    def images(count, shift=0):
        rows = 128 + shift + 12 * generator.standard_normal((count, 6)) @ mix
        return np.clip(rows, 0, 255).astype(np.uint8).reshape(count, 16, 16, 1)

    return images


def test_halves_share_no_source_and_are_about_equal():
    sources = np.repeat([f"x{number}" for number in range(30)], np.arange(1, 31))
    first, second = halves(sources, seed=1)
    assert np.array_equal(np.sort(np.concatenate([first, second])), np.arange(len(sources)))
    assert not set(sources[first]) & set(sources[second])
    assert abs(len(first) - len(second)) <= 30
    again = [set(sources[halves(sources, seed)[0]]) for seed in range(20)]
    assert 0.2 < np.mean(["x29" in names for names in again]) < 0.8  # by chance, not by size
    assert np.array_equal(first, halves(sources, seed=1)[0])


def test_a_perfect_generator_reaches_the_floor_and_a_shifted_one_does_not(draw):
    real = draw(160)
    perfect, shifted = (compare(real, fake, pixels, pairs=50) for fake in (draw(80), draw(80, 25)))
    for metric in ("fid", "kid", "precision", "recall", "density", "coverage"):
        comparison = perfect[metric]
        spread = (
            comparison["real_vs_real_std"] + comparison["std"] + 0.05 * abs(comparison["real_vs_real"]) + 1e-5
        )
        assert abs(comparison["value"] - comparison["real_vs_real"]) < 4 * spread, metric
        worse = shifted[metric]["value"] - shifted[metric]["real_vs_real"]
        assert worse > 0 if metric in ("fid", "kid") else worse < 0, metric
        # The same real halves, whatever is held against them.
        assert shifted[metric]["real_vs_real"] == comparison["real_vs_real"]
    assert shifted["fid"]["value"] > 5 * shifted["fid"]["real_vs_real"]


def test_values_and_floors_are_the_metrics_of_equally_large_samples(draw):
    real, fake = draw(40), draw(15, 10)
    comparison = compare(real, fake, pixels, splits=1, k=3, pairs=20, seed=4)
    generator = np.random.default_rng([4, 0])
    first, second = (generator.choice(half, 15, replace=False) for half in halves(np.arange(40), 4))
    for name, other in (("value", fake), ("real_vs_real", real[second])):
        sets = pixels(real[first]), pixels(other)
        expected = {"fid": fid(*sets), "kid": kid(*sets, 1, 15)[0], **prdc(*sets, 3)}
        assert {metric: comparison[metric][name] for metric in expected} == pytest.approx(expected)
    assert {comparison[metric]["images"] for metric in METRICS} == {15}
    assert comparison["fid"]["std"] == comparison["fid"]["real_vs_real_std"] == 0


def test_copies_of_one_xray_would_lower_the_floor_unless_sources_are_named(draw):
    real = np.repeat(draw(30), 4, axis=0)
    sources = np.repeat(np.arange(30), 4)
    apart = compare(real, real[:60], pixels, sources=sources, splits=2, pairs=10)
    mixed = compare(real, real[:60], pixels, splits=2, pairs=10)
    assert mixed["fid"]["real_vs_real"] < 0.7 * apart["fid"]["real_vs_real"]
    assert mixed["coverage"]["real_vs_real"] > apart["coverage"]["real_vs_real"]


def test_a_collapsed_generator_shows_in_its_similarity(draw):
    comparison = compare(draw(40), np.repeat(draw(1), 20, axis=0), pixels, splits=2, pairs=20)
    assert comparison["ms_ssim"]["value"] == pytest.approx(1, abs=1e-5)
    assert comparison["ms_ssim"]["real_vs_real"] < 0.9


def test_the_result_is_plain_json_and_repeats(draw):
    real, fake = draw(30), draw(15)
    comparison = compare(real, fake, pixels, splits=2, pairs=10)
    assert tuple(comparison) == METRICS
    assert json.loads(json.dumps(comparison)) == comparison == compare(real, fake, pixels, splits=2, pairs=10)
    assert comparison["fid"]["std"] > 0


@pytest.mark.parametrize(
    ("real", "fake", "settings", "message"),
    [
        (30, 30, {"sources": np.zeros(30)}, r"at least two sources\. Received: 1"),
        (30, 30, {"sources": np.zeros(29)}, r"each of 30 real images\. Received: 29"),
        (10, 30, {}, "more than k = 5 images.*Received: 5 a side, of 10 sources and 30 generated"),
        (30, 4, {}, "Received: 4 a side, of 30 sources and 4 generated"),
        (30, 30, {"sources": np.repeat([0, 1], [28, 2])}, "Received: 2 a side, of 2 sources"),
        (30, 30, {"sources": [*range(28), np.nan, np.nan]}, "Received: 2 images without one"),
        (
            30,
            30,
            {"sources": [*"abcdefghijklmnopqrstuvwxyzabc", None]},
            "a name of its own.*Received: 1 images",
        ),
        (30, 30, {"splits": 0}, "splits must be a whole number, 1 or more. Received: 0"),
        (30, 30, {"k": 2.5}, "k must be a whole number, 1 or more. Received: 2.5"),
    ],
)
def test_too_few_sources_or_images_are_said(draw, real, fake, settings, message):
    with pytest.raises(EvaluationError, match=message):
        compare(draw(real), draw(fake), pixels, **settings)


def test_few_images_and_those_that_are_real_ones_are_warned_of(draw):
    real = draw(100)
    with pytest.warns(UserWarning, match="fewer than 10 times k = 6 images a side.*Received: 50 a side"):
        compare(real, draw(50), pixels, splits=1, pairs=2, k=6)
    with pytest.warns(UserWarning, match="Received: 7 of 50 generated images equal a real one"):
        compare(real, np.concatenate([real[:7], draw(43)]), pixels, splits=1, pairs=2)
    with pytest.warns(UserWarning, match="KID, FID and MS-SSIM included.*Received: 49 a side") as said:
        compare(real, draw(49), pixels, splits=1, pairs=2, k=6)
    assert len(said) == 1, "not of precision to coverage once more"
    with warnings.catch_warnings(action="error", category=UserWarning):
        compare(real, draw(50), pixels, splits=1, pairs=2)


def test_images_of_another_kind_are_refused(draw):
    with pytest.raises(EvaluationError, match=r"fake must be uint8.*Received: float64 \(30, 16, 16, 1\)"):
        compare(draw(30), draw(30) / 255, pixels)


def test_sets_of_two_sizes_are_not_compared():
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 1), np.uint8)
    with pytest.raises(
        EvaluationError, match=r"must have one size.* Received: \(32, 32, 1\) and \(16, 16, 1\)"
    ):
        compare(images, images[:, ::2, ::2], lambda batch: batch.mean((1, 2)), sources=np.arange(40))
