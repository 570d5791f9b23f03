"""That both sides of whole trainings do the same work, and what is made of their times; never how fast."""

import keras
import numpy as np
import pytest
from PIL import Image

from benchmarks import jobs
from benchmarks.__main__ import main
from benchmarks.errors import BenchmarkError
from keras_fracture.papers.ibrahim_gan.config import Config as IbrahimConfig
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonConfig
from keras_fracture.report import benchmarks

torch = pytest.importorskip("torch")
torch_jobs = pytest.importorskip("benchmarks.torch_jobs")

SIZES = {"lisbon_resnet": 32, "ibrahim_gan": 64}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Networks and machines that tests have time for: threads that spin for each other stand still on a busy one."""

    def config(job, size):
        if job == "ibrahim_gan":
            return IbrahimConfig(data="phantom", image_size=size)
        return LisbonConfig(data="phantom", models=("resnet18",), image_size=size, augment=True, width=4)

    monkeypatch.setattr(jobs, "_config", config)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def bright_and_dark(job):
    """Images whose label is plain to see: 64 to train on, 32 to validate on."""
    rng, size = np.random.default_rng(0), SIZES[job]
    sets = {}
    for name, count in (("train", 64), ("validation", 32)):
        labels = np.arange(count) % 2
        images = rng.integers(0, 100, (count, size, size, 1)) + 150 * labels[:, None, None, None]
        sets[name] = images.astype(np.uint8), labels
    return sets


@pytest.mark.parametrize("job", SIZES)
def test_ours_learns_validates_and_is_timed(job, tmp_path):
    keras.utils.set_random_seed(2)  # other starts have little left to learn
    seconds, bare, history = jobs.train(job, bright_and_dark(job), tmp_path, 2, block=2)
    assert len(seconds) == 2 and min(*seconds, bare) > 0
    assert len(history["val_loss"]) == 2 and history["loss"][1] < history["loss"][0]
    assert any(tmp_path.rglob("epoch-*.weights.h5")) == (job == "lisbon_resnet")


@pytest.mark.parametrize("job", SIZES)
def test_pytorch_learns_validates_and_is_timed(job, tmp_path, monkeypatch):
    monkeypatch.setattr(torch_jobs, "ResNet", lambda *given, **named: _narrow(*given, **named))
    torch.manual_seed(0)
    sets = {name: (images[..., 0], labels) for name, (images, labels) in bright_and_dark(job).items()}
    seconds, bare, history = torch_jobs.train(job, sets, tmp_path, 4)
    assert len(seconds) == 4 and min(*seconds, bare) > 0
    assert history[-1]["loss"] < history[0]["loss"] and set(history[0]) > {"val_loss", "val_accuracy"}
    assert (tmp_path / "checkpoint.pt").exists() == (job == "lisbon_resnet")


def _narrow(*given, **named):
    from tests.torch_twins.resnet import ResNet

    return ResNet(*given, **named, width=4)


def test_both_losses_are_one():
    from keras_fracture.papers.lisbon_resnet import experiment

    logits, labels = (
        np.random.default_rng(0).normal(size=(6, 2)).astype("float32"),
        np.array([0, 1, 1, 0, 1, 0]),
    )
    ours = experiment.loss(LisbonConfig())(np.eye(2, dtype="float32")[labels], logits)
    theirs = torch_jobs.focal(torch.from_numpy(logits), torch.from_numpy(labels))
    assert float(ours) == pytest.approx(theirs.item(), rel=1e-5)


def test_pytorch_augments_as_far_as_ours(monkeypatch):
    pixels = np.zeros((40, 40), np.uint8)
    pixels[10:14, 20:24] = 200
    drawn = {"none": [0.5] * 6, "flip": [1, *[0.5] * 5], "shift": [0.5, 0.5, 0.5, 1, 1, 0.5]}
    changed = {}
    for name, numbers in drawn.items():
        monkeypatch.setattr(torch, "rand", lambda count, numbers=numbers: torch.tensor(numbers))
        changed[name] = np.array(torch_jobs.augment(Image.fromarray(pixels)))
    np.testing.assert_array_equal(changed["none"], pixels)
    np.testing.assert_array_equal(changed["flip"], pixels[:, ::-1])
    np.testing.assert_array_equal(changed["shift"], np.roll(pixels, (2, 2), axis=(0, 1)))  # 5 % of the side


def test_medians_of_turns_become_rates_and_ratios(monkeypatch):
    asked = []

    def numbers_of(module, *arguments, variables=None):
        asked.append((module, *arguments, variables))
        epoch = (4.0 if variables else 2.0) if module.endswith("torch_jobs") else 1.0
        return epoch / 10, 100.0, epoch, epoch  # the first epoch is not counted

    monkeypatch.setattr(jobs, "numbers_of", numbers_of)
    monkeypatch.setattr(jobs, "_write_images", lambda *given: 320)
    lines = []
    numbers = jobs.measure_jobs((("lisbon_resnet", 112, 2),), precisions=("float32",), show=lines.append)
    title = "lisbon_resnet, 112 pixels, float32: "
    found = {name.removeprefix(title): number for name, number in numbers.items()}
    busy = found.pop("other programs")
    assert busy is None or 0 <= busy <= 1
    assert found == {
        "ours": 320, "PyTorch": 160, "PyTorch, threads sleep": 80, "ours / PyTorch": 2,
        "bare step: ours": 320, "bare step: PyTorch": 160, "bare step: ratio": 2,
    }  # fmt: skip
    assert [each[0].rpartition(".")[2] for each in asked] == [
        "jobs",
        "torch_jobs",
        "torch_jobs",
    ] * 2  # in turn
    assert lines == [f"{title}2.00 of PyTorch's images a second"]


def test_an_epoch_is_whole_blocks_of_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "load_splits", lambda config, *given: _splits(config.image_size))
    assert jobs._write_images("lisbon_resnet", 32, 70, tmp_path) == 64
    monkeypatch.setattr(jobs, "_BLOCKS", (1, 2))
    assert jobs._write_images("ibrahim_gan", 32, None, tmp_path) == 128
    with np.load(tmp_path / "images.npz") as arrays:
        assert arrays["train_images"].shape == (128, 32, 32, 1) and len(arrays["validation_labels"]) == 128


def _splits(size):
    split = jobs.Split(np.zeros((150, size, size, 1), np.uint8), np.zeros(150, np.int64), None)
    return {"train": split, "validation": split}


def test_jobs_are_recorded_and_shown_as_a_table(tmp_path, monkeypatch):
    numbers = {"a, 64 pixels, float32: ours": 1234.5, "a, 64 pixels, float32: ours / PyTorch": 1.234,
               "b, 112 pixels, float32: ours": None}  # fmt: skip
    monkeypatch.setattr(jobs, "measure_jobs", lambda count, repeats: numbers)
    path = tmp_path / "benchmark.json"
    assert main(["jobs", "--json", str(path)]) == 0
    head, _, first, second = benchmarks.table(path, "jobs").splitlines()[:4]
    assert head == "| training, images/s | ours | ours / PyTorch |"
    assert first == "| a, 64 pixels, float32 | 1,234 | 1.23 |"
    assert second.startswith("| b, 112 pixels, float32 | unknown |")


def test_what_cannot_be_measured_is_said():
    with pytest.raises(BenchmarkError, match="Received: 0 and None"):
        jobs.measure_jobs(repeats=0)
