"""Papers that deal own X-rays out by themselves, or measure by real ones: synthetic images among these."""

import numpy as np
import pandas as pd
import pytest

from keras_fracture.data import catalogue
from keras_fracture.errors import DataError, FractureError
from keras_fracture.experiment import splits
from keras_fracture.experiment.config import configure
from keras_fracture.papers.bai_dcgan.config import Config as BaiDCGAN
from keras_fracture.papers.garcia_inception import experiment as garcia_inception
from keras_fracture.papers.garcia_inception.config import Config as GarciaInception
from keras_fracture.papers.gupta_unit.parts import Role, _part


@pytest.fixture
def made(monkeypatch):
    """Files 0 to 9 of 40, which are synthetic."""
    names = np.array([f"{number}.png" for number in range(10)])
    monkeypatch.setattr(catalogue, "synthetic", lambda *_, **__: names)
    return set(names)


def split(count=40):
    table = pd.DataFrame({"filename": [f"{number}.png" for number in range(count)]})
    return splits.Split(np.zeros((count, 8, 8, 1), np.uint8), np.arange(count) % 2, table)


def test_generators_do_not_learn_from_what_others_drew(made):
    config = configure(BaiDCGAN, "smoke")
    with pytest.raises(
        DataError, match=r"leave synthetic ones out of phantom\. Received: 20 synthetic images among 80$"
    ):
        splits.check_real(config, {"train": split(), "test": split()})
    splits.check_real(config, {"train": split(10)})  # nothing else, of which preparation has told


def test_validation_that_is_drawn_anew_has_none(made):
    config = configure(GarciaInception, "smoke", doubled=False)
    dealt = garcia_inception.prepare_splits(config, {"train": split(), "validation": split()}, "paper")
    names = {name: set(dealt[name].table["filename"]) for name in dealt}
    assert names["train"] >= made and not names["validation"] & made
    assert len(dealt["validation"].labels) == 6 and len(dealt["train"].labels) == 74


def test_a_body_part_of_synthetic_images_alone_is_not_tested_on():
    images = split()
    images.table["body_part"] = np.repeat(["hand", "wrist"], 20)
    images.table["synthetic"] = np.repeat([True, False], 20)
    with pytest.raises(FractureError, match="give some of hand, or leave it out"):
        _part(images, Role("hand", "hand"), "humerus", (0.5, 0.2, 0.3), 0.1, 2, 0, "own", {})
