"""A Dask cluster of this machine alone: a scheduler and workers, each a process."""

import contextlib
import os
import subprocess
import sys
import time

from benchmarks.errors import BenchmarkError
from benchmarks.processes import CHECKOUT


@contextlib.contextmanager
def cluster_of(workers, folder, threads=1, **environment):
    """Starts a cluster on 127.0.0.1 and ends it.

    Args:
        workers: How many of them.
        folder: For their files, among these `log`.
        threads: Of each worker.
        **environment: Variables for the processes.

    Yields:
        The scheduler's `subprocess.Popen`, and the path of its scheduler file.

    Raises:
        BenchmarkError: It does not start.
    """
    file, dask = folder / "scheduler.json", [sys.executable, "-m", "dask"]
    scheduler = [
        *dask,
        "scheduler",
        "--scheduler-file",
        file,
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    ]
    worker = [
        *dask, "worker", "--scheduler-file", file, "--host", "127.0.0.1", "--nthreads", str(threads),
        "--nworkers", str(workers), "--no-dashboard", "--local-directory", folder,
    ]  # fmt: skip
    variables = os.environ | {"PYTHONPATH": str(CHECKOUT), **environment}
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(folder / "log", "wb"))
        process = stack.enter_context(_running(scheduler, variables, folder, log))
        # Ended before the scheduler: workers leave while there is one to leave.
        stack.enter_context(_running(worker, variables, folder, log))
        deadline = time.monotonic() + 60
        while not file.is_file():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(
                    f"Dask's scheduler does not start. Received: {(folder / 'log').read_text()[-300:]}"
                )
            time.sleep(0.05)
        yield process, file


@contextlib.contextmanager
def _running(command, variables, folder, log):
    process = subprocess.Popen(command, env=variables, cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
