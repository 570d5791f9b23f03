"""The shape of what is measured, never how fast."""

import json
import re
import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import counting, processes, schedules, twins
from benchmarks import models as benchmark
from benchmarks.__main__ import main
from benchmarks.errors import BenchmarkError
from keras_fracture import models
from keras_fracture.errors import OutputError
from keras_fracture.papers import tables
from keras_fracture.report.benchmarks import record, recorded

TINY = ["--models", "inception_net", "--batch-size", "2", "--image-size", "32", "--steps", "1"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The file of a run of one small model in both precisions, and what it printed."""
    pytest.importorskip("torch")
    patch = pytest.MonkeyPatch()
    # In the processes that measure memory; threads spin on a busy machine.
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setattr(benchmark, "_PRODUCT", 128)
    out, lines = tmp_path_factory.mktemp("measured") / "results" / "benchmark.json", []
    record(out, "startup", {"kept": 1})
    precisions = ("float32", "bfloat16")
    benchmark.measure(["compact_cnn"], 2, 64, 1, precisions, lines.append, out)
    patch.undo()
    return out, lines


def test_both_libraries_are_measured_in_both_precisions_and_recorded(measured):
    out, (peak, header, *rows) = measured
    rows = [row for row in rows if not row.startswith("not a fair comparison")]
    assert [row.split()[:2] for row in rows] == [["compact_cnn", one] for one in ("float32", "bfloat16")]
    assert {len(row) for row in rows} == {len(header)} and "billion operations a second" in peak
    assert recorded(out)["startup"] == {"kept": 1}
    content = recorded(out)["models"]
    assert {"tensorflow", "keras", "torch"} <= set(content["versions"])
    assert set(content["cpu"]) == {"name", "cores", "flags"} and content["cpu"]["cores"] >= 1
    assert content["command"] and len(content["date"]) == 10 and content["peak"] > 1e8
    for run, precision in zip(content["runs"], ("float32", "bfloat16"), strict=True):
        assert (run["model"], run["precision"], run["batch_size"]) == ("compact_cnn", precision, 2)
        assert run["parameters"] == 13_489 + 129  # a second class
        assert run["ratio"] == pytest.approx(run["ours"] / run["pytorch"])
        assert run["others"] is None or 0 <= run["others"] <= 1
        assert run["fair"] == ((run["others"] or 0) <= benchmark.BUSY)
        for side in ("ours", "pytorch"):
            assert run["memory"][side]["library"] > 100 and run["memory"][side]["step"] > 1
    assert "| compact_cnn | 2, 64 |" in tables.generate(out.parent, "benchmark_models")
    assert not tf.config.optimizer.get_experimental_options().get("auto_mixed_precision_onednn_bfloat16")


def test_a_step_is_as_much_work_as_its_layers_say():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 2)
    )
    work = counting.work(twins.theirs("compact_cnn", [net], None, 4, 8))
    convolution, dense = 4 * 36 * 8 * 27, 4 * 288 * 2
    # Forward, weights' gradient, and below the first layer the inputs' gradient; two operations each.
    assert work["operations"] == 2 * (2 * convolution + 3 * dense)
    weights = 216 + 576 + 2
    assert work["bytes"] > 4 * (4 * 192 + 2 * weights) and work["kernels"] > 8


@pytest.mark.parametrize(("groups", "transposed"), [(1, False), (1, True), (8, False), (8, True)])
def test_gradients_of_a_convolution_are_as_much_work_as_itself(groups, transposed):
    """Of a grouped one too, for which PyTorch's formula counts every channel with every other."""
    torch = pytest.importorskip("torch")
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    layer = kind(8, 16, 3, stride=2, groups=groups, bias=False)
    maps = torch.rand(2, 8, 9, 9, requires_grad=True)
    places = (9 if transposed else 4) ** 2
    work = counting.work(lambda: layer(maps).sum().backward())
    assert work["operations"] == 3 * 2 * 2 * places * 9 * 8 * 16 // groups


def test_schedules_scale_measured_steps_by_their_operations(measured, tmp_path, monkeypatch, capsys):
    out = tmp_path / "benchmark.json"
    content = recorded(measured[0])["models"]
    record(out, "models", content)
    with pytest.raises(
        BenchmarkError, match=r"Measure them first: .* Received: no dcgan, dense_gan, drn_d_22"
    ):
        schedules.measure_schedules(out)
    one = schedules.Training("a_paper", "compact_cnn", 32, 64, 3600, 2, "compact_cnn")
    single = schedules.Training("a_paper", "unit", 1, 32, 10, 1, "compact_cnn")
    monkeypatch.setattr(schedules, "TRAININGS", (one, single))
    monkeypatch.setattr(schedules, "work_of", lambda training: WORK)
    device = schedules.Device("Some GPU", 1e12, 1e9, 1e9, 1e-3)
    runs = schedules.measure_schedules(out, device, devices=2)["runs"]
    assert set(runs[0]["here"]) == {"float32", "bfloat16"}
    for like in content["runs"]:
        a_step = WORK["operations"] / (like["work"]["operations"] * like["ours"] / 2)
        assert runs[0]["here"][like["precision"]] == pytest.approx(2 * a_step)
    # 4e9 bytes at 1e9 a second; two devices halve that, and send 2 (2 - 1) / 2 * 4 bytes of 1e6 weights.
    assert (runs[0]["limit"], runs[0]["one"]) == ("memory", pytest.approx(2 * 4.0))
    assert runs[0]["many"] == pytest.approx(2 * (2.0 + 0.004))
    assert runs[1]["many"] is None
    table = tables.generate(tmp_path, "benchmark_schedules")
    assert (
        "cannot part a batch of 1" in table and "| this machine, float32 | this machine, bfloat16 |" in table
    )


WORK = {"operations": 1e12, "bytes": 4e9, "kernels": 100, "weights": 1_000_000}


def test_work_at_a_papers_batch_is_counted_at_two_small_ones():
    pytest.importorskip("torch")
    training = schedules.Training("a_paper", "compact_cnn", 6, 64, 1, 1, "compact_cnn")
    estimated = schedules.work_of(training)
    nets = twins.networks("compact_cnn", 64)
    plan = twins.plan_twins("compact_cnn", nets, 64)
    direct = counting.work(twins.theirs("compact_cnn", twins.build(plan), None, 6, 64))
    assert estimated["operations"] == direct["operations"] and estimated["kernels"] == direct["kernels"]
    assert estimated["bytes"] == pytest.approx(direct["bytes"], rel=0.01)
    assert estimated["weights"] == sum(weight.numel() for weight in twins.build(plan)[0].parameters())


def test_a_file_that_holds_no_benchmarks_is_named(tmp_path):
    for text in ("{", "[1]", '{"models": 3}'):
        (tmp_path / "benchmark.json").write_text(text)
        with pytest.raises(OutputError, match=r"benchmark.json is no file of benchmarks"):
            record(tmp_path / "benchmark.json", "models", {})


def test_a_failed_measurement_of_memory_is_said():
    with pytest.raises(
        BenchmarkError, match=r"twins neither .* cannot be measured\. Received: exit code 1, KeyError"
    ):
        processes.numbers_of("benchmarks.twins", "neither", "dcgan", 2, 32, "{}")


def test_every_model_has_its_own_sizes_unless_others_are_given():
    assert twins.sizes("dcgan") == {"batch_size": 32, "image_size": 64}
    assert twins.sizes("resnet18") == {"batch_size": 8, "image_size": 224}
    assert twins.sizes("unit") == {"batch_size": 1, "image_size": 64}
    assert twins.sizes("dcgan", 8) == {"batch_size": 8, "image_size": 64}


@pytest.mark.parametrize(
    "name", ["resnet18", "drn_a_50", "inception_net", "drn_c_26", "drn_d_22", "drn_d_54"]
)
def test_twins_have_the_models_numbers(name):
    pytest.importorskip("torch")
    widths = {"resnet18": {"width": 4}, "drn_a_50": {"width": 4}, "inception_net": {"stem_width": 4}}
    narrow = widths.get(name, {"widths": (4,) * 8})
    model = models.create(name, num_classes=2, image_size=32, **narrow)
    (twin,) = twins.build(json.loads(json.dumps(twins.plan_twins(name, [model], 32))))
    ours = sum(weight.value.shape.num_elements() for weight in model.trainable_weights)
    assert sum(parameter.numel() for parameter in twin.parameters()) == ours


@pytest.mark.parametrize("name", ["dcgan", "dense_gan"])
def test_a_gans_twins_start_from_its_weights_and_lose_as_much(name):
    pytest.importorskip("torch")
    from keras_fracture.interop.torch import load_torch_weights

    nets = twins.networks(name, 32)
    plan = json.loads(json.dumps(twins.plan_twins(name, nets, 32)))
    copies = twins.build(plan)
    for net, twin in zip(nets, copies, strict=True):
        load_torch_weights(net, twin.state_dict())
    ours, theirs = twins.ours(name, nets, 8, 32)(), twins.theirs(name, copies, plan["weights"], 8, 32)()
    # Not equal: the noise differs.
    assert np.isfinite(ours) and ours == pytest.approx(theirs, rel=0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ["--models", "vgg"],
            "Only compact_cnn, dcgan, dense_gan, drn_a_50, .* can be measured. Received: 'vgg'",
        ),
        (["--precision", "float16"], "Only float32, bfloat16 can be measured. Received: 'float16'"),
        (["--batch-size", "1"], "batch size must be 2 or more. Received: 1"),
        (["--image-size", "16"], "image size must be 32 or more. Received: 16"),
        (["--models", "dcgan", "--image-size", "48"], "of dcgan must be one of 32, 64, 128. Received: 48"),
        (["--models", "unit", "--image-size", "50"], "of unit must be a multiple of 4. Received: 50"),
        (["--steps", "0"], "steps must be 1 or more. Received: 0"),
    ],
)
def test_what_cannot_be_measured_is_one_line(change, message, capsys):
    assert main(["models", *TINY, *change]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)


def test_without_pytorch_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("tests.torch_twins")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BenchmarkError, match="need PyTorch"):
        benchmark.measure(["inception_net"], 2, 32, 1)


def test_what_other_programs_took_is_told_from_ones_own():
    assert benchmark.share_of_others((0, 0, 0), (10, 15, 15), cores=2) == 0
    assert benchmark.share_of_others((5, 100, 3), (15, 115, 13), cores=2) == pytest.approx(0.25)
    assert benchmark.share_of_others(None, None, cores=2) is None


def test_the_cpu_has_a_name_and_cores():
    cpu = benchmark.cpu()
    assert cpu["name"] and cpu["cores"] >= 1 and isinstance(cpu["flags"], list)
