"""`python benchmarks/dcgan_tries.py` on a few phantoms."""

import json

import numpy as np
import pytest

from benchmarks import dcgan_tries
from keras_fracture import models
from tests.data import phantoms


def test_kernels_are_drawn_as_pytorch_draws_them():
    torch = pytest.importorskip("torch")
    shape = {"image_size": 32, "channels": 1, "width": 8}
    layers = {
        "dcgan_generator": torch.nn.ConvTranspose2d(32, 16, 4),
        "dcgan_discriminator": torch.nn.Conv2d(16, 32, 4),
    }
    for name, layer in layers.items():
        network = models.create(name, **shape)
        dcgan_tries.initialise_as_pytorch(network, 0)
        kernel = next(
            weight
            for weight in network.trainable_weights
            if weight.name == "kernel" and sorted(weight.shape[2:]) == sorted(layer.weight.shape[:2])
        )
        ours, theirs = np.abs(kernel.numpy()).max(), layer.weight.detach().abs().max().item()
        assert ours == pytest.approx(theirs, rel=0.01)
        assert all((one.numpy() == 1).all() for one in network.trainable_weights if one.name == "gamma")


@pytest.mark.slow
def test_every_setting_is_tried_and_none_twice(monkeypatch, tmp_path):
    small = {"image_size": 32, "channels": 3, "width": 8, "steps": 2, "policy": "grouped"}
    names = (
        "as printed",
        "PyTorch's initialisation",
        "discriminator's loss a mean",
        "images normalised as ImageNet's",
    )
    monkeypatch.setattr(
        dcgan_tries, "TRIES", {name: dcgan_tries.TRIES[name] | {"width": 8} for name in names}
    )
    monkeypatch.setitem(dcgan_tries.Config.PROFILES, "paper", small)
    results = tmp_path / "tries.json"
    arguments = [
        "--data",
        "phantom",
        "--epochs",
        "2",
        "--runs",
        f"{tmp_path}/runs",
        "--results",
        f"{results}",
    ]
    with phantoms.few(60, 48, tmp_path / "cache"):
        assert dcgan_tries.main(arguments) == 0
        first = json.loads(results.read_text())
        assert dcgan_tries.main(arguments) == 0  # what is trained already stays
        again = json.loads(results.read_text())
        arguments[arguments.index("2")] = "3"
        assert dcgan_tries.main(arguments) == 0
        arguments[arguments.index("3")] = "2"
        assert dcgan_tries.main(arguments) == 0  # the first of three epochs
        fewer = json.loads(results.read_text())
    assert again == first
    for row, before in zip(fewer["rows"], first["rows"], strict=True):
        assert row["g_loss"] == before["g_loss"]
    assert [row["try"] for row in first["rows"]] == list(names)
    d_losses = [row["d_loss"][0] for row in first["rows"]]
    assert len(set(d_losses)) == len(names), "every setting reaches the training"
    assert d_losses[2] < 0.7 * d_losses[0]
    with pytest.raises(SystemExit):
        dcgan_tries.main(["--epochs", "1"])
