"""The trained models that come with the project."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.serving.predicting import Classifier
from tests.serving.asking import saved

FOLDER = Path(__file__).parents[2] / "saved_models"
CLASSIFIERS = ("compact_cnn", "inception_net", "resnet18_fracatlas")
NAMES = sorted((*CLASSIFIERS, "dcgan_generator"))


def test_they_are_four_and_small():
    assert sorted(path.parent.name for path in FOLDER.glob("*/1")) == NAMES
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 40e6


@pytest.mark.parametrize("name", NAMES)
def test_each_says_where_it_comes_from(name):
    text = (FOLDER / name / "1" / "metadata.json").read_text(encoding="utf-8")
    facts, card = json.loads(text), (FOLDER / name / "1" / "model_card.md").read_text(encoding="utf-8")
    assert facts["command"].startswith("keras-fracture reproduce ") and "/" not in facts["command"]
    assert facts["not_for_clinical_use"] and facts["date"] and facts["trained_on"] and facts["metrics"]
    for said in (facts["command"], facts["trained_on"], "**Not for clinical use**"):
        assert said in card
    if name in CLASSIFIERS:
        assert "fracatlas, split policy `grouped`" in facts["trained_on"]
        assert "0 test pictures show an X-ray that was trained on" in facts["trained_on"]
        auc = facts["metrics"]["auc"]
        assert 0.5 < auc["low"] < auc["value"] < auc["high"] < 1, "worth serving: better than a coin"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_bytes_and_the_loaded_model_agree(name, radiographs):
    served, model = Classifier(FOLDER / name), models.load(name)
    pictures = [saved(picture, "PNG") for picture in radiographs]
    answers = served.predict(pictures)
    assert answers.shape == (len(pictures), model.num_classes) and ((answers > 0) & (answers < 1)).all()
    rng = np.random.default_rng(0)
    given = rng.random((2, model.image_size, model.image_size, model.channels), "float32")
    signature = tf.saved_model.load(str(FOLDER / name / "1")).signatures["serving_default"]
    logits = model(given, training=False)
    expected = tf.sigmoid(logits) if model.num_classes == 1 else tf.nn.softmax(logits)
    np.testing.assert_allclose(signature(images=given)["probabilities"], expected, atol=1e-5)


def test_the_generator_draws_different_pictures():
    endpoint = tf.saved_model.load(str(FOLDER / "dcgan_generator" / "1")).signatures["generate"]
    label = {"label": tf.constant(-1)} if "label" in endpoint.structured_input_signature[1] else {}
    images = endpoint(n=tf.constant(8), seed=tf.constant(0), **label)["images"].numpy()
    assert images.dtype == np.uint8 and images.shape[0] == 8
    assert images.astype(float).std(axis=0).mean() > 10, "one picture eight times"
