"""Which images show the same X-ray: names, then equal and nearly equal pixels, joined into groups."""

import hashlib
import logging

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from keras_fracture import parallel
from keras_fracture.data import near

_LOG = logging.getLogger(__name__)
NEAR = 10  # differing bits of the 256-bit difference hash up to which two images count as one
MOST = 2_000_000  # pairs that are kept; more fill memory


def near_pairs(hashes, limit=NEAR, most=MOST, workers=parallel.HERE, progress=True):
    """Finds pairs of images whose difference hashes differ in at most `limit` bits.

    Args:
        hashes: Hex strings of `scan.difference_hash`; '' is never near anything.
        limit: Differing bits.
        most: Pairs from which on, with a warning, only as many are kept as join the same images: thousands of
            copies of an image make millions of pairs.
        workers: `parallel.Workers` that compare.
        progress: Whether to show a progress bar.

    Returns:
        Array (pairs, 3) of first index, second index (greater), distance.
    """
    known, words = _words(hashes)
    distinct, first, of_image = np.unique(words, axis=0, return_index=True, return_inverse=True)
    pairs, whole = near.search(distinct, limit, most, workers, progress)
    counts = np.bincount(of_image, minlength=len(distinct))
    itself = np.flatnonzero(counts > 1)
    pairs = np.concatenate([pairs, np.column_stack([itself, itself, np.zeros_like(itself)])])
    sizes = counts[pairs[:, 0]] * counts[pairs[:, 1]]
    if whole and sizes.sum() <= most:
        pairs = _of_all_copies(pairs, sizes, counts, np.argsort(of_image, kind="stable"))
    else:
        _LOG.warning(
            "more than %d pairs of images are nearly equal: only as many as join the same images are kept, "
            "so that counts of near duplicates are too small",
            most,
        )
        later = np.setdiff1d(np.arange(len(known)), first)
        copies = np.column_stack([first[of_image[later]], later, np.zeros_like(later)])
        pairs[:, :2] = first[pairs[:, :2]]
        pairs = np.concatenate([pairs[pairs[:, 0] != pairs[:, 1]], copies])
        pairs, _ = near.forest(pairs, len(known))
    ends = np.sort(known[pairs[:, :2]], axis=1)
    return np.column_stack([ends, pairs[:, 2]])[np.lexsort(ends.T[::-1])]


def nearest(hashes, others, limit=NEAR):
    """Finds for each image the nearest one of other images whose difference hash differs in at most `limit` bits.

    Args:
        hashes: Hex strings of `scan.difference_hash`; '' is never near anything.
        others: Those of the other images.
        limit: Differing bits.

    Returns:
        Two arrays, an element an image: the index of the other image, -1 where there is none, the first of equally
        near ones; and the distance.
    """
    index, distance = np.full(len(hashes), -1), np.full(len(hashes), limit + 1)
    (known, words), (other, other_words) = _words(hashes), _words(others)
    found, distance[known] = near.nearest(words, other_words, limit)
    index[known] = np.append(other, -1)[found]
    return index, distance


def _words(hashes):
    """Indices of the images that have a hash, and these hashes as uint64 (n, 4)."""
    known = np.array([index for index, text in enumerate(hashes) if text], int)
    return known, np.frombuffer(bytes.fromhex("".join(hashes[i] for i in known)), np.uint64).reshape(-1, 4)


def _of_all_copies(pairs, sizes, counts, by_hash):
    """Pairs of hashes to pairs of images: all that have the one with all that have the other.

    Args:
        pairs: Array (pairs, 3), see `near.search`; a pair of a hash with itself stands for its copies.
        sizes: How many pairs of images each may make.
        counts: Images of each hash.
        by_hash: Images in the order of their hashes.
    """
    starts = np.cumsum(counts) - counts
    number = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    one, other, distance = np.repeat(pairs, sizes, axis=0).T
    place, other_place = np.divmod(number, counts[other])
    once = (one != other) | (place < other_place)
    images = by_hash[starts[one] + place], by_hash[starts[other] + other_place]
    return np.column_stack([*images, distance])[once]


def join(names, pairs):
    """Joins sources that are linked by a pair of images, transitively.

    Args:
        names: The source of each image.
        pairs: Array (pairs, 2 or more); the first two columns are indices of images that belong together.

    Returns:
        Array of source names: each group takes the name of its first member in order of names.
    """
    codes, labels = pd.factorize(pd.Series(names), sort=True)
    first, second = codes[pairs[:, 0]], codes[pairs[:, 1]]
    graph = coo_array((np.ones(len(pairs), bool), (first, second)), shape=(len(labels), len(labels)))
    _, group = connected_components(graph, directed=False)
    leader = pd.Series(np.arange(len(labels))).groupby(group).min()
    return np.asarray(labels)[leader.loc[group[codes]].to_numpy()].astype(str)


def digests(data, sources):
    """Hashes that tell whether a model has seen a source, without naming it.

    Args:
        data: Name of the data set.
        sources: The source of each image.

    Returns:
        Array of 16 hex digits, one an image.
    """
    names, inverse = np.unique(np.asarray(sources, str), return_inverse=True)
    hashes = [hashlib.sha256(f"{data}/{name}".encode()).hexdigest()[:16] for name in names]
    return np.array(hashes, dtype="U16")[inverse]
