"""The input pipeline: `python -m benchmarks data`."""

import importlib.util
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks import twins
from benchmarks.errors import BenchmarkError
from benchmarks.image_memory import peak_memory
from keras_fracture import data
from keras_fracture.data import Preprocess, decoding, phantom
from keras_fracture.data.library_settings import one_opencv_thread

GOALS = {
    "pipeline over loop": "at least 1.9",
    "pipeline over PyTorch's DataLoader": "at least 1.3",
    "batch from the cache over training step": "at most 0.05",
    "peak memory of most over fewest images": "about 1",
}
_BATCH = 32
_PREPROCESS = Preprocess(size=224, clahe=(2.0, 8))
_COUNTS = (4000, 40_000)  # images; memory should not depend on how many


def measure_data(name="phantom", count=3000, data_dir=None, repeats=5, counts=_COUNTS):
    """Times the input pipeline: drawing, decoding, and what training waits for once images are prepared.

    A plain loop, the pipeline on all cores, and PyTorch's DataLoader with two workers where it is installed do the
    same calls on the same bytes: decode, CLAHE, Lanczos fit and pad to 224. They take turns.

    Args:
        name: Data set.
        count: Images of its training split that are decoded.
        data_dir: Where real data lie.
        repeats: Turns; medians count.
        counts: Numbers of images whose peak memory is compared, see `image_memory.peak_memory`.

    Returns:
        A dict of name to number, None where something cannot be measured here; `GOALS` names what some should be.

    Raises:
        BenchmarkError: `count` or `repeats` is not positive.
    """
    if min(count, repeats) < 1:
        raise BenchmarkError(f"count and repeats must be 1 or more. Received: {count} and {repeats}")
    records = data.load(name, "train", data_dir=data_dir)
    numbers = {"phantom: seconds for 1,000 images of 256x256, one thread": _drawing_seconds()}
    numbers |= _decoding(records, name, count, repeats)
    numbers |= _cached(records, repeats)
    numbers |= _memory(counts)
    return numbers


@one_opencv_thread
def _drawing_seconds():
    start = time.perf_counter()
    for record in phantom.records(seed=1)[:100]:
        record["image"].sum()
    return 10 * (time.perf_counter() - start)


@one_opencv_thread
def _decoding(records, name, count, repeats):
    """Images a second from files to squares, three ways."""
    encoded = [record["image"] for record in records.raw(["image"]).take(count).as_numpy_iterator()]

    def loop():
        for content in encoded:
            _prepare(content)

    def pipeline():
        for _ in records.preprocessed(_PREPROCESS).take(len(encoded)).batch(_BATCH):
            pass

    readers = {"plain loop": loop, "pipeline": pipeline}
    if importlib.util.find_spec("torch"):
        readers["PyTorch's DataLoader, two workers"] = _loader(encoded)
    times = {reader: [] for reader in readers}
    for turn in range(repeats + 1):
        for reader, read_all in readers.items():
            start = time.perf_counter()
            read_all()
            if turn:  # the first starts the workers
                times[reader].append(time.perf_counter() - start)
    medians = {reader: float(np.median(seconds)) for reader, seconds in times.items()}
    loop, pipeline, loader = (medians.get(reader) for reader in (*readers, None)[:3])
    return {
        f"{name}: images": len(encoded),
        f"{name}: mean kB an image": sum(map(len, encoded)) / len(encoded) / 1000,
        "OpenCV threads a call": cv2.getNumThreads(),
        **{f"{reader}, images a second": len(encoded) / seconds for reader, seconds in medians.items()},
        "pipeline over loop": loop / pipeline,
        "pipeline over PyTorch's DataLoader": loader and loader / pipeline,
    }


def _prepare(content):
    return _PREPROCESS(decoding.decode(content).image)


def _loader(encoded):
    """A function that goes once through PyTorch's DataLoader; its workers stay between calls."""
    from torch.utils.data import DataLoader

    loader = DataLoader(_Images(encoded), _BATCH, num_workers=2, persistent_workers=True)

    def read_all():
        for _ in loader:
            pass

    return read_all


class _Images:
    """What PyTorch's DataLoader takes for a dataset."""

    def __init__(self, encoded):
        self.encoded = encoded

    def __len__(self):
        return len(self.encoded)

    def __getitem__(self, index):
        import torch

        return torch.from_numpy(_prepare(self.encoded[index]))


def _cached(records, repeats):
    """Preparing, an epoch from the cache in a shuffled order, and the share of it in a training step."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        batches = records.batched(_BATCH, preprocess=_PREPROCESS, shuffle=0, cache=folder)
        preparing = time.perf_counter() - start
        cached_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*.tfrecord"))
        epochs, steps = [], []
        step = _training_step()
        step()  # traces
        for _ in range(repeats):
            start = time.perf_counter()
            count = sum(1 for _ in batches)
            epochs.append(time.perf_counter() - start)
            steps += [twins.seconds(step) for _ in range(3)]
    batch, step = float(np.median(epochs)) / count, float(np.median(steps))
    return {
        "prepared and kept, images a second": len(records) / preparing,
        "kept, kB an image": cached_bytes / len(records) / 1000,
        "epoch from the cache, images a second": len(records) / float(np.median(epochs)),
        f"batch of {_BATCH} from the cache, ms": 1000 * batch,
        f"training step of {_BATCH}, compact_cnn at 224 pixels, ms": 1000 * step,
        "batch from the cache over training step": batch / step,
    }


def _training_step():
    """A function that trains the smallest classifier a step."""
    return twins.ours("compact_cnn", twins.networks("compact_cnn", 224), _BATCH, 224)


def _memory(counts):
    """Peak memory of preparing and reading few and many images."""
    peaks = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            peaks[count] = peak_memory(count, folder) or (None, None)
    numbers = {}
    for count, (preparing, reading) in peaks.items():
        numbers[f"{count:,} images: peak memory until prepared, MiB"] = preparing
        numbers[f"{count:,} images: peak memory until read, MiB"] = reading
    measured = [reading for _, reading in peaks.values() if reading]
    numbers["peak memory of most over fewest images"] = measured[-1] / measured[0] if measured else None
    return numbers
