"""What a classifier's report says and shows, beyond that of a whole run."""

import types

import numpy as np
import pandas as pd

from keras_fracture.papers import classifier_report
from keras_fracture.report import captions


def test_figures_of_images_show_one_of_each_xray():
    """Else all failures may be copies of one forearm."""
    sources = np.array([f"limb {number}" for number in (0, 1, 0, 2, 1, *range(3, 30))])
    split = types.SimpleNamespace(sources=sources)
    assert classifier_report._one_of_each(np.array([4, 2, 1, 0, 3]), split).tolist() == [4, 2, 3]
    assert classifier_report._one_of_each(np.arange(len(sources)), split).tolist() == [0, 1, 3, *range(5, 17)]


def test_a_report_says_where_the_last_weights_are_a_matter_of_luck():
    calm, unlucky = (pd.DataFrame({"val_accuracy": one}) for one in ([0.5, 0.9, 0.85], [0.6, 0.977, 0.582]))
    (sentence,) = captions.unsettled("paper split, net", [calm, unlucky])
    assert "paper split, net, seed 2 of 2.**" in sentence
    assert "97.7 % after epoch 2 and 58.2 % after the last" in sentence
    assert not list(captions.unsettled("net", [calm]))


def test_a_report_says_which_networks_have_learnt_nothing():
    histories = [pd.DataFrame({"val_accuracy": [0.9, 0.5]})] * 2
    answers = {"test": np.array([[0.2, 0.7, 0.4], [0.4, 0.4, 0.4]]), "validation": np.ones((2, 3))}
    trained = types.SimpleNamespace(histories=histories, probabilities=answers)
    (sentence,) = captions.warnings("paper", "net", trained, patience=5)
    assert sentence.startswith(
        "**paper split, net, seed 2 of 2: The network gives every image the same probability"
    )
    assert len(list(captions.warnings("paper", "net", trained, patience=None))) == 3
