"""Near neighbours among many hashes: all pairs within a Hamming distance, in time that grows nearly linearly.

Of two hashes that differ in at most n bits, dealt out to n + 1 parts, one part is equal (Norouzi, Punjani and Fleet,
*Fast Exact Search in Hamming Space with Multi-Index Hashing*, TPAMI 2014): only those are compared that share one.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

_BLOCK = 256  # hashes; comparing so many with as many stays in the processor's cache
_AT_ONCE = 2**18  # pairs that are compared at once


def search(words, limit, most):
    """Finds the pairs of hashes that differ in at most `limit` bits.

    Args:
        words: Array uint64 (n, 4) of distinct hashes of 256 bits.
        limit: Differing bits.
        most: Pairs from which on some are left out whose hashes others join.

    Returns:
        Array (pairs, 3) of two indices and the distance, and whether these are all pairs.
    """
    found, parts, words = _Found(len(words), most), _parts(words, limit), np.ascontiguousarray(words.T)
    shares = [np.unique(part, return_counts=True)[1] for part in parts]
    if sum((share.astype(float) ** 2).sum() for share in shares) > float(words.shape[1]) ** 2:
        parts = np.zeros_like(parts[:1])  # comparing all is less than comparing those that share a part
    for number, part in enumerate(parts):
        order = np.argsort(part, kind="stable")
        _, starts, sizes = np.unique(part[order], return_index=True, return_counts=True)
        large = sizes > _BLOCK
        for start, size in zip(starts[large], sizes[large], strict=True):
            for first, second in _tiles(order[start : start + size]):
                _compare(words, parts[:number], first[:, None], second, limit, found)
        order = order[np.repeat(~large, sizes)]
        for step in range(1, _BLOCK):
            same = part[order[:-step]] == part[order[step:]]
            if not same.any():
                break
            _compare(words, parts[:number], order[:-step][same], order[step:][same], limit, found)
    return np.concatenate(found.pairs), found.whole


def nearest(words, others, limit):
    """Finds for each hash the nearest one of another set that differs in at most `limit` bits.

    Args:
        words: Array uint64 (n, 4) of hashes of 256 bits.
        others: Array uint64 (m, 4) of those of the other set.
        limit: Differing bits.

    Returns:
        Two arrays (n,): its index, -1 where there is none, the first of equally near ones; and the distance.
    """
    count = max(1, len(others))
    best = np.full(len(words), (limit + 1) * count)  # distance * count + index
    for order, first, number in _candidates(_parts(words, limit), _parts(others, limit)):
        some = np.flatnonzero(number)
        for rows in np.split(some, _cuts(number[some])) if len(some) else ():
            ends = np.cumsum(number[rows])
            within = np.arange(ends[-1]) - np.repeat(ends - number[rows], number[rows])
            mine, other = np.repeat(rows, number[rows]), order[np.repeat(first[rows], number[rows]) + within]
            distance = np.bitwise_count(words[mine] ^ others[other]).sum(axis=1, dtype=np.int64)
            nearest_of = np.minimum.reduceat(distance * count + other, ends - number[rows])
            best[rows] = np.minimum(best[rows], nearest_of)
    distance, index = np.divmod(best, count)
    return np.where(distance <= limit, index, -1), distance


def _candidates(mine, theirs):
    """For each part the order of the others by it, and for each hash where those begin that share it, and how many.

    Where that is more to compare than all with all, it is all with all.
    """
    found = []
    for part, other in zip(mine, theirs, strict=True):
        order = np.argsort(other, kind="stable")
        first, last = (np.searchsorted(other[order], part, side) for side in ("left", "right"))
        found.append((order, first, last - first))
    rows, others = mine.shape[1], theirs.shape[1]
    if sum(int(number.sum()) for _, _, number in found) > rows * others:
        return [(np.arange(others), np.zeros(rows, int), np.full(rows, others))]
    return found


def _cuts(number):
    """Where to cut rows that have so many candidates each, so that few have more than `_AT_ONCE` together."""
    share = np.cumsum(number) // _AT_ONCE
    return np.flatnonzero(np.diff(share)) + 1


def forest(pairs, count):
    """Of pairs (pairs, 3) of `count` things, the fewest and nearest that join the same; and the group of each thing."""
    first, second, distance = pairs.T
    # A weight of 0 would be no edge.
    graph = coo_array((distance + 1, (first, second)), shape=(count, count))
    tree = minimum_spanning_tree(graph.tocsr()).tocoo()
    pairs = np.column_stack([*tree.coords, tree.data.astype(int) - 1])
    return pairs, connected_components(tree, directed=False)[1]


def _parts(words, limit):
    """Array uint64 (parts, n): each part is every so manieth bit, up to 64 of them."""
    bits, count = np.unpackbits(words.view(np.uint8), axis=1), limit + 1
    parts = np.zeros((count, len(words)), np.uint64)
    for number in range(count):
        packed = np.packbits(bits[:, number::count][:, :64], axis=1)
        parts[number] = np.pad(packed, ((0, 0), (0, 8 - packed.shape[1]))).view(np.uint64)[:, 0]
    return parts


def _tiles(rows):
    """Blocks of ascending rows with blocks of rows, each pair of blocks once."""
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    for number, block in enumerate(blocks):
        for other in blocks[number:]:
            yield block, other


def _compare(words, earlier, first, second, limit, found):
    """Adds the near ones of some pairs, those aside that share one of the `earlier` parts and so were found there."""
    if not found.wants(first, second):
        return
    distance = np.bitwise_count(words[0, first] ^ words[0, second])
    for word in words[1:3]:
        distance += np.bitwise_count(word[first] ^ word[second])
    distance = np.add(distance, np.bitwise_count(words[3, first] ^ words[3, second]), dtype=np.uint16)
    near = distance <= limit
    if near.any():
        first, second = (rows[near] for rows in np.broadcast_arrays(first, second))
        new = (first < second) & ~(earlier[:, first] == earlier[:, second]).any(axis=0)
        found.add(first[new], second[new], distance[near][new])


class _Found:
    """The pairs found; whenever there are `most` more, a forest of them that joins the same hashes."""

    def __init__(self, count, most):
        self.pairs, self.whole = [np.zeros((0, 3), int)], True
        self._group, self._number, self._most, self._limit = np.arange(count), 0, most, most

    def wants(self, first, second):
        """Whether any of these pairs might join what is not joined."""
        return self.whole or (self._group[first] != self._group[second]).any()

    def add(self, first, second, distance):
        if not self.whole:
            apart = self._group[first] != self._group[second]
            first, second, distance = first[apart], second[apart], distance[apart]
        pairs = np.column_stack([first, second, distance]).astype(int)
        self.pairs.append(pairs)
        self._number += len(pairs)
        if self._number > self._limit:
            pairs, self._group = forest(np.concatenate(self.pairs), len(self._group))
            self.pairs, self._number, self._limit = [pairs], len(pairs), len(pairs) + self._most
            self.whole = False
