import itertools

import numpy as np
import pytest

from keras_fracture.data import sources


def _brute_force(hashes, limit):
    return [
        [i, j, distance]
        for (i, one), (j, other) in itertools.combinations(enumerate(hashes), 2)
        if one and other and (distance := (int(one, 16) ^ int(other, 16)).bit_count()) <= limit
    ]


@pytest.mark.parametrize("block", [7, 512])
@pytest.mark.parametrize("limit", [0, 10, 40])
def test_near_pairs_equal_brute_force(monkeypatch, block, limit):
    monkeypatch.setattr(sources, "_BLOCK", block)
    rng = np.random.default_rng(1)
    centres = rng.integers(0, 2, (6, 256), np.uint8)
    flips = rng.random((60, 256)) < rng.choice([0, 0.01, 0.05], (60, 1))
    bits = centres[rng.integers(0, 6, 60)] ^ flips
    hashes = [np.packbits(row).tobytes().hex() for row in bits]
    hashes[5] = hashes[40] = ""
    expected = _brute_force(hashes, limit)
    assert len(expected) > 20
    assert sorted(sources.near_pairs(hashes, limit).tolist()) == expected


@pytest.mark.parametrize("hashes", [[], [""], ["", ""], ["0" * 64]])
def test_nothing_to_compare_gives_no_pair(hashes):
    assert sources.near_pairs(hashes).shape == (0, 3)


def test_join_is_transitive_and_takes_the_first_name():
    names = ["d", "b", "a", "c", "e", "b"]
    pairs = np.array([[0, 1, 3], [5, 3, 2]])  # d-b, b-c
    assert sources.join(names, pairs).tolist() == ["b", "b", "a", "b", "e", "b"]


def test_join_without_pairs_changes_nothing():
    assert sources.join(["x", "y"], np.zeros((0, 3), int)).tolist() == ["x", "y"]
