import itertools

import numpy as np
import pytest

from keras_fracture import parallel
from keras_fracture.data import near, sources


def _brute_force(hashes, limit):
    return [
        [i, j, distance]
        for (i, one), (j, other) in itertools.combinations(enumerate(hashes), 2)
        if one and other and (distance := (int(one, 16) ^ int(other, 16)).bit_count()) <= limit
    ]


def _hexes(bits):
    return [np.packbits(row).tobytes().hex() for row in bits]


def _drawn(count, shares=(0, 0.01, 0.05)):
    """Copies of six hashes, with such shares of their bits turned."""
    rng = np.random.default_rng(1)
    centres = rng.integers(0, 2, (6, 256), np.uint8)
    return centres[rng.integers(0, 6, count)] ^ (rng.random((count, 256)) < rng.choice(shares, (count, 1)))


def _groups(count, pairs):
    names = np.arange(count).astype(str)
    return sources.join(names, np.reshape(pairs, (-1, 3)).astype(int)).tolist()


@pytest.mark.parametrize(("block", "chunk"), [(4, 2**16), (4, 10), (256, 5)])
@pytest.mark.parametrize("limit", [0, 10, 40])
def test_near_pairs_equal_brute_force(monkeypatch, block, chunk, limit):
    monkeypatch.setattr(near, "_BLOCK", block)
    monkeypatch.setattr(near, "_CHUNK", chunk)
    bits = _drawn(60)
    bits[7] = 1 - bits[8]  # differ in all of 256, which is 0 in a byte
    hashes = _hexes(bits)
    hashes[5] = hashes[40] = ""
    expected = _brute_force(hashes, limit)
    assert len(expected) > 20
    assert sources.near_pairs(hashes, limit).tolist() == expected


@pytest.mark.parametrize(("share", "chunk"), [(0.005, 2**16), (0.02, 100), (0.06, 2**16)])
def test_near_pairs_equal_brute_force_where_many_hashes_share_a_part(share, chunk, monkeypatch):
    monkeypatch.setattr(near, "_CHUNK", chunk)
    hashes = _hexes(np.random.default_rng(2).random((700, 256)) < share)
    expected = _brute_force(hashes, 10)
    assert expected and sources.near_pairs(hashes).tolist() == expected


def test_hashes_that_share_no_part_are_not_compared(monkeypatch):
    compared = []
    compare = near._compare
    monkeypatch.setattr(near, "_compare", lambda *given: compared.append(given[2].size) or compare(*given))
    bits = np.random.default_rng(3).integers(0, 2, (4000, 256), np.uint8)
    bits[1000] = bits[3000]
    bits[1000, :10] ^= 1
    assert sources.near_pairs(_hexes(bits)).tolist() == [[1000, 3000, 10]]
    assert sum(compared) < 4000, "of eight million pairs"


@pytest.mark.parametrize("shares", [(0,), (0, 0.001), (0.001, 0.01, 0.05)])
@pytest.mark.parametrize("most", [1, 500, 3000])
def test_beyond_the_most_pairs_the_same_images_are_joined(shares, most, caplog):
    hashes = _hexes(_drawn(300, shares))
    hashes[5] = ""
    expected = _brute_force(hashes, 10)
    pairs = sources.near_pairs(hashes, 10, most)
    assert len(expected) > 3000 and len(pairs) < 300
    assert {tuple(pair) for pair in pairs.tolist()} <= {tuple(pair) for pair in expected}
    assert _groups(300, pairs) == _groups(300, expected)
    assert [f"more than {most} pairs" in line for line in caplog.messages] == [True]


@pytest.mark.parametrize("limit", [0, 10])
def test_no_chunk_is_larger_than_a_worker_is_told(monkeypatch, limit):
    monkeypatch.setattr(near, "_CHUNK", 50)
    words = np.unique(np.packbits(_drawn(1000), axis=1).view(np.uint64), axis=0)
    chunks = near._Chunks(words, limit)
    sizes = [len(index) for _, index, _, _ in chunks[:]]
    assert len(sizes) > 3 or limit == 0
    assert max(sizes, default=0) <= 50


def test_other_processes_find_the_same_pairs(monkeypatch):
    monkeypatch.setattr(near, "_CHUNK", 50)
    hashes = _hexes(_drawn(300))
    with parallel.workers(jobs=2) as workers:
        for most in (500, 10**6):
            found = sources.near_pairs(hashes, 10, most, workers)
            np.testing.assert_array_equal(found, sources.near_pairs(hashes, 10, most))
            assert len(found) > 200


def test_a_hundred_thousand_copies_take_no_room():
    hashes = ["0" * 64] * 100_000 + ["1" * 64] * 3
    pairs = sources.near_pairs(hashes)
    assert len(pairs) == 99_999 + 2 and set(_groups(len(hashes), pairs)) == {"0", "100000"}


@pytest.mark.parametrize("hashes", [[], [""], ["", ""], ["0" * 64]])
def test_nothing_to_compare_gives_no_pair(hashes):
    assert sources.near_pairs(hashes).shape == (0, 3)


def test_join_is_transitive_and_takes_the_first_name():
    names = ["d", "b", "a", "c", "e", "b"]
    pairs = np.array([[0, 1, 3], [5, 3, 2]])  # d-b, b-c
    assert sources.join(names, pairs).tolist() == ["b", "b", "a", "b", "e", "b"]


def test_join_without_pairs_changes_nothing():
    assert sources.join(["x", "y"], np.zeros((0, 3), int)).tolist() == ["x", "y"]
