"""What `python -m benchmarks audit` says of the search for near duplicates."""

import pytest

from benchmarks import audit as benchmark
from benchmarks.errors import BenchmarkError
from keras_fracture.data import sources


def test_each_number_of_hashes_is_searched_in_a_process_of_its_own():
    numbers = benchmark.measure_audit(300, (200, 400))
    assert numbers["300 hashes: pairs"] > 10
    assert [value for name, value in numbers.items() if "exhaustive" in name] == [0]
    assert numbers["400 hashes: pairs"] == len(sources.near_pairs(benchmark._hashes("drawn", 400)))
    assert numbers["400 hashes, half of them equal: pairs"] >= 200 * 199 / 2
    for name in ("200 hashes", "400 hashes, all of them much alike"):
        assert 0 < numbers[f"{name}: seconds"] < 60 and 50 < numbers[f"{name}: peak memory, MiB"] < 1000


def test_a_missing_pair_is_counted(monkeypatch):
    find = sources.near_pairs
    monkeypatch.setattr(benchmark.sources, "near_pairs", lambda hashes: find(hashes)[1:])
    monkeypatch.setattr(benchmark, "numbers_of", lambda *given: (1.0, 2.0))
    numbers = benchmark.measure_audit(300, (200,))
    assert [value for name, value in numbers.items() if "exhaustive" in name] == [1]
    assert numbers["200 hashes: peak memory, MiB"] is None


def test_the_goals_are_of_what_is_measured(monkeypatch):
    monkeypatch.setattr(benchmark, "_hashes", lambda kind, count: [])
    monkeypatch.setattr(benchmark, "_exhaustive", lambda hashes: set())
    monkeypatch.setattr(benchmark, "numbers_of", lambda *given: (1.0, 2.0, 3.0))
    assert set(benchmark.GOALS) < set(benchmark.measure_audit())


def test_no_hashes_are_refused():
    with pytest.raises(BenchmarkError, match="Received: 0"):
        benchmark.measure_audit(0)
