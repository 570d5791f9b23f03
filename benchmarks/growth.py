"""How time and memory grow with the number of images: `python -m benchmarks growth`.

Run as a program: `python -m benchmarks.growth training|audit COUNT SIZE FOLDER`.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.processes import numbers_of, print_peak

COUNTS = (1000, 10_000, 100_000)
AUDITED = (1000, 3000, 10_000)
_BATCH = 32
_STEPS = 200  # that are timed at least, in whole epochs behind the first
_MEASURED = {
    "training": ("preparing, ms an image", "training from the cache, ms a step", "training, peak MiB"),
    "audit": ("audit, seconds", "audit, peak MiB"),
}


def measure_growth(counts=COUNTS, audited=AUDITED, size=64, show=print):
    """Prepares and trains on few and many images from the cache, and audits few and many; each in a process of its own.

    Drawn images, over and over; the audit's differ by noise. A step is the mean of a compact CNN's epochs behind the
    first, so that shuffling and reading the cache are in it. Memory holds images to be shuffled, see `cache.HELD`.

    Args:
        counts: Images that are trained on, at least two numbers.
        audited: Images that are audited, likewise.
        size: Side of the trained images in pixels, 64 or more.
        show: Function called with a line for every process as soon as it is done.

    Returns:
        A dict of name to number, "WHAT: COUNT images" and "WHAT: exponent", of the power law through the numbers;
        None where memory is not known.

    Raises:
        BenchmarkError: Fewer than two numbers of images or one below a batch, `size` is too small, or a process failed.
    """
    if min(map(len, (counts, audited))) < 2 or min(*counts, *audited) < _BATCH:
        raise BenchmarkError(
            f"Want two or more numbers of {_BATCH} images or more. Received: {counts}, {audited}"
        )
    if size < 64:
        raise BenchmarkError(f"size must be 64 or more. Received: {size}")
    numbers = {}
    for kind, several in (("training", counts), ("audit", audited)):
        measured = {name: [] for name in _MEASURED[kind]}
        for count in several:
            with tempfile.TemporaryDirectory() as folder:
                values = numbers_of(__name__, kind, count, size, folder)
            for place, name in enumerate(measured):  # without /proc there is no peak
                measured[name].append(values[place] if place < len(values) else None)
            show(f"{kind} of {count:,} images: done")
        for name, values in measured.items():
            numbers |= {
                f"{name}: {count:,} images": value for count, value in zip(several, values, strict=True)
            }
            numbers[f"{name}: exponent"] = None if None in values else exponent(several, values)
    return numbers


def exponent(counts, values):
    """The k of the power law `values = c * counts ** k` that fits best, in logarithms."""
    return float(np.polyfit(np.log(counts), np.log(values), 1)[0])


def train(count, size, folder):
    """Prepares `count` images and trains some epochs on them; returns ms an image of the former, ms a step."""
    import keras

    from benchmarks.image_memory import Repeated
    from keras_fracture import models
    from keras_fracture.data import Preprocess

    start = time.perf_counter()
    batches = Repeated(count).batched(_BATCH, preprocess=Preprocess(size=size), shuffle=0, cache=folder)
    preparing = time.perf_counter() - start
    model = models.create("compact_cnn", image_size=size)
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    steps, times = -(-count // _BATCH), []
    epochs = 1 + -(-_STEPS // steps)
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: times.append(time.perf_counter()),
        on_train_end=lambda *_: times.append(time.perf_counter()),
    )
    model.fit(batches, epochs=epochs, callbacks=[clock], verbose=0)
    return 1000 * preparing / count, 1000 * (times[-1] - times[1]) / (steps * (epochs - 1))


def audit(count, folder):
    """Seconds of the audit of a folder of `count` images that nobody has read before."""
    from keras_fracture.data import audit as auditing

    draw(count, Path(folder))
    start = time.perf_counter()
    report = auditing.audit(str(folder), progress=False)
    seconds = time.perf_counter() - start
    assert report["images"] == count, f"{report['images']} of {count} images were audited"
    return seconds


def draw(count, folder):
    """Writes drawn images with noise of their own, as PNG files in a folder a class."""
    from benchmarks.image_memory import DISTINCT
    from keras_fracture.data import decoding, phantom

    drawn = [(record["image"][..., 0], int(record["label"])) for record in phantom.records(seed=1)[:DISTINCT]]
    for label in ("healthy", "fracture"):
        (folder / label).mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        image, label = drawn[number % DISTINCT]
        # Rolled, so that not all of a drawing's copies are near duplicates; the audit compares those one by one.
        image = np.roll(image, rng.integers(0, image.shape[0], 2), axis=(0, 1))
        noise = rng.integers(-8, 9, image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
        path = folder / ("healthy", "fracture")[label] / f"{number:06d}.png"
        path.write_bytes(decoding.encode_png(image))


def _main(kind, count, size, folder):
    if kind == "training":
        print(*train(int(count), int(size), folder))
    else:
        print(audit(int(count), folder))
    print_peak()


if __name__ == "__main__":
    _main(*sys.argv[1:])
