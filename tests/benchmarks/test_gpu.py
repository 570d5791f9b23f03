"""What is measured on a GPU, tried on the CPU."""

import json

import pytest
import tensorflow as tf

from benchmarks import gpu, twins
from benchmarks.__main__ import main
from benchmarks.errors import BenchmarkError


def test_every_precision_is_timed_with_and_without_xla(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_WARM_UP", 1)
    monkeypatch.setitem(gpu.BATCHES, "compact_cnn", 2)
    monkeypatch.setattr(
        gpu.twins, "sizes", lambda name, batch_size: {"batch_size": batch_size, "image_size": 32}
    )
    lines = []
    content = gpu.measure_gpu(["compact_cnn"], 1, "CPU", lines.append, tmp_path / "gpu.json")
    runs = content["runs"]
    assert [(run["precision"], run["xla"]) for run in runs] == [
        (policy, xla) for policy in ("float32", "mixed_bfloat16", "mixed_float16") for xla in (False, True)
    ]
    for run, line in zip(runs, lines[2:], strict=True):
        assert run["images_per_second"] == pytest.approx(2000 / run["milliseconds"])
        assert f"{run['images_per_second']:,.1f}" in line
    assert json.loads((tmp_path / "gpu.json").read_text())["gpu"]["runs"] == runs


def test_a_step_that_fails_is_named_and_the_others_are_timed(monkeypatch):
    def step(*_, jit, **__):
        if jit:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nmore")
        return lambda: 0.0

    monkeypatch.setattr(gpu.twins, "ours", step)
    monkeypatch.setattr(gpu.twins, "networks", lambda *_: [])
    runs = gpu.measure_gpu(["compact_cnn"], 1, "CPU", lambda _: None)["runs"]
    assert ["failed" in run for run in runs] == [False, True] * 3
    assert runs[1]["failed"] == "ResourceExhaustedError: OOM when allocating more"


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [] if kind else ["a CPU"])
    assert main(["gpu"]) == 2
    error = capsys.readouterr().err
    assert "TensorFlow sees no GPU" in error and error.endswith("Received: 1 devices, none a GPU\n")
    with pytest.raises(BenchmarkError, match="1 or more"):
        gpu.measure_gpu(["compact_cnn"], 0, "CPU")
    assert "compact_cnn" in twins.names()
