"""What is garcia_inception's own, beyond that of a whole run."""

import json

import numpy as np
import pandas as pd
import pytest

from keras_fracture.errors import OutputError
from keras_fracture.experiment.config import configure, from_recorded
from keras_fracture.experiment.runs import start
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


def test_garcias_published_code_starts_and_steps_as_pytorch_does(monkeypatch):
    """Bilinear images, the author's mean and standard deviation, PyTorch's first weights and epsilon."""
    small = {"stem_width": 2, "stages": ((2, True),)}
    monkeypatch.setattr(garcia, "NETWORKS", dict.fromkeys(garcia.NETWORKS, small))
    images = np.array([0, 102], np.uint8).reshape(2, 1, 1, 1)
    split = Split(images, np.array([0, 1]), pd.DataFrame({"source": ["a", "b"]}))
    for variant, resize, mean, first, epsilon in (
        ("paper", "lanczos", 0.2, "he_fan_out", 1e-7),
        ("published_code", "bilinear", 0.2184, "pytorch", 1e-8),
        ("published_code_cosine", "bilinear", 0.2184, "pytorch", 1e-8),
    ):
        config = configure(GarciaInception, "paper", variant=variant, image_size=32)
        assert garcia.preprocess(config).resize == resize
        assert garcia.optimizer(config, 10).epsilon == epsilon
        model = garcia.build_model(config, config.models[0], split)
        assert (model.mean, model.initializer) == (pytest.approx(mean), first)
    assert model.std == 0.2088
    fracatlas = configure(GarciaInception, "paper", variant="published_code", image_size=32, data="fracatlas")
    assert garcia.build_model(fracatlas, "inception_net_published", split).mean == pytest.approx(0.2)


def test_a_run_of_an_earlier_published_code_is_neither_gone_on_with_nor_repeated_otherwise(tmp_path):
    now = configure(GarciaInception, "paper", variant="published_code")
    start(now, "paper", tmp_path, resume=False)
    content = json.loads((tmp_path / "config.json").read_text())
    del content["settings"]["as_published"]  # which earlier versions did not know
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert not from_recorded(GarciaInception, content["settings"]).as_published
    with pytest.raises(OutputError, match="started with other settings of as_published"):
        start(now, "paper", tmp_path, resume=True)


def test_validation_gets_a_tenth_without_the_remainder():
    """As PyTorch's `random_split([0.9, 0.1])`: the paper trains on 15,954 of 17,726."""
    config = configure(GarciaInception, "paper", data="phantom", doubled=False)
    for count, drawn in ((17_726, 1_772), (8_863, 886), (16, 1), (5, 1)):
        table = pd.DataFrame({"source": ["a"] * count, "filename": [f"{row}.png" for row in range(count)]})
        whole = Split(np.zeros((count, 1, 1, 1), np.uint8), np.arange(count) % 2, table)
        halves = {
            "train": whole.take(np.arange(count // 2)),
            "validation": whole.take(np.arange(count // 2, count)),
        }
        sets = garcia.prepare_splits(config, halves, "paper")
        assert (len(sets["train"].labels), len(sets["validation"].labels)) == (count - drawn, drawn)


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
    assert "train 2 images (4 with their mirror images) of 2 X-rays" in overlap(told, "grouped")
    assert "test 2 images of 2 X-rays" in overlap(told, "grouped")
    assert "test 2 images of 2 studies. **2 of 2 test images show a study that is" in overlap(told, "studies")
