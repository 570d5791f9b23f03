"""What `python -m benchmarks data` says of the input pipeline."""

import importlib.util

import numpy as np
import pytest

from benchmarks import data as benchmark
from benchmarks.__main__ import main
from benchmarks.errors import BenchmarkError
from benchmarks.image_memory import DISTINCT, Repeated, peak_memory
from keras_fracture.data import Preprocess, decoding
from keras_fracture.report.benchmarks import recorded


def test_the_numbers_hold_what_the_goals_name(dummy_root, monkeypatch):
    monkeypatch.setattr(benchmark, "_training_step", lambda: lambda: None)
    monkeypatch.setattr(benchmark, "_drawing_seconds", lambda: 1.0)
    peaks = {10: (700.0, 800.0), 100: (750.0, 1000.0)}
    monkeypatch.setattr(benchmark, "peak_memory", lambda count, folder: peaks[count])
    numbers = benchmark.measure_data("fracatlas", 4, dummy_root, 1, (10, 100))
    assert set(benchmark.GOALS) < set(numbers)
    assert numbers["fracatlas: images"] == 4
    rates = [numbers[f"{way}, images a second"] for way in ("pipeline", "plain loop")]
    assert numbers["pipeline over loop"] == pytest.approx(rates[0] / rates[1])
    if importlib.util.find_spec("torch"):
        loader = numbers["PyTorch's DataLoader, two workers, images a second"]
        assert numbers["pipeline over PyTorch's DataLoader"] == pytest.approx(rates[0] / loader)
    assert 50.176 < numbers["kept, kB an image"] < 50.3, "224 x 224, and little else"
    assert numbers["peak memory of most over fewest images"] == 1.25


def test_all_ways_make_the_same_images(dummy_root):
    pytest.importorskip("torch")
    records = benchmark.data.load("fracatlas", "train", data_dir=dummy_root)
    encoded = [record["image"] for record in records.raw(["image"]).as_numpy_iterator()]
    ours, _ = records.arrays(benchmark._PREPROCESS, cache=False)
    theirs = benchmark._Images(encoded)
    for index, image in enumerate(ours):
        np.testing.assert_array_equal(theirs[index].numpy(), image)
        np.testing.assert_array_equal(benchmark._prepare(encoded[index]), image)


def test_what_is_not_there_is_not_measured(dummy_root, monkeypatch):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None)
    records = benchmark.data.load("fracatlas", "train", data_dir=dummy_root)
    numbers = benchmark._decoding(records, "fracatlas", 2, 1)
    assert numbers["pipeline over PyTorch's DataLoader"] is None and numbers["pipeline over loop"] > 0
    monkeypatch.setattr(benchmark, "peak_memory", lambda count, folder: None)
    assert set(benchmark._memory((1, 2)).values()) == {None}


def test_a_step_trains():
    step = benchmark._training_step()
    first, *_, last = (step() for _ in range(6))
    assert last < first


def test_images_repeat_to_any_number(tmp_path):
    records = Repeated(2 * DISTINCT + 5)
    images, labels = records.arrays(Preprocess(size=32), tmp_path)
    assert len(images) == len(records) == 2 * DISTINCT + 5
    drawn = [decoding.decode(data).image for data in records.fields["image"]]
    for index in (0, DISTINCT - 1, DISTINCT, len(records) - 1):
        np.testing.assert_array_equal(images[index], Preprocess(size=32)(drawn[index % DISTINCT]))
        assert labels[index] == records.fields["label"][index % DISTINCT]


def test_peak_memory_is_that_of_a_process_that_reads_all_images(tmp_path):
    preparing, reading = peak_memory(40, tmp_path)
    assert 100 < preparing <= reading < 4000
    assert len(list(tmp_path.rglob("*.tfrecord"))) == 1


def test_a_benchmark_is_printed_and_recorded_with_its_goals(tmp_path, monkeypatch, capsys):
    numbers = {"pipeline over loop": 1.91234, "peak": None}
    monkeypatch.setattr(benchmark, "measure_data", lambda *given: numbers)
    path = tmp_path / "benchmark.json"
    assert main(["data", "--json", str(path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["pipeline", "over", "loop", "1.912", "goal:", "at", "least", "1.9"]
    assert second.split() == ["peak", "none"]
    content = recorded(path)["data"]
    assert content["numbers"] == numbers and content["goals"] == benchmark.GOALS
    assert content["versions"]["tensorflow"] and content["command"]


def test_what_cannot_be_measured_is_said(dummy_root):
    with pytest.raises(BenchmarkError, match="Received: 0 and 5"):
        benchmark.measure_data("fracatlas", 0, dummy_root)
