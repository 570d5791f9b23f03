"""What `python -m benchmarks cluster` says."""

import pytest

from benchmarks import cluster as benchmark
from benchmarks.errors import BenchmarkError


@pytest.mark.slow
def test_the_numbers_are_those_of_small_work(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(benchmark, "SLEEPERS", (2,))
    monkeypatch.setattr(benchmark, "_DRAWN", 6)
    numbers = benchmark.measure_cluster(images=8, tasks=8, most=100)
    one, two = (
        numbers[f"decoding and hashing: {count}, images a second"] for count in ("one worker", "two workers")
    )
    assert numbers["decoding and hashing: two workers to one"] == two / one
    assert 50_000 < numbers["decoding and hashing: bytes an image"] < 400_000
    assert -20 < numbers["2 workers that sleep: overhead a task, ms"] < 500
    assert all(numbers[f"audit of {count} files: seconds"] > 0 for count in (10, 33, 100))
    assert numbers["audit of 100 files: peak memory of the client, MiB"] > 50


def test_growth_to_a_power_is_told():
    assert benchmark._exponent([10, 33, 100], [1, 3.3, 10]) == pytest.approx(1)
    assert benchmark._exponent([10, 20, 40], [1, 3, 12]) == pytest.approx(2)


def test_too_little_to_measure_is_refused():
    with pytest.raises(BenchmarkError, match="Received: 600, 300, 10"):
        benchmark.measure_cluster(most=10)
