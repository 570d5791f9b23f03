"""Work in this process and in processes of its own; a cluster's are in test_cluster.py."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from keras_fracture import parallel
from keras_fracture.errors import ClusterError, OutputError
from keras_fracture.parallel import mapping
from tests.parallel import tasks

ROOT = Path(__file__).parents[2]
OPTIONS = {"title": "squares", "unit": " numbers"}


@pytest.fixture(scope="module")
def two():
    with parallel.workers(jobs=2) as workers:
        yield workers


@pytest.fixture(params=["alone", "threads", "two"])
def anyhow(request, two):
    """A map in this process, in its threads, and in two others."""
    workers = two if request.param == "two" else parallel.HERE
    return lambda *args, **options: list(
        workers.map(*args, **OPTIONS, threaded=request.param != "alone", **options)
    )


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_answers_come_in_the_order_of_rows(anyhow, count):
    assert anyhow(tasks.square, range(count), batch=3, shared=1) == [n * n + 1 for n in range(count)]


def test_an_exception_is_raised_as_it_is(anyhow):
    with pytest.raises(ValueError, match="no good"):
        anyhow(tasks.faulty, [1, 2, 3], batch=1)


def test_a_function_must_answer_every_row(anyhow):
    with pytest.raises(ValueError, match="2 rows has 1 answers"):
        anyhow(tasks.too_few, [1, 2], batch=2)


def test_work_is_done_by_other_processes(two):
    pids, deadline = set(), time.monotonic() + 60
    while len(pids) < 2 and time.monotonic() < deadline:  # the second process may begin long after the first
        pids.update(two.map(tasks.pid, range(8), batch=1, shared=0.1, threaded=True, **OPTIONS))
    assert len(pids) == 2 and os.getpid() not in pids


def test_parts_are_read_instead_of_computed_again(anyhow, tmp_path):
    seen, parts = tmp_path / "seen", tmp_path / "parts"
    seen.mkdir()
    first = anyhow(tasks.once, range(5), batch=2, shared=str(seen), parts=parts)
    lines = parts.read_bytes().splitlines(keepends=True)
    parts.write_bytes(b"".join(lines[:2]) + lines[2][:9])  # killed after one task, in the middle of a line
    done = sorted(path.name for path in seen.iterdir())
    assert anyhow(tasks.once, range(5), batch=2, shared=str(seen), parts=parts) == first == list(range(5))
    assert len(list(seen.iterdir())) - len(done) == 5 - len(mapping_rows(lines[1]))
    assert len(parts.read_bytes().splitlines()) == 4


def mapping_rows(line):
    import json

    return json.loads(line)["answers"]


def test_parts_of_other_work_are_refused(tmp_path):
    def squares(shared):
        return list(
            parallel.HERE.map(tasks.square, [1], batch=1, shared=shared, parts=tmp_path / "p", **OPTIONS)
        )

    assert squares(1) == [2]
    with pytest.raises(OutputError, match="other work"):
        squares(2)
    assert squares(1) == [2]


def test_a_task_is_done_again_after_its_worker_died(tmp_path):
    with parallel.workers(jobs=2) as workers:
        answers = workers.map(
            tasks.dies_once, range(20), batch=2, shared=str(tmp_path), threaded=True, **OPTIONS
        )
        assert list(answers) == [n * n for n in range(20)]
        assert not workers.skipped and (tmp_path / "died").exists()


def test_a_poison_row_is_named_and_skipped(tmp_path, caplog):
    expected = [n * n for n in range(12)]
    expected[4] = None
    options = {"batch": 3, "shared": 4, "parts": tmp_path / "parts", "name": "image{}.png".format, **OPTIONS}
    options["threaded"] = True  # its many new processes do without TensorFlow then
    with parallel.workers(jobs=2) as workers:
        assert list(workers.map(tasks.poisoned, range(12), **options)) == expected
        assert workers.skipped == ["image4.png"]
    assert "image4.png" in caplog.text
    with parallel.workers(jobs=2) as workers:  # from parts: the poison is not tried again
        assert list(workers.map(tasks.poisoned, range(12), **options)) == expected
        assert workers.skipped == ["image4.png"]


def test_a_slow_first_task_does_not_let_the_others_pile_up(monkeypatch):
    monkeypatch.setattr(mapping, "_WINDOW", 1)
    begun, lock, release = [], threading.Lock(), threading.Event()

    def task(rows, shared):
        with lock:
            begun.extend(rows)
        if rows == [0]:
            release.wait(10)
        return rows

    threading.Timer(0.5, release.set).start()
    answers = parallel.HERE.map(task, list(range(200)), batch=1, threaded=True, **OPTIONS)
    assert next(answers) == 0
    assert len(begun) < 100
    assert list(answers) == list(range(1, 200))


@pytest.mark.parametrize(("jobs", "cluster"), [(0, None), (-1, None), (2, "tcp://127.0.0.1:1")])
def test_who_works_is_said_once(jobs, cluster):
    with pytest.raises(ClusterError, match="Received: "), parallel.workers(jobs, cluster):
        pass


# What a shell starts in the background, as continuous integration may be, ignores Ctrl-C unless it asks for it.
PROGRAM = """
import signal, sys, time
from keras_fracture import parallel
from tests.parallel import tasks
signal.signal(signal.SIGINT, signal.default_int_handler)
if __name__ == "__main__":
    with parallel.workers(jobs=2) as workers:
        for pid in workers.map(tasks.pid, range(100), batch=1, shared=float(sys.argv[1]), title="t", unit=" n"):
            print(pid, flush=True)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at Linux's processes")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(tmp_path, how):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(
        [sys.executable, script, "0.2"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    )  # fmt: skip
    workers = {int(program.stdout.readline()) for _ in range(4)}
    program.send_signal(how)
    program.wait(10)
    deadline = time.monotonic() + 5
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def test_a_script_that_begins_again_in_its_workers_is_told(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.replace('if __name__ == "__main__":', "if True:"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script, "0"], env=environment, capture_output=True, text=True)
    assert "ClusterError" in done.stderr.splitlines()[-1] and "__main__" in done.stderr.splitlines()[-1]
