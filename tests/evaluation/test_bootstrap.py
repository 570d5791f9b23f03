"""Intervals of differences between sets of models."""

import numpy as np
import pytest

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import Predictions, gains


def test_runs_of_other_numbers_are_each_drawn_by_themselves():
    labels, sources = np.arange(40) % 2, np.arange(40).astype(str)
    right, wrong = labels.astype(float), 0.9 - 0.5 * labels  # AUC 1 and 0, whichever sources are drawn
    one, three = (Predictions(labels, sources, np.stack(runs)) for runs in ([right], [right, wrong, right]))
    found = gains(one, three, ["auc"])["auc"]
    # Three draws of 1, 0 and 1: all are 0 in one of 27 resamples, which is more than the 2.5 % left out.
    assert found == {"value": pytest.approx(1 / 3), "low": 0.0, "high": 1.0}
    turned = gains(three, one, ["auc"])["auc"]
    assert turned == {"value": pytest.approx(-1 / 3), "low": -1.0, "high": 0.0}
    two = Predictions(labels, sources, np.stack([right, wrong]))
    assert gains(two, three, ["auc"])["auc"] == pytest.approx({"value": -1 / 6, "low": -1.0, "high": 2 / 3})
    few = Predictions(labels[:30], sources[:30], right[None, :30])
    with pytest.raises(EvaluationError, match=r"needs the same images\. Received: 30 and 40 images"):
        gains(few, one)
