"""The threshold that is chosen on validation."""

import numpy as np
import pytest
import scipy

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import best_threshold


@pytest.mark.parametrize(
    ("labels", "probabilities", "expected", "found"),
    [
        ([0, 1], [0.2, 0.6], 0.5999, 1),  # not 0.4: other images keep their sides
        ([0, 1, 0, 1], [0.2, 0.6, 0.6, 0.6], 0.5999, 3),
        ([0, 1], [0.6, 0.60001], 0.600005, 1),
        ([1, 0], [0.00001, 0.00001], 0.000005, 2),  # nothing is asked to lie below 0
        ([0, 1], [0.5, 0.5], 0.4999, 2),
        ([0, 1], [0.0, 0.0], 0.0, 2),
        ([0, 1], [-1e-7, 0.0], 0.0, 1),  # as float32 may round 0
        ([0, 1], [0.0, 1.0], 0.9999, 1),
        ([0, 1], [0.5, np.nextafter(0.5, 1)], np.nextafter(0.5, 1), 1),
        ([0, 1], np.array([0.5, np.nextafter(np.float32(0.5), np.float32(1))], np.float32), 0.5 + 2**-25, 1),
    ],
)
def test_the_best_threshold_lies_a_little_below_the_image_that_it_was_chosen_by(
    labels, probabilities, expected, found
):
    chosen = best_threshold(labels, probabilities)
    assert chosen == pytest.approx(expected, abs=1e-12)
    assert (np.asarray(probabilities, float) >= chosen).sum() == found


def test_a_float32_softmax_says_of_the_same_images_that_they_are_findings():
    """An exported model's: it lies below the float64 probability of a threshold in half of all runs."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = rng.permutation(np.arange(60) % 2)
        logits = rng.normal(size=(60, 2)).astype(np.float32) + np.stack([0 * labels, labels], 1).astype("f4")
        ours = scipy.special.expit(logits[:, 1].astype(float) - logits[:, 0])
        chosen = best_threshold(labels, ours)
        assert chosen not in ours
        np.testing.assert_array_equal(
            scipy.special.softmax(logits, 1)[:, 1].astype(float) >= chosen, ours >= chosen
        )


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([1, 1], [0.2, 0.4], r"both classes.*Received: \(2,\) labels of \[1\]"),
        ([0, 1], [0.2, np.nan], "finite"),
        ([0, 1, 1], [0.2, 0.4], "a label 0 or 1 for each"),
        ([0, 1], [-2.0, 3.0], r"from 0 to 1.*Received: -2 to 3"),
    ],
)
def test_a_threshold_is_chosen_on_both_classes_alone(labels, probabilities, message):
    with pytest.raises(EvaluationError, match=message):
        best_threshold(labels, probabilities)
