"""What the comparison of other runtimes with the SavedModels says."""

import json
import sys

import pytest

from benchmarks.__main__ import main
from benchmarks.errors import BenchmarkError
from benchmarks.runtimes import measure_runtimes
from keras_fracture import models, serving
from keras_fracture.data import Preprocess
from keras_fracture.report import benchmarks

RUNTIMES = [
    "ONNX Runtime",
    "LiteRT",
    "OpenVINO, f32",
    "OpenVINO on the SavedModel, f32",
    "OpenVINO as it comes",
]


def test_all_runtimes_are_compared_and_shown(dummy_root, tmp_path):
    for package in ("openvino", "ai_edge_litert", "tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    folder, record = tmp_path / "models", tmp_path / "benchmark.json"
    network = models.create("compact_cnn", image_size=32)
    for variable in network.trainable_variables:
        variable.assign(variable * 4)
    serving.export(network, folder / "cnn", preprocess=Preprocess(size=32))
    generator = models.create("dcgan_generator", image_size=32, width=2, channels=1)
    serving.export(generator, folder / "gan")
    serving.export(models.create("unit", image_size=16, width=2, channels=1), folder / "unit")
    given = ["--models", str(folder), "--data", "fracatlas", "--data-dir", str(dummy_root), "--count", "4"]
    assert main(["runtimes", *given, "--json", str(record)]) == 0
    numbers = json.loads(record.read_text())["runtimes"]["numbers"]
    assert list(numbers) == [
        f"{model}: {runtime}" for model in ("cnn", "gan", "unit") for runtime in RUNTIMES
    ]
    for name, difference in numbers.items():
        assert 0 <= difference < (0.1 if name.endswith("as it comes") else 1e-5)
    header, _, first, second = benchmarks.table(record, "runtimes").splitlines()[:4]
    assert header == f"| model | {' | '.join(RUNTIMES)} |"
    assert first.startswith("| cnn | ") and second.startswith("| gan | ")


def test_what_cannot_be_measured_is_said(monkeypatch):
    with pytest.raises(BenchmarkError, match=r"count must be 1 or more. Received: 0"):
        measure_runtimes(count=0)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BenchmarkError, match=r"pip install keras-fracture\[runtimes\]"):
        measure_runtimes()
