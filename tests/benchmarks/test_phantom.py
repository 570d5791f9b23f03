"""What `python -m benchmarks phantom` says of the embedded data set."""

import pytest

from benchmarks import phantom as benchmark
from benchmarks.errors import BenchmarkError
from keras_fracture.data.datasets.phantom import layout as phantom_layout
from keras_fracture.data.phantom_findings import KINDS


def test_both_classifiers_answer_every_kind_of_finding(monkeypatch, tmp_path):
    monkeypatch.setattr(phantom_layout, "SOURCES", (24, 56))
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path))
    monkeypatch.setattr(benchmark, "_drawing_seconds", lambda: 1.0)
    numbers = benchmark.measure_phantom(epochs=1)
    assert set(benchmark.GOALS) < set(numbers)
    assert (numbers["training images"], numbers["test images"]) == (62, 56)
    for name in ("gradients, logistic regression", "ResNet-18"):
        kinds = [numbers[f"{name}: test AUC, {kind}"] for kind in KINDS]
        assert all(0 <= auc <= 1 for auc in kinds)
        # Every kind has as many images, and all are held against the same healthy ones.
        assert numbers[f"{name}: test AUC"] == pytest.approx(sum(kinds) / len(kinds))


def test_no_epochs_are_refused():
    with pytest.raises(BenchmarkError, match="Received: 0"):
        benchmark.measure_phantom(0)
