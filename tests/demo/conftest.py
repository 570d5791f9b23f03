"""Tiny models for the page."""

import keras
import pytest

from keras_fracture import models, serving
from keras_fracture.data import Preprocess
from keras_fracture.demo.shelf import Shelf


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Untrained models, one of each kind."""
    folder = tmp_path_factory.mktemp("demo") / "saved_models"
    keras.utils.set_random_seed(0)
    facts = {"trained_on": "phantom, split policy `grouped`"}
    threshold = {"threshold": {"value": 0.25, "chosen": "fixed beforehand"}}
    network = models.create("compact_cnn", image_size=32)
    prepared = Preprocess(size=32, clahe=(2.0, 8))
    serving.export(network, folder / "cnn", 1, prepared, facts | threshold | {"classes": ["finding"]})
    generator = models.create("dcgan_generator", image_size=32, width=2, channels=1, num_classes=2)
    serving.export(generator, folder / "gan", 1, None, facts | {"classes": ["healthy", "finding"]})
    serving.export(models.create("unit", image_size=16, width=2, channels=1), folder / "unit")
    return folder


@pytest.fixture(scope="session")
def shelf(folder):
    return Shelf([folder])
