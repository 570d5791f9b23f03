import pickle

import numpy as np
import pytest

from keras_fracture.errors import WeightsError
from keras_fracture.interop.torch import load_torch_weights, save_torch_weights
from tests.interop.conftest import tiny, tiny_twin

torch = pytest.importorskip("torch")
from tests.torch_twins.compact_cnn import compact_cnn  # noqa: E402


@pytest.mark.parametrize("extension", ["pth", "safetensors"])
def test_damaged_bytes_raise_nothing_else(extension, victim, tmp_path):
    path, rng = tmp_path / f"file.{extension}", np.random.default_rng(0)
    save_torch_weights(victim, path)
    whole = path.read_bytes()
    for _ in range(40):
        bad = bytearray(whole)
        for place in rng.integers(0, len(bad), 20):
            bad[place] = rng.integers(256)
        bad[rng.integers(0, 2000)] ^= 0xFF
        path.write_bytes(bad[: rng.integers(1, len(bad))] if rng.random() < 0.3 else bad)
        try:
            load_torch_weights(victim, path)
        except WeightsError as error:
            assert "\n" not in str(error)


class Evil:
    def __reduce__(self):
        return (open, ("pwned", "w"))


def other_architecture(folder):
    torch.save(compact_cnn().state_dict(), folder / "file.pth")
    return (
        folder / "file.pth",
        r"model's conv1.weight \(convolution, \(4, 3, 7, 7\)\).*Received: 0.weight, convolution",
    )


def other_width(folder):
    state = tiny_twin().state_dict()
    state["layer3.0.conv2.weight"] = torch.zeros(16, 16, 5, 5)
    return state, r"layer3.0.conv2.weight \(convolution, \(16, 16, 3, 3\)\).*Received: .*\(16, 16, 5, 5\)"


def too_short(folder):
    state = dict(list(tiny_twin().state_dict().items())[:-1])
    return state, r"nothing for the model's fc.bias \(dense, \(2,\)\)"


def too_long(folder):
    return tiny_twin().state_dict() | {
        "extra.weight": torch.zeros(3)
    }, r"lacks. Received: extra.weight, \(3,\)"


def not_a_number(folder):
    state = tiny_twin().state_dict()
    state["fc.bias"][1] = float("nan")
    return state, "Received: NaN or infinity in fc.bias"


def infinite(folder):
    state = tiny_twin().state_dict()
    state["layer1.0.bn1.running_mean"][0] = float("inf")
    return state, "Received: NaN or infinity in layer1.0.bn1.running_mean"


def negative_variance(folder):
    state = tiny_twin().state_dict()
    state["bn1.running_var"][0] = -1
    return state, "negative. Received: -1 in bn1.running_var"


def truncated(folder):
    torch.save(tiny_twin().state_dict(), folder / "file.pth")
    content = (folder / "file.pth").read_bytes()
    (folder / "file.pth").write_bytes(content[: len(content) // 2])
    return folder / "file.pth", "Damaged"


def truncated_safetensors(folder):
    save_torch_weights(tiny(), folder / "file.safetensors")
    content = (folder / "file.safetensors").read_bytes()
    (folder / "file.safetensors").write_bytes(content[: len(content) // 2])
    return folder / "file.safetensors", "Damaged"


def empty(folder):
    (folder / "file.pt").write_bytes(b"")
    return folder / "file.pt", "Damaged"


def code(folder):
    (folder / "file.pth").write_bytes(pickle.dumps({"conv1.weight": Evil()}))
    return folder / "file.pth", "Holds code"


def code_in_zip(folder):
    torch.save({"conv1.weight": Evil()}, folder / "file.pth")
    return folder / "file.pth", "Holds code"


def whole_model(folder):
    torch.save(torch.nn.Linear(2, 2), folder / "file.pth")
    return folder / "file.pth", "Holds code or objects"


def not_a_dict(folder):
    torch.save([torch.zeros(2)], folder / "file.pth")
    return folder / "file.pth", "not a state dict"


def not_tensors(folder):
    return {"epoch": 3}, "epoch must be a tensor. Received: int"


def missing(folder):
    return folder / "none.pth", "No such weights file"


def extension(folder):
    return folder / "weights.bin", "Weights files end in"


CASES = [
    other_architecture,
    other_width,
    too_short,
    too_long,
    not_a_number,
    infinite,
    negative_variance,
    truncated,
    truncated_safetensors,
    empty,
    code,
    code_in_zip,
    whole_model,
    not_a_dict,
    not_tensors,
    missing,
    extension,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_bad_weights_change_nothing_and_say_so_in_one_line(case, victim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = victim.get_weights()
    source, message = case(tmp_path)
    with pytest.raises(WeightsError, match=message) as caught:
        load_torch_weights(victim, source)
    assert "\n" not in str(caught.value)
    assert "Received: " in str(caught.value)
    assert not (tmp_path / "pwned").exists()
    for ours, theirs in zip(victim.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
