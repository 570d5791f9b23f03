"""Which operations training steps spend their time in."""

import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.operations import measure_profile


def test_every_operation_of_a_step_is_counted_and_timed():
    numbers = measure_profile(["compact_cnn"], steps=2, most=100, precisions=["float32"])
    step = numbers.pop("compact_cnn, float32: step")
    kinds = [name.removeprefix("compact_cnn, float32: ") for name in numbers]
    # Two of each, forwards and backwards: the network's own.
    assert {"2 FusedBatchNormV3", "2 FusedBatchNormGradV3", "1 MaxPool", "1 MaxPoolGrad"} <= set(kinds)
    assert list(numbers.values()) == sorted(numbers.values(), reverse=True)
    assert step > 0 and min(numbers.values()) > 0


def test_what_graphs_are_rewritten_to_is_counted():
    numbers = measure_profile(["compact_cnn"], steps=1, most=100, precisions=["bfloat16"])
    assert any(name.endswith(" Cast") for name in numbers)  # the rewriter's own, whose names hold dashes


@pytest.mark.parametrize(
    ("given", "words"),
    [({"names": ["alexnet"]}, "'alexnet'"), ({"steps": 0}, "0 and 5"), ({"precisions": ["int8"]}, "'int8'")],
)
def test_what_cannot_be_traced_is_said(given, words):
    with pytest.raises(BenchmarkError, match=words):
        measure_profile(**given)
