"""Requests that wait are run together, and each gets its own answer."""

import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_fracture.serving import batching, limits
from keras_fracture.serving.batching import Batcher


class Doubling:
    """Doubles rows, slowly at first, and remembers how many each run had; a negative row fails its run."""

    def __init__(self):
        self.runs, self.started, self.go_on = [], threading.Semaphore(0), threading.Event()

    def __call__(self, rows):
        self.runs.append(rows.shape[0])
        self.started.release()
        assert self.go_on.wait(30)
        tf.debugging.assert_non_negative(rows, "negative")
        return {"doubled": 2 * rows}


def ask_together(function, requests, pixels=0):
    """Starts as many runs as may go on, lets the requests wait behind them, and gives what each got."""
    batcher, answers = Batcher(function), {}

    def ask(name, rows):
        try:
            answers[name] = batcher({"rows": tf.constant(rows, tf.float32)}, len(rows), pixels)[
                "doubled"
            ].tolist()
        except tf.errors.InvalidArgumentError as error:
            answers[name] = error

    blocking = [
        threading.Thread(target=ask, args=(f"first {number}", [0])) for number in range(batching.PARALLEL)
    ]
    for thread in blocking:
        thread.start()
        assert function.started.acquire(timeout=30)
    threads = []
    for name, rows in requests.items():
        threads.append(threading.Thread(target=ask, args=(name, rows)))
        threads[-1].start()
        while len(batcher._waiting) < len(threads):
            time.sleep(0.001)
    function.go_on.set()
    for thread in (*blocking, *threads):
        thread.join(30)
    return answers


def test_requests_that_wait_are_run_together_and_each_gets_its_rows():
    function = Doubling()
    answers = ask_together(function, {"one": [1], "three": [2, 3, 4], "two": [5, 6]})
    assert (answers["one"], answers["three"], answers["two"]) == ([2], [4, 6, 8], [10, 12])
    assert function.runs == [1] * batching.PARALLEL + [6]


def test_a_request_that_cannot_be_read_fails_alone():
    answers = ask_together(Doubling(), {"good": [1], "bad": [-1], "too": [2]})
    assert (answers["good"], answers["too"]) == ([2], [4])
    assert isinstance(answers["bad"], tf.errors.InvalidArgumentError)


@pytest.mark.parametrize(
    ("rows", "pixels", "runs"),
    [(5, 0, [5, 5]), (1, limits.MAX_PIXELS, [1, 1]), (1, limits.MAX_PIXELS // 2, [2])],
)
def test_a_run_takes_no_more_images_and_pixels_than_it_may(rows, pixels, runs):
    function = Doubling()
    answers = ask_together(function, {"one": [1] * rows, "two": [2] * rows}, pixels)
    assert function.runs[batching.PARALLEL :] == runs
    assert (answers["one"], answers["two"]) == ([2] * rows, [4] * rows)


def test_no_more_runs_at_a_time_than_allowed_and_nobody_is_forgotten():
    at_once, most, lock = [0], [0], threading.Lock()

    def function(rows):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.002)
        with lock:
            at_once[0] -= 1
        return {"doubled": 2 * rows}

    batchers, answers = [Batcher(function), Batcher(function)], {}

    def ask(number):
        for turn in range(10):
            row = 10 * number + turn
            answers[row] = batchers[number % 2]({"rows": tf.constant([row])}, 1)["doubled"][0]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    np.testing.assert_array_equal([answers[row] for row in sorted(answers)], 2 * np.arange(120))
    assert most[0] <= batching.PARALLEL
