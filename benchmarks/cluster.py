"""What a Dask cluster costs and brings: `python -m benchmarks cluster`.

Run as a program: `python -m benchmarks.cluster FOLDER SCHEDULER_FILE` audits a folder.
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.clusters import cluster_of
from benchmarks.errors import BenchmarkError
from benchmarks.processes import numbers_of, print_peak
from keras_fracture import files, parallel, progress
from keras_fracture.data import audit, decoding, phantom, scan
from keras_fracture.data.library_settings import one_opencv_thread

GOALS = {
    "decoding and hashing: two workers to one": "at least 1.7",
    "64 workers that sleep: overhead a task, ms": "below 10",
}
SLEEPERS = (1, 8, 64)
_PACE = 0.02  # seconds after which a task ends somewhere, whatever the number of workers
_LARGE, _SMALL = 512, 96  # sides of images that are decoded, and of those of an audit
_DRAWN = 60


def measure_cluster(images=600, tasks=300, most=10_000):
    """Measures workers on decoding and hashing, the scheduler on tasks that sleep, and the growth of an audit.

    Args:
        images: Files that are decoded and hashed.
        tasks: Tasks for each number of workers that sleep.
        most: Files of the largest audit; there are three, each of about 3 times as many as the one before.

    Returns:
        A dict of name to number.

    Raises:
        BenchmarkError: A number is too small, Dask does not start, or an audit fails.
    """
    if min(images, tasks) < 1 or most < 100:
        raise BenchmarkError(
            f"There must be 1 image and 1 task, and 100 files. Received: {images}, {tasks}, {most}"
        )
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        folder = Path(folder)
        return _decoding(folder, images) | _sleeping(folder, tasks) | _audits(folder, most)


def _decoding(folder, images):
    """Images a second of one and of two workers of one thread."""
    paths = write_phantoms(folder / "large", images, _LARGE)
    bytes_read = sum(Path(path).stat().st_size for path in paths)
    rates = {}
    for count in (1, 2):
        with (
            cluster_of(count, files.folder(folder / f"{count}")) as (_, file),
            parallel.workers(cluster=file) as workers,
        ):
            _all_there(workers, count)
            rates[count] = max(images / _seconds(workers, scan._measure_files, paths, 16) for _ in range(3))
    return {
        "decoding and hashing: bytes an image": bytes_read / images,
        "decoding and hashing: one worker, images a second": rates[1],
        "decoding and hashing: two workers, images a second": rates[2],
        "decoding and hashing: two workers to one": rates[2] / rates[1],
    }


def _all_there(workers, count):
    """Waits until each worker has answered, so that none is still importing."""
    while (
        len(set(workers.map(_name, range(4 * count), batch=1, title="start", unit=" tasks", threaded=True)))
        < count
    ):
        pass


def _name(rows, _):
    time.sleep(0.2)
    scan.measure(decoding.encode_png(np.zeros((32, 32), np.uint8)))
    return [f"{os.getpid()} {threading.get_ident()}" for _ in rows]


def _seconds(workers, function, rows, batch, shared=None):
    start = time.perf_counter()
    for _ in workers.map(
        function, rows, batch=batch, shared=shared, title="measure", unit=" rows", threaded=True
    ):
        pass
    return time.perf_counter() - start


def _sleeping(folder, tasks):
    """What a task takes beyond its sleep, and how many a second there are at most."""
    numbers = {}
    for count in SLEEPERS:
        where = files.folder(folder / f"{count} sleepers")
        with cluster_of(1, where, threads=count) as (_, file), parallel.workers(cluster=file) as workers:
            _seconds(workers, _sleep, range(count), 1, 0.1)
            paced = _seconds(workers, _sleep, range(tasks), 1, _PACE * count)
            rounds = -(-tasks // count) * count  # the last round sleeps as long, however few are left for it
            flat_out = _seconds(workers, _sleep, range(tasks), 1, 0)
        numbers |= {
            f"{count} workers that sleep: overhead a task, ms": 1000 * (paced - _PACE * rounds) / tasks,
            f"{count} workers that sleep: tasks a second at most": tasks / flat_out,
        }
    return numbers


def _sleep(rows, seconds):
    time.sleep(seconds)
    return rows


def _audits(folder, most):
    """Seconds and memory of audits by two workers, each in a client of its own."""
    counts = [most // 10, most // 3, most]
    numbers, seconds, peaks = {}, [], []
    with cluster_of(2, files.folder(folder / "auditors")) as (_, file):
        with parallel.workers(cluster=file) as workers:
            _all_there(workers, 2)
        for count in counts:
            write_phantoms(folder / f"{count}", count, _SMALL)
            took, *peak = numbers_of(__name__, folder / f"{count}", file)
            seconds.append(took)
            peaks += peak
            numbers |= {f"audit of {count:,} files: seconds": took}
            numbers |= {f"audit of {count:,} files: peak memory of the client, MiB": one for one in peak}
    numbers["audit: exponent of seconds over files"] = _exponent(counts, seconds)
    if peaks:
        numbers["audit: exponent of memory over files"] = _exponent(counts, peaks)
    return numbers


def _exponent(counts, values):
    """By the last two: time grows with the number of files to this power."""
    return float(np.diff(np.log(values[-2:]))[0] / np.diff(np.log(counts[-2:]))[0])


@one_opencv_thread
def write_phantoms(folder, count, size):
    """Writes PNG files, by label: a few drawn X-rays, each copy shifted, turned and with noise of its own.

    Args:
        folder: Made if missing.
        count: Files.
        size: Side in pixels.

    Returns:
        Their paths, a list of str.
    """
    drawn, paths = phantom.records(sources=_DRAWN, size=size), []
    records = [drawn[number] for number in range(min(_DRAWN, len(drawn)))]
    for number in range(count):
        record, rng = records[number % len(records)], np.random.default_rng([size, number])
        where = files.folder(folder / ("finding" if record["label"] else "healthy")) / f"{number:07}.png"
        middle, side = (size / 2, size / 2), size / 6
        turn = cv2.getRotationMatrix2D(middle, rng.uniform(0, 360), rng.uniform(0.6, 1.4))
        turn[:, 2] += rng.uniform(-side, side, 2)
        image = cv2.warpAffine(record["image"][..., 0], turn, (size, size), borderMode=cv2.BORDER_REFLECT)
        noise = rng.normal(0, 3, (size, size)).astype(np.float32)
        where.write_bytes(decoding.encode_png(np.clip(image + noise, 0, 255).astype(np.uint8)))
        paths.append(str(where))
    return paths


@progress.quiet()
def _main(folder, file):
    with parallel.workers(cluster=file) as workers, tempfile.TemporaryDirectory() as cache:
        os.environ["KERAS_FRACTURE_CACHE"] = cache
        start = time.perf_counter()
        report = audit.audit(folder, progress=False, workers=workers, finding="finding")
        seconds = time.perf_counter() - start
    assert report["images"] > 0
    print(seconds)
    print_peak()


if __name__ == "__main__":
    _main(*sys.argv[1:])
