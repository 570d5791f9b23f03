"""The phantoms that the page shows: drawn by code when they are asked for, so that nobody's X-rays are needed."""

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from keras_fracture.data import Preprocess, phantom, phantom_anatomy, phantom_findings
from keras_fracture.data.cache import WORKERS

SEED = 0  # of the data set `phantom`
SHOWN_FIRST = "forearm, comminuted fracture"  # of `choices`
_FIRST = 1  # the second of each finding, so that no two look alike


@functools.cache
def choices():
    """Phantoms to pick from: words to a `phantom.Source`. One of each finding, and a healthy one of each limb."""
    sources = phantom.plan(SEED, 112)
    wanted = [*zip(phantom_findings.KINDS, itertools.cycle(phantom_anatomy.PARTS), strict=False)]
    wanted += [("none", part) for part in phantom_anatomy.PARTS]
    picked = {}
    for finding, part in wanted:
        fitting = [one for one in sources if one.finding == finding and one.body_part == part]
        fitting = fitting or [one for one in sources if one.finding == finding]
        what = "fracture" if finding in phantom_findings.FRACTURES else "lesion"
        words = "healthy" if finding == "none" else f"{finding} {what}"
        one = fitting[min(_FIRST, len(fitting) - 1)]
        picked[f"{one.body_part}, {words}"] = one
    return picked


@functools.lru_cache(maxsize=64)
def drawn(source, size=256):
    """The first record of a `phantom.Source`, see `phantom.draw`."""
    return phantom.draw(source, 0, SEED, size)


def healthy(parts=("humerus", "femur", "tibia", "forearm"), count=3):
    """Healthy phantoms to paint into: words to a `phantom.Source`, some of each body part.

    They are held out: a translator that learnt from phantoms has not seen these limbs.
    """
    picked, held_out = {}, phantom.plan(SEED, 1, 112)[1:]
    for part in parts:
        fitting = [one for one in held_out if (one.finding, one.body_part) == ("none", part)]
        picked |= {f"{part} {number}": one for number, one in enumerate(fitting[:count], 1)}
    return picked


@functools.lru_cache(maxsize=8)
def images(size, first, stop, shots=None):
    """All images of some sources as a model of that size takes them.

    Args:
        size: Side in pixels.
        first: Number of the first source.
        stop: Number after the last one.
        shots: How many images of each at most; None takes all.

    Returns:
        uint8 `(n, size, size, 1)`, the labels int `(n,)`, and the numbers of their sources, int `(n,)`.
    """
    taken = [
        (one, shot)
        for one in phantom.plan(SEED, stop)[first:]
        for shot in list(one.taken)[: shots or one.shots]
    ]
    prepare = Preprocess(size=size)
    with ThreadPoolExecutor(WORKERS) as pool:
        made = list(pool.map(lambda each: prepare(phantom.draw(*each, SEED)["image"][..., 0]), taken))
    labels = np.array([int(one.finding != "none") for one, _ in taken])
    return np.stack(made), labels, np.array([one.index for one, _ in taken])


def some(size, numbers):
    """One image each of the sources of these numbers, as a model of that size takes it: uint8 `(n, size, size, 1)`."""
    sources, prepare = phantom.plan(SEED, int(max(numbers)) + 1), Preprocess(size=size)
    return np.stack([prepare(drawn(sources[number])["image"][..., 0]) for number in numbers])
