"""What is garcia_inception's own, beyond that of a whole run."""

import numpy as np
import pandas as pd
import pytest

from keras_fracture.experiment.config import configure
from keras_fracture.experiment.splits import Split, counts
from keras_fracture.papers.garcia_inception import experiment as garcia
from keras_fracture.papers.garcia_inception.config import Config as GarciaInception
from keras_fracture.report.markdown import overlap


def test_garcias_learning_rate_falls_in_one_variant_alone():
    rates = {}
    for variant in ("paper", "published_code", "published_code_cosine"):
        optimizer = garcia.optimizer(configure(GarciaInception, "paper", variant=variant), 100)
        optimizer.build([])
        optimizer.iterations.assign(50)
        rates[variant] = float(optimizer.learning_rate)
    assert rates == pytest.approx({"paper": 1e-3, "published_code": 1e-3, "published_code_cosine": 5e-4})


def test_doubling_mirrors_left_and_right():
    images = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1)
    split = Split(images, np.array([1]), pd.DataFrame({"source": ["a"]}))
    both = garcia.doubled(split)
    assert both.images[1, 0, :, 0].tolist() == [2, 1, 0]
    assert both.labels.tolist() == [1, 1]
    assert both.sources.tolist() == ["a", "a"]


def test_an_image_and_its_mirror_image_count_once():
    table = pd.DataFrame({"source": ["a", "b"], "filename": ["a.png", "b.png"]})
    split = Split(np.zeros((2, 2, 2, 1), np.uint8), np.array([0, 1]), table)
    told = counts({"train": garcia.doubled(split), "test": split})
    once = {"images": 2, "findings": 1, "sources": 2, "images_of_training_sources": 2}
    assert told == {"train": once | {"with_mirrored": 4}, "test": once | {"with_mirrored": 2}}
    assert "train 2 images (4 with their mirror images) of 2 X-rays" in overlap(told)
    assert "test 2 images of 2 X-rays" in overlap(told)
