"""The shape of what is measured, never how fast."""

import json
import re
import sys

import pytest
import tensorflow as tf

from keras_fracture import cli, models
from keras_fracture.benchmarks import gan
from keras_fracture.benchmarks import models as benchmark
from keras_fracture.errors import BenchmarkError
from keras_fracture.report import tables

TINY = ["--models", "inception_net", "--batch-size", "2", "--image-size", "32", "--steps", "1"]


def test_both_libraries_are_measured_in_both_precisions_and_recorded(tmp_path, capsys):
    pytest.importorskip("torch")
    options = tf.config.optimizer.get_experimental_options()
    out = tmp_path / "results" / "benchmark_models.json"
    precisions = ["--precision", "float32", "bfloat16"]
    assert cli.main(["benchmark", "models", *TINY, *precisions, "--json", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    header, *rows, wrote = [line for line in lines if not line.startswith("not a fair comparison")]
    assert [row.split()[:2] for row in rows] == [["inception_net", precision] for precision in precisions[1:]]
    assert {len(row) for row in rows} == {len(header)} and wrote == f"wrote {out}"
    content = json.loads(out.read_text())
    assert (content["batch_size"], content["image_size"], content["steps"]) == (2, 32, 1)
    assert {"tensorflow", "keras", "torch"} <= set(content["versions"])
    assert set(content["cpu"]) == {"name", "cores", "flags"} and content["cpu"]["cores"] >= 1
    assert content["command"] and len(content["date"]) == 10
    for run, precision in zip(content["runs"], precisions[1:], strict=True):
        assert run["precision"] == precision and run["parameters"] == 2_012_898
        assert run["ours"] > 0 and run["pytorch"] > 0
        assert run["others"] is None or 0 <= run["others"] <= 1
        assert run["fair"] == ((run["others"] or 0) <= benchmark.BUSY)
        assert run["ratio"] == pytest.approx(run["ours"] / run["pytorch"])
    key = "auto_mixed_precision_onednn_bfloat16"
    assert not tf.config.optimizer.get_experimental_options().get(key)
    assert not options.get(key)
    assert "| inception_net | 2,012,898 | bfloat16 |" in tables.generate(out.parent, "benchmark_models")


def test_the_dcgan_is_measured_beside_its_twin_with_memory(tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv(
        "OMP_NUM_THREADS", "1"
    )  # in the processes that measure memory; threads spin on a busy machine
    out = tmp_path / "benchmark_models.json"
    options = ["--models", "dcgan", "--batch-size", "2", "--image-size", "32", "--steps", "1"]
    assert cli.main(["benchmark", "models", *options, "--precision", "float32", "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    content = json.loads(out.read_text())
    (run,) = content["runs"]
    assert (run["model"], run["parameters"]) == ("dcgan", 1_068_928 + 663_296)
    assert (run["batch_size"], run["image_size"]) == (content["batch_size"], content["image_size"]) == (2, 32)
    assert run["ours"] > 0 and run["pytorch"] > 0
    for name, side in (("ours", "ours"), ("PyTorch", "pytorch")):
        library, step = (run["memory"][side][kind] for kind in ("library", "step"))
        assert library > 100 and step > 10  # the two networks alone hold 24 MiB
        assert f"{name} {step:,.0f} MiB beyond the {library:,.0f} of the imported library" in shown
    table = tables.generate(tmp_path, "benchmark_models")
    assert (
        "| dcgan | 1,732,224 | float32 |" in table and "dcgan, float32: batch 2, 32x32 pixels; peak" in table
    )


def test_a_failed_measurement_of_memory_is_said():
    with pytest.raises(BenchmarkError, match=r"Memory of neither cannot be measured\. Received: 1, KeyError"):
        gan.peak_memory("neither", "dcgan", 2, 32)


def test_every_model_has_its_own_sizes_unless_others_are_given():
    assert benchmark._sizes("dcgan", None, None) == {"batch_size": 32, "image_size": 64}
    assert benchmark._sizes("resnet18", None, None) == {"batch_size": 16, "image_size": 224}
    assert benchmark._sizes("unit", None, None) == {"batch_size": 1, "image_size": 64}
    assert benchmark._sizes("dcgan", 8, None) == {"batch_size": 8, "image_size": 64}


@pytest.mark.parametrize(
    "name", ["resnet18", "drn_a_50", "inception_net", "drn_c_26", "drn_d_22", "drn_d_54"]
)
def test_twins_have_the_models_numbers(name):
    pytest.importorskip("torch")
    widths = {"resnet18": {"width": 4}, "drn_a_50": {"width": 4}, "inception_net": {"stem_width": 4}}
    narrow = widths.get(name, {"widths": (4,) * 8})
    model = models.create(name, num_classes=2, image_size=32, **narrow)
    twin = benchmark._twin_of(model, benchmark._twins())
    ours = sum(weight.value.shape.num_elements() for weight in model.trainable_weights)
    assert sum(parameter.numel() for parameter in twin.parameters()) == ours


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ["--models", "compact_cnn"],
            "Only dcgan, unit, drn_a_50, .* can be measured. Received: 'compact_cnn'",
        ),
        (["--precision", "float16"], "Only float32, bfloat16 can be measured. Received: 'float16'"),
        (["--batch-size", "1"], "batch size must be 2 or more. Received: 1"),
        (["--image-size", "16"], "image size must be 32 or more. Received: 16"),
        (["--models", "dcgan", "--image-size", "48"], "of dcgan must be 32, 64 or 128. Received: 48"),
        (["--models", "unit", "--image-size", "50"], "of unit must be a multiple of 4. Received: 50"),
        (["--steps", "0"], "steps must be 1 or more. Received: 0"),
    ],
)
def test_what_cannot_be_measured_is_one_line(change, message, capsys):
    assert cli.main(["benchmark", "models", *TINY, *change]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)


def test_an_installed_package_without_twins_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "CHECKOUT", tmp_path)
    with pytest.raises(BenchmarkError, match="clone the repository"):
        benchmark.measure(["inception_net"], 2, 32, 1)


def test_without_pytorch_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("tests.torch_twins")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BenchmarkError, match="need PyTorch"):
        benchmark.measure(["inception_net"], 2, 32, 1)


def test_what_other_programs_took_is_told_from_ones_own():
    assert benchmark._others((0, 0, 0), (10, 15, 15), cores=2) == 0
    assert benchmark._others((5, 100, 3), (15, 115, 13), cores=2) == pytest.approx(0.25)
    assert benchmark._others(None, None, cores=2) is None


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        cli.main(["benchmark", "models", "--help"])
    assert "example: keras-fracture benchmark models" in capsys.readouterr().out


def test_the_cpu_has_a_name_and_cores():
    found = benchmark.cpu()
    assert found["name"] and found["cores"] >= 1 and isinstance(found["flags"], list)
