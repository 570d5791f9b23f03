import pytest

from benchmarks import growth
from benchmarks.errors import BenchmarkError


def test_exponents_are_those_of_the_power_law(monkeypatch):
    def numbers_of(module, kind, count, size, folder):
        return (5.0, 2.0, 0.1 * count**0.5) if kind == "training" else (3e-3 * count,)  # without a peak

    monkeypatch.setattr(growth, "numbers_of", numbers_of)
    numbers = growth.measure_growth((100, 400, 900), (50, 200), show=lambda line: None)
    exponents = {
        name.removesuffix(": exponent"): value for name, value in numbers.items() if "exponent" in name
    }
    assert exponents == {
        "preparing, ms an image": pytest.approx(0), "training from the cache, ms a step": pytest.approx(0),
        "training, peak MiB": pytest.approx(0.5), "audit, seconds": pytest.approx(1), "audit, peak MiB": None,
    }  # fmt: skip
    assert numbers["training, peak MiB: 400 images"] == 2 and numbers["audit, seconds: 200 images"] == 0.6


def test_training_reads_what_it_prepared(tmp_path):
    preparing, step = growth.train(70, 64, str(tmp_path))
    assert preparing > 0 and step > 0 and len(list(tmp_path.rglob("*.tfrecord"))) == 1


def test_all_images_are_audited(tmp_path):
    assert growth.audit(40, tmp_path) > 0
    assert len({path.read_bytes() for path in tmp_path.rglob("*.png")}) == 40


def test_what_cannot_be_measured_is_said():
    with pytest.raises(BenchmarkError, match=r"Received: \(100,\), \(50, 60\)"):
        growth.measure_growth((100,), (50, 60))
    with pytest.raises(BenchmarkError, match="size must be 64 or more"):
        growth.measure_growth((100, 200), (50, 60), size=32)
