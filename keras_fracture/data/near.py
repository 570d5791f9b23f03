"""Near neighbours among many hashes: all pairs within a Hamming distance, in time that grows nearly linearly.

Of two hashes that differ in at most n bits, dealt out to n + 1 parts, one part is equal (Norouzi, Punjani and Fleet,
*Fast Exact Search in Hamming Space with Multi-Index Hashing*, TPAMI 2014): only those are compared that share one.
"""

import collections.abc
import functools
import itertools

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from keras_fracture import parallel
from keras_fracture.errors import ClusterError

_BLOCK = 256  # hashes; comparing so many with as many stays in the processor's cache
_CHUNK = 2**16  # hashes that a worker gets at once: 2.5 MB
_AT_ONCE = 2**18  # pairs that are compared at once


def search(words, limit, most, workers=parallel.HERE, progress=True):
    """Finds the pairs of hashes that differ in at most `limit` bits.

    A join by the value of each part, cut into chunks that workers get one by one: their memory does not depend on the
    number of hashes.

    Args:
        words: Array uint64 (n, 4) of distinct hashes of 256 bits.
        limit: Differing bits.
        most: Pairs from which on some are left out whose hashes others join.
        workers: `parallel.Workers` that compare.
        progress: Whether to show a progress bar.

    Returns:
        Array (pairs, 3) of two indices and the distance, and whether these are all pairs.

    Raises:
        ClusterError: Workers died of a chunk.
    """
    found, chunks = _Found(len(words), most), _Chunks(words, limit)
    answers = workers.map(
        _compare_chunks, chunks, batch=1, shared=(chunks.masks, limit, most), title="near duplicates", unit=" chunks",
        threaded=True, name=lambda row: f"{len(row[1])} hashes", progress=progress,
    )  # fmt: skip
    for answer in answers:
        if answer is None:
            raise ClusterError(
                "Near duplicates cannot be searched: workers die of it. Give them more memory. "
                f"Received: {workers.skipped[-1]}"
            )
        pairs, whole = answer
        found.add(pairs)
        found.whole &= whole
    return np.concatenate(found.pairs), found.whole


class _Chunks(collections.abc.Sequence):
    """What workers get: of hashes that share a part, its number, their indices and words, and where to cut them.

    Each is made when it is asked for. Cut, those before are compared with those behind; else all that share the part.
    """

    def __init__(self, words, limit):
        self._words, self.masks = words, _masks(limit)
        self._order = functools.lru_cache(maxsize=2)(self._sorted)
        runs = [self._order(number)[1] for number in range(len(self.masks))]
        if sum((np.diff(run).astype(float) ** 2).sum() for run in runs) > float(len(words)) ** 2:
            self.masks = np.zeros_like(
                self.masks[:1]
            )  # comparing all is less than comparing those that share a part
            self._order.cache_clear()
            runs = [self._order(0)[1]]
        self._cuts = [cut for number, run in enumerate(runs) for cut in _cut(number, run)]

    def _sorted(self, number):
        """Hashes that share a part with others, in its order; and where each run of them begins, and the last ends."""
        part = _part(self._words, self.masks[number])
        order = np.argsort(part, kind="stable")
        starts = np.flatnonzero(np.diff(part[order], prepend=~part[order[:1]]))
        sizes = np.diff(starts, append=len(order))
        order = order[np.repeat(sizes > 1, sizes)]
        return order, np.append(0, np.cumsum(sizes[sizes > 1]))

    def __len__(self):
        return len(self._cuts)

    def __getitem__(self, which):
        return [self._made(*cut) for cut in self._cuts[which]]

    def _made(self, number, first, second):
        order = self._order(number)[0]
        rows, cut = order[slice(*first)], None
        if second:
            rows, cut = np.append(rows, order[slice(*second)]), len(rows)
        return number, rows, self._words[rows], cut


def _cut(number, runs):
    """Chunks of whole runs of one part, then those of runs that are longer than a chunk."""
    at, long = 0, np.flatnonzero(np.diff(runs) > _CHUNK)
    for run in [*long, len(runs) - 1]:
        while at < run:  # as many whole runs as fit, at least one
            end = min(run, max(at + 1, np.searchsorted(runs, runs[at] + _CHUNK, "right") - 1))
            yield number, (runs[at], runs[end]), None
            at = end
        at = run + 1
    for run in long:
        edges = np.append(np.arange(runs[run], runs[run + 1], _CHUNK // 2), runs[run + 1])
        blocks = list(itertools.pairwise(edges))
        for place, block in enumerate(blocks):
            yield number, block, None
            yield from ((number, block, other) for other in blocks[place + 1 :])


def _compare_chunks(rows, shared):
    return [_compare_chunk(*row, *shared) for row in rows]


def _compare_chunk(number, index, words, cut, masks, limit, most):
    """Pairs of a chunk, as those of `search`, that share the part with this number and none before."""
    found, columns = _Found(len(index), most), np.ascontiguousarray(words.T)
    compare = functools.partial(_compare, columns, masks[: number + 1])
    for first, second in _candidate_rows(_part(words, masks[number]), cut):
        compare(first, second, limit, found)
    pairs = np.concatenate(found.pairs)
    pairs[:, :2] = index[pairs[:, :2]]
    return pairs, found.whole


def _candidate_rows(part, cut):
    """Rows of a chunk to compare with rows; each pair of equal parts once, the smaller row first."""
    rows = np.arange(len(part))
    if cut is not None:
        for start in range(0, cut, _BLOCK):
            for other in range(cut, len(rows), _BLOCK):
                yield rows[start : min(start + _BLOCK, cut), None], rows[other : other + _BLOCK]
        return
    starts = np.append(0, np.flatnonzero(np.diff(part)) + 1)
    sizes = np.diff(starts, append=len(part))
    large = sizes > _BLOCK
    for start, size in zip(starts[large], sizes[large], strict=True):
        for first, second in _tiles(rows[start : start + size]):
            yield first[:, None], second
    rows = rows[np.repeat(~large, sizes)]
    for step in range(1, _BLOCK):
        same = part[rows[:-step]] == part[rows[step:]]
        if not same.any():
            break
        yield rows[:-step][same], rows[step:][same]


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
    # A weight of 0 would be no edge, and earlier versions of SciPy take no indices of 64 bits.
    ends = first.astype(np.int32), second.astype(np.int32)
    graph = coo_array((distance + 1, ends), shape=(count, count))
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


def _masks(limit):
    """Array uint64 (limit + 1, 4): each part is every so manieth bit."""
    count = limit + 1
    return np.packbits(np.arange(256) % count == np.arange(count)[:, None], axis=1).view(np.uint64)


def _part(words, mask):
    """Array uint64 (n,): a number that is equal where the bits of a mask are, and hardly ever elsewhere."""
    mixed = np.zeros(len(words), np.uint64)
    for column in range(words.shape[1]):
        mixed = (mixed ^ (words[:, column] & mask[column])) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return mixed


def _compare(words, masks, first, second, limit, found):
    """Adds the near ones of some pairs, if they share the part of the last mask and of none before."""
    if not found.wants(first, second):
        return
    distance = np.bitwise_count(words[0, first] ^ words[0, second])
    for word in words[1:3]:
        distance += np.bitwise_count(word[first] ^ word[second])
    distance = np.add(distance, np.bitwise_count(words[3, first] ^ words[3, second]), dtype=np.uint16)
    near = distance <= limit
    if near.any():
        first, second = (rows[near] for rows in np.broadcast_arrays(first, second))
        pairs = found.new(np.column_stack([first, second, distance[near]])[first < second].astype(int))
        differing = words[:, pairs[:, 0]] ^ words[:, pairs[:, 1]]
        equal = np.array([~(differing & mask[:, None]).any(axis=0) for mask in masks])
        found.add(pairs[equal[-1] & ~equal[:-1].any(axis=0)])


class _Found:
    """The pairs found; whenever there are `most` more, a forest of them that joins the same hashes."""

    def __init__(self, count, most):
        self.pairs, self.whole = [np.zeros((0, 3), int)], True
        self._group, self._number, self._most, self._limit = np.arange(count), 0, most, most

    def wants(self, first, second):
        """Whether any of these pairs might join what is not joined."""
        return self.whole or (self._group[first] != self._group[second]).any()

    def new(self, pairs):
        """Those of some pairs that might join what is not joined."""
        return pairs if self.whole else pairs[self._group[pairs[:, 0]] != self._group[pairs[:, 1]]]

    def add(self, pairs):
        pairs = self.new(pairs)
        self.pairs.append(pairs)
        self._number += len(pairs)
        if self._number > self._limit:
            pairs, self._group = forest(np.concatenate(self.pairs), len(self._group))
            self.pairs, self._number, self._limit = [pairs], len(pairs), len(pairs) + self._most
            self.whole = False
