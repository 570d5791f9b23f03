"""`reproduce` by workers: the numbers of one process."""

import functools
import json
import random
import shutil
import threading
import time

import numpy as np
import pytest

from benchmarks.clusters import cluster_of
from keras_fracture import cli, papers, parallel
from keras_fracture.errors import DataError, DistributionError, TrainingError
from keras_fracture.experiment import ahead, runs
from keras_fracture.experiment.config import configure
from keras_fracture.papers.ibrahim_gan.config import Config
from tests.data import phantoms
from tests.papers.test_ibrahim_gan import TINY
from tests.parallel.test_inference import Killing


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    with phantoms.few(60, 48, tmp_path_factory.mktemp("cache")):
        yield


def _draw(config, run, job):
    """What Keras draws seeds from, slowly."""
    random.seed(job[0])
    drawn = [(random.randint(1, 10**9), time.sleep(0.002))[0] for _ in range(20)]
    (run.folder / f"{job[0]}.txt").write_text(str(drawn))


class Dying:
    """Workers that die of every second training."""

    def map(self, function, rows, **options):
        return [None if number % 2 else True for number, _ in enumerate(rows)]


def _train(config, run, job):
    """What a run under test trains: it writes what it was given."""
    (run.folder / f"{'-'.join(map(str, job))}.txt").write_text(f"{config.seed} {run.data_dir}")


def _start(config, folder, images):
    """Begins a run, of images whose hash is made up."""
    recorded = runs.start(config, "smoke", folder, resume=False)
    recorded["fingerprints"] = {"grouped": {"train": images}}
    (folder / "config.json").write_text(json.dumps(recorded))


@functools.lru_cache
def _loaded(run):
    return (run.folder / "xrays.txt").read_text()


def _train_on_loaded(config, run, job):
    (run.folder / f"{job[0]}.txt").write_text(_loaded(run))


def test_each_training_is_left_in_the_run_folder(few, tmp_path):
    config, jobs = configure(Config, "smoke", seed=7), [("grouped", 0), ("grouped", 1)]
    recorded = runs.start(config, "smoke", tmp_path, resume=False)
    runs.record_fingerprints(config, recorded, tmp_path)
    ahead.train(config, runs.Run(tmp_path, "data", workers=parallel.HERE), _train, jobs)
    for number in (0, 1):
        seed, data_dir = (tmp_path / f"grouped-{number}.txt").read_text().split()
        assert seed == "7" and data_dir.endswith("/data")


def test_other_threads_of_a_worker_take_no_random_numbers_away(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "_check_images", lambda *_: None)
    generators = [random.Random(seed) for seed in (0, 1)]
    expected = [str([one.randint(1, 10**9) for _ in range(20)]) for one in generators]
    over, drawn = threading.Event(), []
    thread = threading.Thread(target=lambda: [drawn.append(random.random()) for _ in iter(over.is_set, True)])
    thread.start()
    try:
        run = runs.Run(tmp_path, workers=parallel.HERE)
        _start(configure(Config, "smoke"), tmp_path, "0")
        ahead.train(configure(Config, "smoke"), run, _draw, [(0,), (1,)])
    finally:
        over.set()
        thread.join()
    assert [(tmp_path / f"{number}.txt").read_text() for number in (0, 1)] == expected
    assert len(drawn) > 20 and random.random.__self__ is random.randint.__self__


def test_what_a_worker_keeps_of_a_run_is_not_taken_for_another_one_of_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "_check_images", lambda *_: None)
    config, folder = configure(Config, "smoke"), tmp_path / "run"
    for images in ("old", "new"):  # the same command again, after the X-rays were exchanged
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _start(config, folder, images)
        (folder / "xrays.txt").write_text(images)
        ahead.train(config, runs.Run(folder, workers=parallel.HERE), _train_on_loaded, [("a",), ("b",)])
        assert [(folder / f"{name}.txt").read_text() for name in "ab"] == [images, images]


def test_a_worker_that_sees_other_images_trains_nothing(few, tmp_path):
    config = configure(Config, "smoke", seed=8)
    recorded = runs.start(config, "smoke", tmp_path, resume=False)
    runs.record_fingerprints(config, recorded, tmp_path)
    recorded["fingerprints"]["grouped"]["train"] = "0" * 64
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    with pytest.raises(DataError, match="other images"):
        ahead.train(config, runs.Run(tmp_path, workers=parallel.HERE), _train, [("a", 0), ("a", 1)])
    assert not list(tmp_path.glob("*.txt"))


def test_a_training_that_kills_workers_is_named(tmp_path):
    run = runs.Run(tmp_path, workers=Dying())
    with pytest.raises(TrainingError, match="Received: grouped 1"):
        ahead.train(configure(Config, "smoke"), run, _train, [("grouped", 0), ("grouped", 1)])


def test_a_strategy_and_workers_are_refused(tmp_path):
    with pytest.raises(DistributionError, match="strategy mirrored with workers"):
        papers.reproduce("ibrahim_gan", "smoke", out=tmp_path, strategy="mirrored", workers=parallel.HERE)


def _numbers(folder):
    """All arrays of a run folder, and its metrics."""
    arrays = {path.relative_to(folder): dict(np.load(path)) for path in folder.rglob("*.npz")}
    metrics = json.loads((folder / "metrics.json").read_text())
    return arrays, _without_times(metrics)


def _without_times(content):
    if isinstance(content, dict):
        return {name: _without_times(one) for name, one in content.items() if "minutes" not in name}
    return [_without_times(one) for one in content] if isinstance(content, list) else content


def _assert_same(folder, other):
    (arrays, metrics), (theirs, their_metrics) = _numbers(folder), _numbers(other)
    assert arrays.keys() == theirs.keys() and len(arrays) > 1
    for path, contents in arrays.items():
        for name, array in contents.items():
            np.testing.assert_array_equal(array, theirs[path][name], err_msg=f"{path} {name}")
    assert metrics == their_metrics


@pytest.mark.slow
def test_ibrahim_gan_is_the_same_alone_in_two_processes_and_on_a_cluster(few, tmp_path):
    pytest.importorskip("distributed")
    settings = [f"{name}={','.join(map(str, np.atleast_1d(value)))}" for name, value in TINY.items()]
    command = ["reproduce", "ibrahim_gan", "--profile", "smoke", *(f"--set={one}" for one in settings)]
    with cluster_of(2, tmp_path) as (_, file):  # with the cache of these few images
        for name, options in {
            "alone": [],
            "jobs": ["--jobs", "2"],
            "cluster": ["--cluster", str(file)],
        }.items():
            assert cli.main([*command, "--out", str(tmp_path / name), *options]) == 0
            _assert_same(tmp_path / "alone", tmp_path / name)
        with parallel.workers(cluster=file) as workers:
            killing = Killing(workers)
            papers.reproduce("ibrahim_gan", "smoke", out=tmp_path / "killed", workers=killing, **TINY)
        _assert_same(tmp_path / "alone", tmp_path / "killed")
        assert killing.killed == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("bai_dcgan", {"seeds": 2}),
        ("garcia_inception", {"seeds": 2}),
        ("lisbon_resnet", {"seeds": 2}),
        ("gupta_unit", {"seeds": 2}),
    ],
)
def test_other_papers_are_the_same_in_two_processes(few, tmp_path, key, settings):
    papers.reproduce(key, "smoke", out=tmp_path / "alone", **settings)
    with parallel.workers(2) as workers:
        papers.reproduce(key, "smoke", out=tmp_path / "jobs", workers=workers, **settings)
    _assert_same(tmp_path / "alone", tmp_path / "jobs")
