import keras
import numpy as np
import pytest

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import utility as utility_module
from keras_fracture.evaluation.utility import ARMS, utility


def draw(count, generator, bright=1):
    """Images of noise; those of one label have a bright bar."""
    labels = np.tile([0, 1], count // 2)
    images = generator.integers(0, 120, (count, 32, 32, 1))
    images[labels == bright, 8:24, 12:20] += 100
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def sets():
    generator = np.random.default_rng(0)
    test = (*draw(60, generator), np.repeat(np.arange(30), 2) // 2 * 2 + np.tile([0, 1], 30))
    return {
        "train": draw(200, generator),
        "test": test,
        "good": draw(240, generator),
        "bad": draw(200, generator, bright=0),
    }


@pytest.fixture(scope="module")
def scores(sets):
    return {
        kind: utility(sets["train"], sets["test"], sets[kind], epochs=6, seeds=1) for kind in ("good", "bad")
    }


def test_good_images_teach_and_are_recognised_as_real_ones_are(scores):
    assert tuple(scores["good"]) == tuple(ARMS)
    for arm in ARMS:
        auc = scores["good"][arm]["auc"]
        assert auc["value"] > 0.9, arm
        assert auc["low"] <= auc["value"] <= auc["high"]


def test_images_of_the_other_class_teach_the_wrong_thing(scores):
    assert scores["bad"]["trtr"]["auc"]["value"] > 0.9
    for arm in ("tstr", "trts"):
        assert scores["bad"][arm]["auc"]["value"] < 0.1, arm


def test_both_trainings_see_equally_many_images_of_each_class(sets):
    seen = []

    class Counting(keras.Model):
        pixel_range, channels = (0.0, 1.0), 1

        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, images, training=False):
            return self.dense(keras.ops.mean(images, (1, 2)))

        def fit(self, stream, steps_per_epoch, **settings):
            labels = np.concatenate([batch[1].numpy() for batch in stream.take(3)])
            seen.append((steps_per_epoch, np.bincount(labels).tolist()))
            return super().fit(stream, steps_per_epoch=1, shuffle=False, verbose=0)

    images, labels = sets["good"]
    keep = np.r_[np.flatnonzero(labels == 0)[:20], np.flatnonzero(labels == 1)[:10]]
    small = images[keep], labels[keep]
    utility(sets["train"], sets["test"], small, build=Counting, batch_size=10, seeds=1)
    assert seen == [(8, [20, 10])] * 2


def test_copies_of_one_image_make_no_narrower_interval(sets, monkeypatch):
    """Where a generator draws findings alone, healthy images to test on are real, each X-ray there many times."""
    monkeypatch.setattr(utility_module, "small_classifier", lambda *args, **kwargs: None)
    monkeypatch.setattr(utility_module, "probabilities", lambda model, images: images.mean((1, 2, 3)) / 255)
    images, labels = sets["good"]
    healthy, findings = images[labels == 0][:6], images[labels == 1]
    healthy[:3] += 30  # some are as bright as findings

    def width(copies):
        test = np.concatenate([np.repeat(healthy, copies, 0), findings])
        said = np.repeat((0, 1), (6 * copies, len(findings)))
        sources = np.concatenate([np.repeat(np.arange(6), copies), 100 + np.arange(len(findings))])
        auc = utility(sets["train"], sets["test"], sets["good"], synthetic_test=(test, said, sources))[
            "trts"
        ]["auc"]
        return auc["high"] - auc["low"]

    assert width(1) > 0.1
    assert width(20) == pytest.approx(width(1), rel=0.15)


def test_what_cannot_be_trained_on_is_refused(sets):
    images, labels = sets["good"]
    with pytest.raises(EvaluationError, match=r"synthetic needs.*both classes. Received: .* labels \[1\]"):
        utility(sets["train"], sets["test"], (images[labels == 1], labels[labels == 1]))
    with pytest.raises(EvaluationError, match="Received: 240 images, 239 labels"):
        utility(sets["train"], sets["test"], (images, labels[1:]))
    with pytest.raises(EvaluationError, match=r"one shape.*synthetic \(240, 32, 32, 3\)"):
        utility(sets["train"], sets["test"], (np.repeat(images, 3, 3), labels))
