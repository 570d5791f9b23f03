"""Which images show the same X-ray: names, then equal and nearly equal pixels, joined into groups."""

import hashlib

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NEAR = 10  # differing bits of the 256-bit difference hash up to which two images count as one
_BLOCK = 512


def near_pairs(hashes, limit=NEAR):
    """Finds pairs of images whose difference hashes differ in at most `limit` bits.

    Args:
        hashes: Hex strings of `scan.difference_hash`; '' is never near anything.
        limit: Differing bits.

    Returns:
        Array (pairs, 3) of first index, second index (greater), distance.
    """
    known = np.array([index for index, text in enumerate(hashes) if text], int)
    words = np.frombuffer(bytes.fromhex("".join(hashes[i] for i in known)), np.uint64)
    words = words.reshape(len(known), 4)
    pairs = [np.zeros((0, 3), int)]
    for start in range(0, len(words), _BLOCK):
        block = words[start : start + _BLOCK, None]
        distance = np.bitwise_count(block ^ words[None, start:]).sum(-1)
        first, second = np.nonzero(np.triu(distance <= limit, 1))
        pairs.append(
            np.stack([known[first + start], known[second + start], distance[first, second].astype(int)], 1)
        )
    return np.concatenate(pairs)


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
