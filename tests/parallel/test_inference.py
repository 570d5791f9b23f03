"""`evaluate`, `predict` and `generate` in this process, in two, and on a cluster: the same to the last byte."""

import os
import signal

import numpy as np
import pytest

from keras_fracture import data, inference, models, parallel, serving
from keras_fracture.data import Preprocess
from keras_fracture.inference import generating, predicting, scoring
from tests.parallel import tasks

ENGINES = ("jobs", "cluster")


@pytest.fixture(scope="module")
def jobs():
    with parallel.workers(2) as workers:
        yield workers


@pytest.fixture(params=ENGINES)
def workers(request):
    """Two workers of either kind."""
    if request.param == "jobs":
        yield request.getfixturevalue("jobs")
    else:
        with parallel.workers(cluster=request.getfixturevalue("cluster")) as workers:
            yield workers


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "cnn"
    metadata = {"classes": ["finding"]}
    serving.export(
        models.create("compact_cnn", image_size=32), folder, preprocess=Preprocess(size=32), metadata=metadata
    )
    return folder


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "gan"
    model = models.create("dcgan_generator", num_classes=2, image_size=32, width=2, channels=1)
    serving.export(model, folder, metadata={"classes": ["healthy", "finding"]})
    return folder


def test_answers_about_a_data_set(workers, classifier, dummy_root, monkeypatch):
    monkeypatch.setattr(scoring, "_BATCH", 5)
    train = data.load("kaggle_fracture", "train", data_dir=dummy_root)
    alone = inference.evaluate(classifier, train)
    assert scoring.text(inference.evaluate(classifier, train, workers=workers)) == scoring.text(alone)
    assert len(alone) == 12 and alone["probability"].nunique() > 4


def test_answers_about_files(workers, classifier, dummy_root, monkeypatch):
    monkeypatch.setattr(predicting, "_AT_A_TIME", 3)
    paths = [str(path) for path in sorted(dummy_root.rglob("*.jpg"))[:7]]
    paths.append(paths[0])
    names, alone = predicting.answers(classifier, paths)
    theirs, answers = predicting.answers(classifier, paths, workers)
    assert theirs == names == paths
    np.testing.assert_array_equal(answers, alone)


def test_images_that_are_drawn(workers, generator, tmp_path, monkeypatch):
    monkeypatch.setattr(generating, "_BATCH", 4)
    folders = {"alone": parallel.HERE, "others": workers}
    for name, those in folders.items():
        inference.generate(generator, tmp_path / name, 14, seed=3, workers=those)
    alone, others = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in folders
    )
    assert len(alone) == 15 and alone == others


class Killing:
    """Workers one of which is killed after some answers."""

    def __init__(self, workers):
        self._workers, self.killed = workers, 0

    def map(self, *given, **options):
        victim = next(iter(self._workers.map(tasks.pid, [0], batch=1, shared=0, title="", unit="")))
        for number, answer in enumerate(self._workers.map(*given, **options)):
            if number == 3:
                os.kill(victim, signal.SIGKILL)
                self.killed += 1
            yield answer


@pytest.mark.slow
def test_outputs_are_the_same_where_a_worker_is_killed(
    workers, classifier, generator, dummy_root, tmp_path, monkeypatch
):
    monkeypatch.setattr(scoring, "_BATCH", 2)
    monkeypatch.setattr(generating, "_BATCH", 4)
    train, killing = data.load("kaggle_fracture", "train", data_dir=dummy_root), Killing(workers)
    told = scoring.text(inference.evaluate(classifier, train, workers=killing))
    assert told == scoring.text(inference.evaluate(classifier, train))
    folders = {"alone": parallel.HERE, "others": killing}
    for name, those in folders.items():
        inference.generate(generator, tmp_path / name, 30, seed=3, workers=those)
    alone, others = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in folders
    )
    assert len(alone) == 31 and alone == others and killing.killed == 2
