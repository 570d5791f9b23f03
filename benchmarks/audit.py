"""How long the search for near duplicates takes, and its memory: `python -m benchmarks audit`.

Run as a program: `python -m benchmarks.audit KIND COUNT`.
"""

import sys
import time

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.errors import BenchmarkError
from benchmarks.processes import numbers_of, print_peak
from keras_fracture.data import sources

GOALS = {
    "4,000 hashes: pairs unlike those of an exhaustive search": "0",
    "100,000 hashes: seconds": "at most 60",
    "100,000 hashes: peak memory, MiB": "at most 500",
}
# So smooth, drawn hashes share parts twice as often as those of the real data sets do.
_BITS, _SMOOTH, _NEAR, _COPIES, _BLOCK = 256, 3, 0.1, 0.05, 1000


def measure_audit(checked=4000, counts=(20_000, 100_000)):
    """Searches drawn hashes for near pairs, each number of them in a process of its own.

    Args:
        checked: Hashes that are also compared one with all others.
        counts: Hashes of drawn images; of the last number also such as make the most work: one in two a copy of one
            image, and all of them within some bits of one image.

    Returns:
        A dict of name to number: seconds, peak memory of the process (None where it is not known), pairs.

    Raises:
        BenchmarkError: A number is not positive, or a process failed.
    """
    if min(checked, *counts) < 1:
        raise BenchmarkError(f"hashes must be 1 or more. Received: {checked}, {counts}")
    hashes = _hashes("drawn", checked)
    ours = {tuple(pair) for pair in sources.near_pairs(hashes).tolist()}
    name = f"{checked:,} hashes: pairs unlike those of an exhaustive search"
    numbers = {f"{checked:,} hashes: pairs": len(ours), name: len(ours ^ _exhaustive(hashes))}
    kinds = {"drawn": "", "copies": ", half of them equal", "dense": ", all of them much alike"}
    for kind, count in [("drawn", count) for count in counts] + [
        (k, counts[-1]) for k in ("copies", "dense")
    ]:
        seconds, pairs, *peak = numbers_of(__name__, kind, count)
        title = f"{count:,} hashes{kinds[kind]}"
        numbers |= {f"{title}: seconds": seconds, f"{title}: peak memory, MiB": peak[0] if peak else None}
        numbers[f"{title}: pairs"] = pairs
    return numbers


def _hashes(kind, count):
    """Hex hashes: of smooth random images, some nearly or wholly equal to others; or of a kind that is hard."""
    rng = np.random.default_rng(0)
    if kind == "dense":
        bits = rng.random((count, _BITS), np.float32) < 6 / _BITS
    else:
        bits = np.concatenate([_of_images(rng, min(_BLOCK, count - n)) for n in range(0, count, _BLOCK)])
        near, copies = np.split(
            rng.permutation(count)[: int((_NEAR + _COPIES) * count)], [int(_NEAR * count)]
        )
        bits[near] = bits[rng.integers(0, count, len(near))]
        bits[near] ^= rng.random((len(near), _BITS)) < 5 / _BITS
        bits[copies] = bits[rng.integers(0, count, len(copies))]
    if kind == "copies":
        bits[::2] = False
    return [each.tobytes().hex() for each in np.packbits(bits, axis=1)]


def _of_images(rng, count):
    """Bits of the difference hashes of smooth noise, which depend on their neighbours as those of X-rays do."""
    images = gaussian_filter(rng.standard_normal((count, 16, 17)), (0, _SMOOTH, _SMOOTH))
    return (np.diff(images, axis=2) > 0).reshape(count, _BITS)


def _exhaustive(hashes):
    words = np.array([list(bytes.fromhex(text)) for text in hashes], np.uint8).view(np.uint64)
    pairs = set()
    for number, word in enumerate(words):
        distance = np.bitwise_count(words[number + 1 :] ^ word).sum(axis=1, dtype=int)
        near = np.flatnonzero(distance <= sources.NEAR)
        pairs |= {(number, number + 1 + int(other), int(distance[other])) for other in near}
    return pairs


def _main(kind, count):
    hashes = _hashes(kind, int(count))
    start = time.perf_counter()
    pairs = sources.near_pairs(hashes)
    print(time.perf_counter() - start)
    print(len(pairs))
    print_peak()


if __name__ == "__main__":
    _main(*sys.argv[1:])
