"""What tasks run on: this process, processes of this machine, or a Dask cluster; each has an `Executor`."""

import concurrent.futures as cf
import contextlib
import importlib
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path

from keras_fracture import progress
from keras_fracture.errors import ClusterError
from keras_fracture.lazy import import_tensorflow
from keras_fracture.parallel.versions import differences, versions

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
AHEAD = 2  # tasks that are handed out for each worker: one that it computes, one that waits
_CONNECT = 10  # seconds for which a scheduler is looked for
_ALONE = threading.Lock()
_THREADS = "TF_NUM_INTRAOP_THREADS"  # gradients differ by rounding with another number
_given = {}
_DASK_LOG = logging.getLogger("distributed.client")


def _asked():
    """What `run` compares a worker with."""
    return versions(), os.environ.get(_THREADS, str(CORES))


def run(function, rows, shared, threaded, asked, threads):
    """One task in a worker, see `Workers.map`; `asked` are the `versions` of who asks, `threads` its TensorFlow's."""
    if told := differences(asked, versions()):
        raise ClusterError(f"A worker has other versions than this process. Received: {told}")
    if _given.setdefault("threads", threads) != threads:
        raise ClusterError(
            f"A worker has computed with TensorFlow on {_given['threads']} threads, which cannot change: restart the "
            f"workers, or set TF_NUM_INTRAOP_THREADS to that. Received: {threads}"
        )
    os.environ[_THREADS] = threads  # TensorFlow looks when it first computes
    with progress.quiet(), contextlib.nullcontext() if threaded else _ALONE:
        return checked(function(rows, shared), rows)


def checked(answers, rows):
    """Answers as a list, one a row."""
    answers = list(answers)
    if len(answers) != len(rows):
        raise ValueError(f"a task of {len(rows)} rows has {len(answers)} answers")
    return answers


class Here:
    """This process: one task at a time where it is called, or as many as there are cores in threads.

    Attributes:
        died: Exception types that tell that a task's worker died.
        innocent: Whether one dead worker may take tasks of others along.
    """

    died, innocent = (), False

    def __init__(self):
        self._pool = None

    @contextlib.contextmanager
    def mapping(self):
        """Gives what one map is done with: threads of its own, since one map may be within another."""
        engine = Here()
        try:
            yield engine
        finally:
            engine.close()

    def room(self, threaded):
        """How many tasks to hand out at once."""
        return AHEAD * CORES if threaded else 1

    def submit(self, function, rows, shared, threaded):
        """Begins a task; returns a `concurrent.futures.Future`."""
        if threaded:
            self._pool = self._pool or cf.ThreadPoolExecutor(CORES)
            return self._pool.submit(lambda: checked(function(rows, shared), rows))
        future = cf.Future()
        try:
            future.set_result(checked(function(rows, shared), rows))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self, now=False):
        """Ends what was begun; `now` without waiting for tasks whose answers nobody wants."""
        if self._pool:
            self._pool.shutdown()


class Pool:
    """Processes of this machine, `jobs` of them, which share its cores; as `Here`."""

    died, innocent = (BrokenProcessPool,), True

    def __init__(self, jobs):
        self._jobs, self._pool = jobs, None
        self.renew()

    def renew(self):
        """New processes, in place of those of which one died."""
        self.close(now=True)
        context = multiprocessing.get_context("spawn")
        self._pool = cf.ProcessPoolExecutor(self._jobs, context, initializer=_start)
        try:
            self._pool.submit(os.getpid).result()
        except BrokenProcessPool:
            raise ClusterError(
                "No process can be started. In a script of your own, put what calls this below "
                f"`if __name__ == '__main__':`. Received: {self._jobs} jobs"
            ) from None

    def mapping(self):
        return contextlib.nullcontext(self)

    def room(self, threaded):
        return AHEAD * self._jobs

    def submit(self, function, rows, shared, threaded):
        # Pickled here, so that a worker may import TensorFlow before the function's module does, with more words.
        task = pickle.dumps((function, rows, shared, threaded, *_asked()))
        try:
            return self._pool.submit(_run_pickled, task, "tensorflow" in sys.modules and not threaded)
        except BrokenProcessPool as error:
            future = cf.Future()
            future.set_exception(error)
            return future

    def close(self, now=False):
        if self._pool:
            processes = list((self._pool._processes or {}).values())
            self._pool.shutdown(wait=not now, cancel_futures=now)
            for process in processes if now else ():
                process.kill()
            self._pool = None


def _start():
    """Begins a process of a `Pool`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; who asked ends us
    parent = multiprocessing.parent_process().sentinel
    threading.Thread(target=lambda: (wait([parent]), os._exit(1)), daemon=True).start()


def _run_pickled(task, tensorflow):
    """`run` of a pickled task; with `tensorflow` that is imported first. Tasks that decode do without: 4 s each."""
    if tensorflow and "tensorflow" not in sys.modules:
        import_tensorflow()
    return run(*pickle.loads(task))


class Dask:
    """A Dask cluster, whose workers have this package and see the same files; as `Here`.

    Args:
        cluster: Address of its scheduler, such as tcp://10.0.0.1:8786, or its scheduler file.
    """

    innocent = False

    def __init__(self, cluster):
        try:
            distributed = importlib.import_module("distributed")
        except ImportError:
            raise ClusterError(
                f"A cluster needs Dask: pip install 'keras-fracture[cluster]'. Received: {cluster}"
            ) from None
        self.died, self._cluster, self._looked = (distributed.KilledWorker,), str(cluster), -float("inf")
        self._level = _DASK_LOG.level
        _DASK_LOG.setLevel(
            logging.CRITICAL
        )  # what it has to say of a lost scheduler, `lost` says in one line
        where = {"scheduler_file" if Path(cluster).is_file() else "address": str(cluster)}
        try:
            self._client = distributed.Client(**where, set_as_default=False, timeout=_CONNECT)
        except (OSError, ValueError, ImportError) as error:
            _DASK_LOG.setLevel(self._level)
            raise ClusterError(
                "No scheduler answers there: start one with `dask scheduler`, or name its address or scheduler file. "
                f"Received: {cluster}"
            ) from error
        try:
            self._meet()
        except BaseException:
            self.close(now=True)
            raise
        self._pool = self._client.get_executor(pure=False)

    def _meet(self):
        """Waits for the first worker and asks all for their versions."""
        with self._lost():
            if "dashboard" in self._client.scheduler_info()["services"]:
                progress.say(f"Dask's dashboard: {self._client.dashboard_link}")
            if not self._client.nthreads():
                progress.say(f"waiting for the first worker of {self._cluster}")
                self._client.wait_for_workers(1)
            for worker, theirs in self._client.run(versions, on_error="return").items():
                if not isinstance(theirs, dict):
                    raise ClusterError(
                        f"The worker at {worker} cannot import this version of keras_fracture. Received: {theirs!r}"
                    )
                if told := differences(versions(), theirs):
                    raise ClusterError(
                        f"The worker at {worker} has other versions than this process. Received: {told}"
                    )

    @contextlib.contextmanager
    def _lost(self):
        """Turns the loss of the scheduler into one error."""
        try:
            yield
        except (OSError, cf.CancelledError, TimeoutError) as error:
            raise self.lost() from error

    def lost(self):
        """The error of work whose scheduler is gone."""
        return ClusterError(
            "The scheduler is gone, or has dropped this work: the same command goes on from the parts that were "
            f"written, where it keeps some. Received: {self._cluster}"
        )

    def mapping(self):
        return contextlib.nullcontext(self)

    def room(self, threaded):
        if time.monotonic() - self._looked > 5:  # workers come and go
            with self._lost():
                self._threads = sum(self._client.nthreads().values())
            self._looked = time.monotonic()
        return AHEAD * max(1, self._threads)

    def submit(self, function, rows, shared, threaded):
        with self._lost():
            return self._pool.submit(run, function, rows, shared, threaded, *_asked())

    def renew(self):
        """Nothing: a cluster replaces its own workers."""

    def close(self, now=False):
        """Cancels our tasks and leaves; the cluster goes on."""
        try:
            self._client.close(timeout=5)
        finally:
            _DASK_LOG.setLevel(self._level)
