import json

import numpy as np
import pytest

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import Copies, near_copies


@pytest.fixture(scope="module")
def sets():
    """Training and held-out images of one distribution, and eight generated ones: three copies, five not."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (128, 8, 8, 1), np.uint8)
    train, held_out, own = images[:60], images[60:120], images[120:125]
    noisy = np.clip(train[[41]].astype(int) + generator.integers(-3, 4, (1, 8, 8, 1)), 0, 255)
    copies = np.concatenate([train[[7]], train[[23]][:, :, ::-1], noisy.astype(np.uint8)])
    return np.concatenate([own, copies]), train, held_out


def test_planted_copies_are_found_mirrored_and_noisy_ones_too(sets):
    copies = near_copies(*sets)["pixels"]
    assert copies.indices[5:].tolist() == [7, 23, 41]
    assert copies.distances[5:7].tolist() == [0, 0]
    assert 0 < copies.distances[7] < 3 / 255
    assert copies.share == 3 / 8
    assert copies.real_vs_real < 0.03
    indices, nearest = copies.closest(3)
    assert indices.tolist() == [5, 6, 7]
    assert nearest.tolist() == [7, 23, 41]


def test_turned_copies_are_found_where_that_is_asked(sets):
    own, train, held_out = sets[0][:5], *sets[1:]
    turned = [
        np.rot90(train[[3]], 1, (1, 2)),
        train[[12]][:, ::-1],
        np.rot90(train[[30]][:, :, ::-1], 3, (1, 2)),
    ]
    fake, flat = np.concatenate([own, *turned]), lambda images: images.reshape(len(images), -1) / 255
    upright = near_copies(fake, train, held_out, extractor=flat)
    found = near_copies(fake, train, held_out, extractor=flat, turned=True)
    for name in ("pixels", "features"):
        assert upright[name].share == 0 and found[name].share == 3 / 8
        assert found[name].indices[5:].tolist() == [3, 12, 30] and found[name].distances[5:].max() < 1e-6
        assert (found[name].distances <= upright[name].distances).all()
        assert found[name].threshold <= upright[name].threshold and found[name].real_vs_real < 0.03
    wide, others = train[:, :5], held_out[:, :5]
    assert near_copies(wide[[8]][:, ::-1, ::-1], wide, others, turned=True)["pixels"].distances == [0]


def test_distances_are_root_mean_squares_of_the_nearer_way_round(sets):
    fake, train, _ = sets
    copies = near_copies(*sets)["pixels"]
    for index, image in enumerate(fake / 255):
        ways = [np.sqrt(((train / 255 - way) ** 2).mean((1, 2, 3))) for way in (image, image[:, ::-1])]
        assert copies.distances[index] == pytest.approx(np.min(ways), abs=1e-6)
        assert copies.indices[index] == np.argmin(np.min(ways, axis=0))


def test_the_threshold_is_a_percentile_of_real_images_to_those_of_other_sources(sets):
    fake, train, held_out = sets
    copies = near_copies(fake, train, held_out, percentile=50)["pixels"]
    real = np.concatenate([train, held_out]) / 255
    apart = np.minimum(
        *([[np.sqrt(((one - way) ** 2).mean()) for one in train / 255] for way in ways]
          for ways in (real, real[:, :, ::-1]))
    )  # fmt: skip
    apart[np.arange(60), np.arange(60)] = np.inf
    assert copies.threshold == pytest.approx(np.percentile(apart.min(1), 50, method="inverted_cdf"), abs=1e-6)
    assert 0.4 < copies.real_vs_real < 0.6
    assert copies.sources == 120


@pytest.mark.parametrize("copies", [1, 5])
def test_about_one_in_a_hundred_real_images_is_as_near_by_chance(copies):
    generator = np.random.default_rng(1)

    def drawn(sources):
        plain = generator.normal(128, 30, (sources, 1, 6, 6, 1))
        many = plain + generator.normal(0, 3, (sources, copies, 6, 6, 1))
        return np.clip(many.reshape(-1, 6, 6, 1), 0, 255).astype(np.uint8), np.repeat(
            np.arange(sources), copies
        )

    (train, seen), (held_out, unseen), (fresh, _) = drawn(300), drawn(60), drawn(300)
    near = near_copies(fresh, train, held_out, train_sources=seen, held_out_sources=1000 + unseen)["pixels"]
    assert near.sources == 360
    assert 0 < near.real_vs_real < 0.03
    assert 0 < near.share < 0.03, "independent images are no copies"
    own, _ = drawn(1)
    copied = np.concatenate([train[:50], own])
    again = near_copies(copied, train, held_out, train_sources=seen, held_out_sources=1000 + unseen)["pixels"]
    assert again.share == 50 / len(copied) and again.threshold == near.threshold


def test_a_source_of_many_copies_weighs_as_one(sets):
    fake, train, held_out = sets
    crowd = np.concatenate([held_out, np.repeat(held_out[:1], 500, axis=0)])
    sources = np.r_[100:160, np.full(500, 100)]
    alone = near_copies(fake, train, held_out, train_sources=np.arange(60), held_out_sources=sources[:60])
    crowded = near_copies(fake, train, crowd, train_sources=np.arange(60), held_out_sources=sources)
    assert crowded["pixels"].threshold == alone["pixels"].threshold
    assert crowded["pixels"].real_vs_real == pytest.approx(alone["pixels"].real_vs_real)


def test_copies_of_the_same_xray_do_not_make_the_threshold(sets):
    fake, train, held_out = sets
    held_out = np.concatenate([held_out, train[:20]])  # a leak, known by its source
    sources = np.concatenate([np.arange(100, 160), np.arange(20)])
    told = near_copies(fake, train, held_out, train_sources=np.arange(60), held_out_sources=sources)["pixels"]
    assert told.threshold > 0.1
    with pytest.raises(
        EvaluationError,
        match=r"equal real images must have one source.*Received: 20 of 140 real images that repeat",
    ):
        Copies(train, held_out)
    one = np.concatenate([held_out[:60], train[:1]])  # as two blank X-rays may be
    assert near_copies(fake, train, one)["pixels"].threshold > 0.1


def test_features_are_searched_as_pixels_are(sets):
    fake, train, _ = sets
    copies = near_copies(*sets, extractor=lambda images: images.reshape(len(images), -1) / 255.0)["features"]
    rows = [one.reshape(len(one), -1) / 255 for one in (fake, train)]
    apart = np.linalg.norm(rows[0][:, None] - rows[1][None], axis=2)
    assert np.array_equal(copies.indices, apart.argmin(1))
    np.testing.assert_allclose(copies.distances, apart.min(1), atol=1e-5)
    assert copies.share == 2 / 8  # the mirrored one is no copy to these features


def test_the_summary_is_plain_json(sets):
    copies = near_copies(*sets)["pixels"].summary()
    assert json.loads(json.dumps(copies)) == copies
    assert copies["value"] == 3 / 8
    assert (copies["images"], copies["sources"]) == (8, 120)


def test_what_cannot_be_compared_is_refused(sets):
    fake, train, held_out = sets
    with pytest.raises(
        EvaluationError, match=r"one shape. Received: fake \(8, 8, 8, 3\), train \(60, 8, 8, 1\)"
    ):
        near_copies(np.repeat(fake, 3, 3), train, held_out)
    with pytest.raises(EvaluationError, match="Received: of one"):
        near_copies(fake, train, held_out, train_sources=np.arange(60))
    with pytest.raises(EvaluationError, match=r"60 and 60\. Received: 60 and 59"):
        near_copies(fake, train, held_out, train_sources=np.arange(60), held_out_sources=np.arange(59))
    with pytest.raises(EvaluationError, match=r"30 sources \(X-rays\) or more.*Received: 29 sources"):
        near_copies(fake, train[:20], held_out[:9])
    with pytest.raises(EvaluationError, match="Received: 1 images without one"):
        sources = np.array([None, *range(59)], object)
        near_copies(fake, train, held_out, train_sources=sources, held_out_sources=np.arange(100, 160))
    with pytest.raises(EvaluationError, match="training image of another source"):
        near_copies(fake, train, held_out, train_sources=np.zeros(60), held_out_sources=np.arange(60))
