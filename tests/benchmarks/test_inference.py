import numpy as np
import pytest

from benchmarks import inference
from benchmarks.errors import BenchmarkError
from benchmarks.serving import image_files
from keras_fracture.data import decoding

WAYS = ("serve_bytes", "OpenCV, serving_default", "TorchScript", "torch.compile")


def test_all_ways_are_timed_and_compared_with_the_faster_pytorch(dummy_root, monkeypatch):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    monkeypatch.setattr(
        inference, "_cores", lambda: 1
    )  # threads that spin for each other stand still on a busy CPU
    # Measuring checks that all answer alike.
    numbers = inference.measure_inference("fracatlas", 1, (("compact_cnn", 64),), (1, 2), False, dummy_root)
    torch.set_num_threads(before)
    for batch in (1, 2):
        title = f"compact_cnn, 64 pixels, batch of {batch}"
        for way in WAYS[:3]:
            rate = numbers[f"{title}, {way}: images/s"]
            assert rate == pytest.approx(1000 * batch / numbers[f"{title}, {way}: ms"])
            of_pytorch = rate / numbers[f"{title}, TorchScript: images/s"]
            assert numbers[f"{title}, {way}: over PyTorch"] == pytest.approx(of_pytorch)
        assert numbers[f"{title}, torch.compile: ms"] is None


def test_different_answers_are_no_comparison():
    ways = {"serve_bytes": lambda files: np.array([[0.5]]), "TorchScript": lambda files: np.array([[0.6]])}
    with pytest.raises(
        BenchmarkError, match=r"TorchScript must answer as serve_bytes does. Received: 0.1000 off"
    ):
        inference._timed("cnn", ways, [b""], 1)


def test_other_formats_are_turned_into_jpeg():
    (png,) = image_files("phantom", 1, None)
    jpeg = inference._as_jpeg(png)
    assert jpeg.startswith(b"\xff\xd8") and inference._as_jpeg(jpeg) is jpeg
    off = np.abs(decoding.decode(jpeg).image.astype(int) - decoding.decode(png).image)
    assert off.mean() < 5


def test_what_cannot_be_measured_is_said():
    with pytest.raises(BenchmarkError, match="Received: 0"):
        inference.measure_inference(rounds=0)
