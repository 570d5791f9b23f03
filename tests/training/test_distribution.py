import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from keras_fracture import cli, papers
from keras_fracture.data import Augmentation
from keras_fracture.errors import DistributionError
from keras_fracture.training import cluster, distribution, running

sys.path.insert(0, str(Path(__file__).parent))
import worker  # what the processes train

NETWORKS = ("dcgan", "resnet18")
# One process has TensorFlow's fused batch normalisation, several have its sums: after 20 steps of ResNet-18 they are
# 5e-6 apart on processors with AVX2 and 6e-4 with AVX-512, of weights that move by up to 6.3.
TOLERANCE = {"dcgan": 1e-5, "unit": 1e-5, "resnet18": 2e-3}
WITH_UNIT = ("dcgan", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "unit")))


def _ports(count):
    """Ports that are free now, on the loopback interface."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _start(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _configs():
    """TF_CONFIG of two workers on this machine."""
    members = {"worker": [f"127.0.0.1:{port}" for port in _ports(2)]}
    return [
        json.dumps({"cluster": members, "task": {"type": "worker", "index": index}}) for index in range(2)
    ]


def _pair(folder, *jobs, die=None):
    """Two workers; the one numbered `die[0]` ends itself in epoch `die[1]`."""
    jobs = [f"multiworker:{job}" for job in jobs]
    return [
        _start(
            worker.__file__,
            folder,
            *jobs,
            *(("--die", die[1]) if die and die[0] == index else ()),
            TF_CONFIG=config,
        )
        for index, config in enumerate(_configs())
    ]


def _finish(processes):
    """Waits until all have ended well."""
    try:
        for one in processes:
            _, errors = one.communicate(timeout=600)
            assert one.returncode == 0, errors[-3000:]
    finally:
        for one in processes:
            one.kill()


def _weights(folder):
    with np.load(folder / "weights.npz") as stored:
        return list(stored.values())


def _furthest(one, other):
    """The largest difference of any weight."""
    assert len(one) == len(other) > 3
    return max(np.abs(a.astype(float) - b).max() for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the networks trained by one device, by two, and the DCGAN by two workers."""
    folder = tmp_path_factory.mktemp("distributed")
    alone = [f"none:{name}" for name in (*NETWORKS, "dense", "uneven")]
    mirrored = [f"mirrored:{name}" for name in ("resnet18", "plain", "uneven")]
    _finish(
        [
            _start(worker.__file__, folder, *alone, *mirrored),
            *_pair(folder, "dcgan"),
        ]
    )
    return folder


@pytest.fixture(scope="module")
def resnet_trained(trained):
    """The same folder, with ResNet-18 trained by two workers, too."""
    _finish(_pair(trained, "resnet18"))
    return trained


@pytest.fixture(scope="module")
def unit_trained(tmp_path_factory):
    """The same of the one network that takes longest, by one device and by two workers."""
    folder = tmp_path_factory.mktemp("unit")
    _finish([_start(worker.__file__, folder, "none:unit"), *_pair(folder, "unit")])
    return folder


@pytest.fixture
def trained_by(request, name):
    """The folder that a network was trained in."""
    return request.getfixturevalue(
        {"unit": "unit_trained", "resnet18": "resnet_trained"}.get(name, "trained")
    )


@pytest.mark.parametrize("name", WITH_UNIT)
def test_two_workers_train_what_one_process_trains(trained_by, name):
    alone, together = trained_by / "none" / name, trained_by / "multiworker" / name
    assert _furthest(_weights(alone), _weights(together)) < TOLERANCE[name]
    expected, received = (
        pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (alone, together)
    )
    pd.testing.assert_frame_equal(received, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", WITH_UNIT)
def test_training_moves_weights_by_far_more_than_the_tolerance(trained_by, name):
    folder = trained_by / "none" / name / "backup"
    assert [path.name for path in folder.glob("*.h5")] == ["epoch-00002.weights.h5"]
    model, _, _ = _untrained(name)
    assert _furthest(_weights(trained_by / "none" / name), [one.numpy() for one in model.weights]) > 1e-3


def _untrained(name):
    import keras

    keras.utils.set_random_seed(1)
    return worker.KINDS[name]()


def test_fit_on_two_devices_equals_one(trained):
    alone, mirrored = trained / "none" / "resnet18", trained / "mirrored" / "resnet18"
    assert _furthest(_weights(alone), _weights(mirrored)) < TOLERANCE["resnet18"]
    expected, received = (
        pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (alone, mirrored)
    )
    pd.testing.assert_frame_equal(received, expected, rtol=1e-3, atol=1e-6)


def test_shares_of_an_epochs_last_batch_need_not_be_equal(trained):
    """Statistics were those of twice as many images as the first replica had, and noise overlapped."""
    alone, mirrored = (_weights(trained / strategy / "uneven") for strategy in ("none", "mirrored"))
    assert _furthest(alone, mirrored) < TOLERANCE["dcgan"]


def test_statistics_that_replicas_do_not_share_are_averaged_before_saving(trained):
    _, _, mean, variance, _, _ = _weights(trained / "mirrored" / "plain")
    pixels = worker.images().astype(float) / 255
    np.testing.assert_allclose(mean, pixels.mean(), atol=1e-6)
    # The mean of both halves' variances: less than the whole's, by what their means differ.
    assert 0 < pixels.var() - variance[0] < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_other_worker_stops_and_both_resume(trained, tmp_path, victim):
    processes = _pair(tmp_path, "dense", die=(victim, 1))
    try:
        _, _ = processes[victim].communicate(timeout=600)
        start = time.monotonic()
        _, errors = processes[1 - victim].communicate(timeout=60)
    finally:
        for one in processes:
            one.kill()
    assert time.monotonic() - start < 60
    assert processes[1 - victim].returncode == 2
    error = errors.strip().splitlines()[-1]
    assert f"lost worker {victim}" in error and "--resume" in error and "Traceback" not in errors
    folder = tmp_path / "multiworker" / "dense"
    assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [1]
    _finish(_pair(tmp_path, "dense"))
    assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [1, 2]
    assert _furthest(_weights(folder), _weights(trained / "none" / "dense")) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("key", papers.names())
def test_every_paper_runs_on_two_workers(tmp_path, key):
    out = tmp_path / "run"
    words = ["reproduce", key, "--profile", "smoke", "--strategy", "multiworker", "--out", out]
    _finish([_start("-m", "keras_fracture.cli", *words, TF_CONFIG=config) for config in _configs()])
    config = json.loads((out / "config.json").read_text())
    assert (config["strategy"], config["replicas"]) == ("multiworker", 2)
    assert json.loads((out / "metrics.json").read_text()) and (out / "report.md").read_text()
    assert not list(out.rglob(".*")), "half-written files"


def _config(**changes):
    config = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}
    return json.dumps(config | changes)


def test_workers_end_with_the_average_of_weights_as_keras_does():
    """Their `fit` is the package's own."""
    import keras
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = keras.Sequential(
            [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
        )
        model.compile(keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5), lambda _, outputs: outputs)
    one = np.ones((1, 1), "float32")
    stream = tf.data.Dataset.from_tensors((one, one)).repeat()
    distribution.fit(model, stream, epochs=2, steps_per_epoch=1)
    assert model.get_weights()[0].item() == -1.5  # of -1 and -2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "needs the environment variable TF_CONFIG"),
        ("{", "must be JSON"),
        ("[]", "must be JSON"),
        ("{}", "must be JSON.*cluster"),
        (_config(task={"type": "worker"}), "must be JSON.*index"),
        (_config(task={"type": "worker", "index": "first"}), "must be JSON.*first"),
        (_config(task={"type": "worker", "index": 2}), "2 worker.*Received: worker 2"),
        (_config(task={"type": "worker", "index": -1}), "Received: worker -1"),
        (_config(task={"type": "ps", "index": 0}), "chief or a worker.*'ps'"),
        (_config(task={"type": "chief", "index": 0}), "chief or a worker"),
    ],
)
def test_a_bad_tf_config_is_a_distribution_error(monkeypatch, text, words):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(DistributionError, match=words), distribution.using("multiworker"):
        pass
    assert distribution.current() is distribution.ONE_DEVICE


def test_a_chief_is_the_first_worker(monkeypatch):
    members = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    for task, worker_number in ((("chief", 0), 0), (("worker", 0), 1), (("worker", 1), 2)):
        kind, index = task
        monkeypatch.setenv(
            "TF_CONFIG", json.dumps({"cluster": members, "task": {"type": kind, "index": index}})
        )
        assert cluster.parse_tf_config()[:2] == (3, worker_number)


def test_unknown_strategies_are_named(capsys):
    with (
        pytest.raises(DistributionError, match=r"none, mirrored, multiworker.*'tpu'"),
        distribution.using("tpu"),
    ):
        pass
    assert cli.main(["reproduce", "bai_dcgan", "--profile", "smoke", "--strategy", "tpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Received: 'tpu'" in error


@pytest.fixture
def as_worker(monkeypatch):
    """Lets the pipeline believe that this is one of several workers."""

    def pretend(number, workers=2, replicas=2):
        strategy = SimpleNamespace(num_replicas_in_sync=replicas)
        own = distribution.Distribution("multiworker", strategy, workers, number)
        monkeypatch.setattr(distribution, "current", lambda: own)
        return own

    return pretend


def _numbers(take, **options):
    images = np.arange(26, dtype=np.uint8).reshape(26, 1, 1, 1)
    dataset, steps = running.make_train_dataset(images, batch_size=8, pixel_range=(0, 255), seed=3, **options)
    received = [
        batch.ravel().round().astype(int).tolist() for (batch,) in dataset.take(take).as_numpy_iterator()
    ]
    return received, steps


@pytest.mark.parametrize("replicas", [2, 4])
@pytest.mark.parametrize("first", [0, 2])
def test_workers_read_their_rows_of_every_batch(as_worker, replicas, first):
    whole, steps = _numbers(5, first_epoch=first)
    shares = []
    for number in range(2):
        as_worker(number, replicas=replicas)
        own = replicas // 2  # elements a step and worker, one for each of its replicas
        received, per_epoch = _numbers(5 * own, first_epoch=first)
        assert per_epoch == steps
        shares.append(np.reshape(received, (5, -1)))
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), whole)


def test_workers_augment_their_rows_as_one_process_does(as_worker):
    def rows():
        stream, _ = running.make_train_dataset(
            np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), np.uint8),
            batch_size=8,
            augment=Augmentation(),
        )
        return np.asarray(next(iter(stream))[0])

    whole, shares = rows(), []
    for number in range(2):
        as_worker(number, replicas=2)
        shares.append(rows())
    np.testing.assert_array_equal(np.concatenate(shares), whole)


def test_a_batch_that_replicas_cannot_share_is_refused(as_worker):
    as_worker(0, replicas=3, workers=3)
    with pytest.raises(DistributionError, match=r"that 3 divides\. Received: batches of 8 for 3"):
        _numbers(1)


@pytest.mark.parametrize("other", [0, 1])
def test_only_the_first_worker_writes_into_the_run_folder(as_worker, monkeypatch, tmp_path, other):
    this = as_worker(other)
    monkeypatch.setattr(
        distribution.Distribution, "sum", lambda _, numbers: 2 * np.array(numbers, float)
    )  # the other agrees
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "epoch.h5").write_text("weights")
    with this.worker_dir(tmp_path) as own:
        assert (own / "backup" / "epoch.h5").read_text() == "weights"
        (own / "backup" / "epoch.h5").unlink()
        (own / "new.txt").write_text("of this worker")
    names = [path.name for path in tmp_path.rglob("*.*")]
    assert names == (["epoch.h5"] if other else ["new.txt"]) and own.exists() == (other == 0)


def test_workers_with_different_files_or_epochs_are_refused(as_worker, monkeypatch, tmp_path):
    own = as_worker(1)
    # The first worker has no files, and found three epochs.
    monkeypatch.setattr(distribution.Distribution, "sum", lambda _, numbers: np.add(numbers, (3.0, 9.0)))
    with pytest.raises(DistributionError, match="storage that all of them share"):
        own.check_files(tmp_path)
    with pytest.raises(DistributionError, match="2 epochs on worker 1"):
        own.check_epoch(2)
    own.check_epoch(3)


def test_messages_point_at_a_file_that_is_there():
    words = re.search(r"examples/\S+\.md", cluster.HELP)[0]
    assert (Path(__file__).parents[2] / words).is_file()
