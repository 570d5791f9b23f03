"""Work on a Dask cluster with a scheduler and workers of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.clusters import cluster_of
from keras_fracture import parallel
from keras_fracture.errors import ClusterError
from keras_fracture.parallel import engines, versions
from tests.parallel import tasks

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).parents[2]
OPTIONS = {"title": "squares", "unit": " numbers"}


@pytest.fixture
def client(cluster):
    with distributed.Client(scheduler_file=cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


def test_answers_come_in_the_order_of_rows_from_both_workers(cluster, tmp_path):
    with parallel.workers(cluster=cluster) as workers:
        answers = list(workers.map(tasks.square, range(100), batch=3, shared=1, **OPTIONS))
        pids = set(workers.map(tasks.pid, range(8), batch=1, shared=0.1, **OPTIONS))
    assert answers == [n * n + 1 for n in range(100)]
    assert len(pids) == 2


def test_an_address_does_as_well_as_a_file_and_errors_are_raised_as_they_are(cluster):
    address = json.loads(Path(cluster).read_text())["address"]
    with parallel.workers(cluster=address) as workers, pytest.raises(ValueError, match="no good"):
        list(workers.map(tasks.faulty, [1, 2, 3], batch=1, **OPTIONS))


def test_a_worker_killed_in_the_middle_is_made_up_for(cluster, client):
    victim = next(iter(client.run(os.getpid).values()))
    with parallel.workers(cluster=cluster) as workers:
        answers = workers.map(tasks.slow_square, range(60), batch=2, shared=0.05, **OPTIONS)
        found = [next(answers) for _ in range(18)]
        os.kill(victim, signal.SIGKILL)
        assert found + list(answers) == [n * n for n in range(60)]
        assert not workers.skipped
    client.wait_for_workers(2, timeout=30)


def test_a_poison_row_is_named_and_skipped(cluster, client, caplog):
    with parallel.workers(cluster=cluster) as workers:
        answers = list(workers.map(tasks.poisoned, [*range(6)], batch=2, shared=3, **OPTIONS))
        assert answers == [0, 1, 4, None, 16, 25]
        assert workers.skipped == ["3"] and "skipped" in caplog.text
    client.wait_for_workers(2, timeout=30)


def test_other_versions_are_refused(cluster, monkeypatch):
    monkeypatch.setattr(
        engines, "differences", lambda ours, theirs: versions.differences(ours, theirs | {"numpy": "1.0"})
    )
    with (
        pytest.raises(ClusterError, match=r"worker at tcp.* numpy 1\.0 instead of"),
        parallel.workers(cluster=cluster),
    ):
        pass


def test_a_worker_that_comes_later_is_asked_for_its_versions_too(cluster, monkeypatch):
    with parallel.workers(cluster=cluster) as workers:
        monkeypatch.setattr(engines, "_asked", lambda: (versions.versions() | {"keras": "9"}, "2"))
        with pytest.raises(ClusterError, match=r"keras .* instead of 9"):
            list(workers.map(tasks.square, [1], batch=1, **OPTIONS))


def test_a_lost_scheduler_is_one_error_and_parts_go_on(cluster, tmp_path):
    options = {"batch": 1, "shared": 0.1, "parts": tmp_path / "parts", **OPTIONS}
    with (
        cluster_of(1, tmp_path) as (scheduler, file),
        pytest.raises(ClusterError, match="scheduler is gone"),
        parallel.workers(cluster=file) as workers,
    ):
        for answer in workers.map(tasks.slow_square, range(100), **options):
            if answer == 9:
                scheduler.kill()
    before = len((tmp_path / "parts").read_text().splitlines()) - 1
    assert 0 < before < 100
    with parallel.workers(cluster=cluster) as workers:
        assert list(workers.map(tasks.slow_square, range(100), **options)) == [n * n for n in range(100)]


def test_no_scheduler_is_one_error(monkeypatch):
    monkeypatch.setattr(engines, "_CONNECT", 0.5)
    with (
        pytest.raises(ClusterError, match="No scheduler answers"),
        parallel.workers(cluster="tcp://127.0.0.1:9"),
    ):
        pass


def test_without_dask_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ClusterError, match=r"keras-fracture\[cluster\]"),
        parallel.workers(cluster="tcp://a:1"),
    ):
        pass


# What a shell starts in the background, as continuous integration may be, ignores Ctrl-C unless it asks for it.
PROGRAM = """
import signal, sys
from keras_fracture import parallel
from tests.parallel import tasks
signal.signal(signal.SIGINT, signal.default_int_handler)
with parallel.workers(cluster=sys.argv[1]) as workers:
    for pid in workers.map(tasks.pid, range(1000), batch=1, shared=0.1, title="t", unit=" n"):
        print("answer", flush=True)
"""


def test_ctrl_c_ends_our_tasks_and_leaves_the_cluster(cluster, client):
    before = set(client.run(os.getpid).values())
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, cluster], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )  # fmt: skip
    while b"answer" not in program.stdout.readline():
        pass
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=20)
    assert errors.decode().splitlines()[-1] == "KeyboardInterrupt"
    deadline = time.monotonic() + 5
    while any(client.processing().values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(client.processing().values())
    assert set(client.run(os.getpid).values()) == before
