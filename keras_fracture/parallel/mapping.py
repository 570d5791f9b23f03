"""`Workers.map`: a function over many rows, task by task, with what is done when a worker dies."""

import collections
import concurrent.futures as cf
import contextlib
import logging

from keras_fracture.errors import ClusterError
from keras_fracture.parallel import engines
from keras_fracture.parallel.parts import Parts, digest
from keras_fracture.progress import Bar

_LOG = logging.getLogger(__name__)
DEATHS = 3  # of workers, after which what they computed is to blame
_WINDOW = 8  # how many times what is handed out may be done before the first of it


@contextlib.contextmanager
def workers(jobs=1, cluster=None):
    """Gives `Workers`, and ends them.

    Args:
        jobs: Processes of this machine; 1 is this process.
        cluster: Instead: the address of a Dask scheduler, such as tcp://10.0.0.1:8786, or its scheduler file. Workers
            must have the same versions as this process, and see the files that rows name.

    Raises:
        ClusterError: There is no such cluster, it is lost on the way, versions differ, or Dask is not installed.
    """
    if jobs < 1 or (jobs > 1 and cluster):
        what = "Name a cluster or a number of jobs, not both" if cluster else "There must be at least 1 job"
        raise ClusterError(f"{what}. Received: {jobs} jobs, cluster {cluster}")
    engine = engines.Dask(cluster) if cluster else engines.Pool(jobs) if jobs > 1 else engines.Here()
    finished = False
    try:
        yield Workers(engine)
        finished = True
    finally:
        engine.close(now=not finished)


class Workers:
    """Who computes; made by `workers`.

    Attributes:
        skipped: Names of rows that were left out, since their worker died each time they were tried.
    """

    def __init__(self, engine):
        self._engine, self.skipped = engine, []

    def map(
        self, function, rows, *, batch, shared=None, title, unit, parts=None, threaded=False, name=str, progress=True
    ):  # fmt: skip
        """Answers for rows, in their order, as tasks of `batch` rows are finished; few tasks are in memory at a time.

        A task whose worker dies is done again; the third time its rows are tried one by one with nothing beside them,
        and a row that kills its worker three times again is skipped: named in `skipped`, warned of, answer None. In
        this process nothing can be done about a crash. Exceptions of the function are raised as they are.

        Args:
            function: Of a list of rows and `shared` to as many answers, which follow from these (and files that
                they name) alone. Defined at the top of a module that workers can import.
            rows: A sequence of what pickle takes. Small things, such as file names: files are read by the workers.
            batch: Rows a task. Answers may depend on it, but on no number of workers.
            shared: What all tasks need; small as well.
            title: The stage, for the progress bar.
            unit: What a row is, such as " images".
            parts: Path of a file of finished tasks, or None. The same call reads there what was done before; whoever
                called removes it once answers are written elsewhere. Rows, `shared` and answers must be such as JSON
                takes then.
            threaded: Whether several threads of a process may run the function at once, as those that decode may.
                Else each process does one task at a time.
            name: Function of a row to what it is called where it is skipped.
            progress: Whether to show a progress bar.

        Yields:
            The answer of each row.

        Raises:
            ClusterError: The cluster was lost, or workers differ from this process.
            OutputError: `parts` holds other work, or cannot be written.
        """
        kept = Parts(parts, digest(function, rows, batch, shared)) if parts else None
        with self._engine.mapping() as engine, contextlib.closing(kept) if kept else contextlib.nullcontext():
            work = _Work(engine, function, rows, batch, shared, threaded, name, kept)
            bar = Bar(None, title, len(rows), unit=unit, initial=work.done_before(), delay=1, shown=progress)
            try:
                with bar:
                    for answers, skipped in work.in_order(bar.update):
                        self.skipped += skipped
                        yield from answers
            finally:
                work.cancel()


class _Work:
    """The tasks of one `map`."""

    def __init__(self, engine, function, rows, batch, shared, threaded, name, kept):
        self._engine, self._function, self._rows, self._batch = engine, function, rows, batch
        self._shared, self._threaded, self._name, self._kept = shared, threaded, name, kept
        self._tasks = range(-(-len(rows) // batch))
        self._flying = {}  # future to task
        self._deaths, self._suspects = collections.Counter(), []

    def rows(self, task):
        return self._rows[task * self._batch : (task + 1) * self._batch]

    def _was_done(self, task):
        return self._kept is not None and task in self._kept

    def done_before(self):
        """How many rows need not be computed."""
        return sum(len(self.rows(task)) for task in self._tasks if self._was_done(task))

    def in_order(self, update):
        """Yields answers and names of skipped rows, task by task; `update` is told how many rows were done."""
        waiting = collections.deque(task for task in self._tasks if not self._was_done(task))
        done = {}
        for task in self._tasks:
            if self._was_done(task) and task not in done:
                yield self._kept.read(task)
                continue
            while task not in done:
                self._hand_out(waiting, task)
                for number, answers, skipped in self._finished(waiting):
                    if self._kept is not None:
                        self._kept.write(number, answers, skipped)
                    done[number] = answers, skipped
                    update(len(answers))
            yield done.pop(task)

    def cancel(self):
        """Takes back what was handed out."""
        for future in self._flying:
            future.cancel()
        self._flying.clear()

    def _submit(self, rows):
        return self._engine.submit(self._function, rows, self._shared, self._threaded)

    def _hand_out(self, waiting, first):
        room = self._engine.room(self._threaded)
        while waiting and not self._suspects and len(self._flying) < room:
            if waiting[0] > first + _WINDOW * room:
                break
            task = waiting.popleft()
            self._flying[self._submit(self.rows(task))] = task

    def _finished(self, waiting):
        """Waits for some tasks; yields number, answers and skipped rows of those that are done."""
        if self._suspects and not self._flying:
            task = self._suspects.pop()
            yield task, *self._one_by_one(self.rows(task))
            return
        futures = cf.wait(self._flying, return_when=cf.FIRST_COMPLETED).done
        if any(isinstance(_error(future), self._engine.died) for future in futures) and self._engine.innocent:
            futures = cf.wait(self._flying).done  # they end together
        dead = []
        for future in futures:
            task, answers = self._flying.pop(future), self._result(future)
            if answers is None:
                dead.append(task)
            else:
                yield task, answers, []
        if dead:
            self._again(sorted(dead), waiting)

    def _again(self, tasks, waiting):
        """Tasks whose worker died: back to the others, or under suspicion."""
        self._engine.renew()
        for task in reversed(tasks):
            self._deaths[task] += 1
            # A cluster has tried a task several times before it says so.
            if self._deaths[task] >= DEATHS or not self._engine.innocent:
                self._suspects.append(task)
            else:
                waiting.appendleft(task)

    def _result(self, future):
        """Answers of a task that ended, None where its worker died; other errors are raised."""
        error = _error(future)
        if isinstance(error, self._engine.died):
            return None
        if isinstance(error, cf.CancelledError):
            raise self._engine.lost()
        if error:
            raise error
        return future.result()

    def _one_by_one(self, rows):
        """Answers of a suspect's rows, each alone, and the names of those that kill their worker."""
        answers, skipped = [], []
        for row in rows:
            for _ in range(DEATHS if self._engine.innocent else 1):
                future = self._submit([row])
                cf.wait([future])
                told = self._result(future)
                if told is not None:
                    break
                self._engine.renew()
            if told is None:
                skipped.append(self._name(row))
                _LOG.warning("skipped, since whoever works on it dies: %s", skipped[-1])
                told = [None]
            answers += told
        return answers, skipped


def _error(future):
    """What a future that is done ended with, None for an answer."""
    return cf.CancelledError() if future.cancelled() else future.exception()


HERE = Workers(engines.Here())
