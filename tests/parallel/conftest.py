"""A cluster on 127.0.0.1: one scheduler and two workers of one thread, each a process."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DASK = [sys.executable, "-m", "dask"]


@contextlib.contextmanager
def cluster_of(workers, folder):
    """Gives the scheduler's process and its file."""
    file = folder / "scheduler.json"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",  # 3 by default: as many more restarts of workers
    }
    log = open(folder / "log", "wb")  # noqa: SIM115
    options = {"env": environment, "cwd": folder, "stdout": log, "stderr": log}
    scheduler = [
        *DASK, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file,
    ]  # fmt: skip
    worker = [
        *DASK, "worker", "--scheduler-file", file, "--host", "127.0.0.1", "--nthreads", "1", "--nworkers", str(workers),
        "--no-dashboard", "--local-directory", folder,
    ]  # fmt: skip
    processes = [subprocess.Popen(scheduler, **options), subprocess.Popen(worker, **options)]
    try:
        deadline = time.monotonic() + 60
        while not file.is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield processes[0], file
    finally:
        for process in reversed(processes):  # workers leave while there is a scheduler to leave
            process.terminate()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
        log.close()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The scheduler file of a cluster of two workers."""
    distributed = pytest.importorskip("distributed")
    with cluster_of(2, tmp_path_factory.mktemp("cluster")) as (_, file):
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield str(file)
