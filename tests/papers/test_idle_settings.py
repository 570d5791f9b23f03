"""Settings of classifiers that change nothing with the images of a run."""

from types import SimpleNamespace

import pandas as pd
import pytest

from keras_fracture.errors import FractureError
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.runs import Run
from keras_fracture.papers import classifier, classifier_report
from keras_fracture.papers.lisbon_resnet import experiment as lisbon_resnet
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonResNet


@pytest.fixture
def given(monkeypatch):
    """A function of body parts and how files begin that makes these the images of every run."""

    def images(parts, *begin):
        stream = SimpleNamespace(as_numpy_iterator=lambda: [{"image": one + b"..."} for one in begin])
        records = SimpleNamespace(table=pd.DataFrame({"body_part": parts}), raw=lambda _: stream)
        monkeypatch.setattr(classifier, "load_records", lambda *_: {"train": records, "test": records})
        return {"train": records}

    return images


def check(tmp_path, **settings):
    config = configure(LisbonResNet, "smoke", **settings)
    classifier.check_images(config, Run(tmp_path))
    return config


def test_one_body_part_teaches_nothing_which_is_said_and_reported(given, tmp_path, caplog):
    several = given(["hand", "leg"], b"")
    config = check(tmp_path, variant="tuned")
    assert caplog.messages == []
    results = {"grouped": SimpleNamespace(sets=several)}
    assert "that of body parts" in classifier_report._loss(classifier_report._as_trained(config, results))
    results = {"grouped": SimpleNamespace(sets=given(["hand", "hand"], b""))}
    check(tmp_path, variant="tuned")
    assert caplog.messages == [
        "all training images of the grouped split show one body part, so that body_parts teaches nothing and is left "
        "out. Received: hand"
    ]
    carried_out = classifier_report._as_trained(config, results)
    assert carried_out.body_parts is False and "body parts" not in classifier_report._loss(carried_out)
    with pytest.raises(FractureError, match=r"leave it out. Received: hand alone$"):
        check(tmp_path, body_parts=True)


def test_jpeg_files_that_are_none_are_not_reduced_which_is_said(given, tmp_path, caplog):
    given(["hand"], b"\x89PNG", b"\xff\xd8\xff")
    check(tmp_path, jpeg="reduced")
    given(["hand"], b"\x89PNG", b"\x89PNG")
    check(tmp_path, jpeg="full")
    assert caplog.messages == []
    check(tmp_path, jpeg="reduced")
    assert caplog.messages == ["no image of phantom is a JPEG file, so that jpeg=reduced changes nothing"]


def test_boxes_that_are_not_there_are_refused_or_said(monkeypatch, tmp_path, caplog):
    one = [[0.1, 0.1, 0.2, 0.2]]

    def given(*boxes):
        table = pd.DataFrame({"label": [1, 1, 0], "boxes": [*boxes, []]})
        records = {"train": SimpleNamespace(table=table)}
        monkeypatch.setattr(classifier, "load_records", lambda *_: records)

    given(one, one)
    check(tmp_path, box_weight=0.3)
    assert caplog.messages == []
    given(one, [])
    check(tmp_path, box_weight=0.3)
    assert caplog.messages == [
        "of 1 of 2 findings of the grouped split no box is known: what lies where in these images is not learnt"
    ]
    given([], [])
    with pytest.raises(FractureError, match="phantom, 2 findings of the grouped split without one"):
        check(tmp_path, box_weight=0.3)


def test_a_warmup_of_less_than_a_step_is_said_once(caplog):
    config = configure(LisbonResNet, "smoke", warmup=0.013)
    assert lisbon_resnet.optimizer(config, 77).learning_rate == 0  # of the first step, which warms up
    assert caplog.messages == []
    for _ in range(2):
        lisbon_resnet.optimizer(config, 76)
    (said,) = caplog.messages
    assert "less than a step, so that it changes nothing" in said
    assert said.endswith("Received: warmup 0.013 of 76 steps")
