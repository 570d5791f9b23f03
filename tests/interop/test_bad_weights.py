import errno
import pickle
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy

from keras_fracture import cli, models
from keras_fracture.errors import OutputError, WeightsError
from keras_fracture.interop.convert import convert
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
        for index in rng.integers(0, len(bad), 20):
            bad[index] = rng.integers(256)
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
        r"model's conv1.weight \(convolution, \(4, 3, 7, 7\)\).*Received: 0.weight, convolution \(32, 1, 3, 3\)",
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


def quantized(folder):
    """As whole numbers beside their scales, which a reader of names alone would take for the weights."""
    state = tiny_twin().state_dict()
    state["conv1.weight"] = (state["conv1.weight"] * 127).round().to(torch.int8)
    return state, "conv1.weight must be floating point.*quantized.*Received: int8"


def quantized_in_safetensors(folder):
    state = {name: array.numpy() for name, array in tiny_twin().state_dict().items()}
    safetensors.numpy.save_file(state | {"fc.bias": np.ones(2, "uint8")}, folder / "file.safetensors")
    return folder / "file.safetensors", "fc.bias must be floating point.*Received: uint8"


def quantized_to_float8(folder):
    state = tiny_twin().state_dict()
    state["conv1.weight"] = state["conv1.weight"].to(torch.float8_e4m3fn)
    return state, "conv1.weight must be floating point, of 16 bits or more.*Received: float8_e4m3fn"


def pruning_mask(folder):
    state = tiny_twin().state_dict()
    state["conv1.weight"] = state["conv1.weight"] > 0
    return state, "conv1.weight must be floating point.*Received: bool"


def not_a_number_in_safetensors(folder):
    model = tiny()
    model.fc.bias.assign([0, float("nan")])
    save_torch_weights(model, folder / "file.safetensors")
    return folder / "file.safetensors", "Received: NaN or infinity in fc.bias"


def sparse(folder):
    state = tiny_twin().state_dict()
    state["conv1.weight"] = state["conv1.weight"].to_sparse()
    return state, r"conv1.weight must hold all its numbers.*Received: torch.sparse_coo on cpu"


def meta(folder):
    state = tiny_twin().state_dict()
    state["fc.bias"] = state["fc.bias"].to("meta")
    return state, r"fc.bias must hold all its numbers.*Received: torch.strided on meta"


def halves_of_a_block_in_another_order(folder):
    """Both are of one shape, and the head has another name, so that all would go by the order."""
    state = {name.replace("fc.", "head."): value for name, value in tiny_twin().state_dict().items()}
    first, second = (
        {name: state.pop(name) for name in list(state) if name.startswith(parts)}
        for parts in (("layer1.0.conv1.", "layer1.0.bn1."), ("layer1.0.conv2.", "layer1.0.bn2."))
    )
    stem = {name: state.pop(name) for name in list(state) if not name.startswith(("layer", "head"))}
    said = (
        r"another order than its.*Received: layer1.0.conv2.weight where the model has layer1.0.conv1.weight"
    )
    return stem | second | first | state, said


def halved(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def truncated(folder):
    torch.save(tiny_twin().state_dict(), folder / "file.pth")
    return halved(folder / "file.pth"), "Damaged"


def truncated_safetensors(folder):
    save_torch_weights(tiny(), folder / "file.safetensors")
    return halved(folder / "file.safetensors"), "Damaged"


def empty(folder):
    (folder / "file.pt").write_bytes(b"")
    return folder / "file.pt", "Damaged"


def text(folder):
    (folder / "file.pth").write_text("epoch,loss\n1,0.5\n")
    return folder / "file.pth", "not PyTorch weights"


def text_as_safetensors(folder):
    (folder / "file.safetensors").write_text("epoch,loss\n1,0.5\n")
    return folder / "file.safetensors", "Damaged"


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
    return folder / "weights.onnx", "Weights files end in"


CASES = [
    other_architecture,
    other_width,
    too_short,
    too_long,
    not_a_number,
    sparse,
    meta,
    halves_of_a_block_in_another_order,
    quantized,
    quantized_in_safetensors,
    quantized_to_float8,
    pruning_mask,
    not_a_number_in_safetensors,
    infinite,
    negative_variance,
    truncated,
    truncated_safetensors,
    empty,
    text,
    text_as_safetensors,
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


def refused_by_convert(source, target, message, capsys):
    """`convert` raises, the command line says so in one line, and the folder is as it was."""
    before = sorted(target.parent.iterdir())
    with pytest.raises(WeightsError, match=message):
        convert(source, "resnet18", target)
    assert cli.main(["convert", str(source), "--model", "resnet18", "--to", str(target)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    assert re.search(message, error)
    assert sorted(target.parent.iterdir()) == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_bad_weights_are_not_converted(case, victim, tmp_path, monkeypatch, capsys, recwarn):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "create", lambda *_, **__: victim)
    source, message = case(tmp_path)
    if not isinstance(source, Path):
        torch.save(source, tmp_path / "state.pth")
        source = tmp_path / "state.pth"
    refused_by_convert(source, tmp_path / "out.weights.h5", message, capsys)
    messages = [str(warning) for warning in recwarn if warning.category is not DeprecationWarning]
    assert not messages, "further lines on a terminal"
    assert not (tmp_path / "pwned").exists()


def other_keras_model(path):
    models.create("compact_cnn").save_weights(path)
    return r"Does not fit ResNet: .* bn1/vars/0 \(4,\)\. Received: nothing in .*file.weights.h5"


def other_keras_width(path):
    models.ResNet(width=8, depths=(1, 1, 1, 1), image_size=32, num_classes=2).save_weights(path)
    return r"Does not fit ResNet: .* bn1/vars/0 \(4,\)\. Received: \(8,\) in .*file.weights.h5"


def deeper_keras_model(path):
    models.ResNet(width=4, depths=(2, 1, 1, 1), image_size=32, num_classes=2).save_weights(path)
    return r"Does not fit ResNet: layer1/layers/basic_block_1/bn1/vars/0, .* lacks\. Received: \(4,\) in"


def not_a_number_in_keras(path):
    model = tiny()
    model.layer1.layers[0].bn1.gamma.assign(np.full(4, np.nan))
    model.save_weights(path)
    return "Received: NaN or infinity in layer1.0.bn1.weight"


def truncated_keras(path):
    tiny().save_weights(path)
    halved(path)
    return "Damaged, or not Keras weights"


def text_as_keras(path):
    path.write_text("epoch,loss\n1,0.5\n")
    return "Damaged, or not Keras weights"


def missing_keras(path):
    return "No such weights file"


KERAS_CASES = [
    other_keras_model,
    other_keras_width,
    deeper_keras_model,
    not_a_number_in_keras,
    truncated_keras,
    text_as_keras,
    missing_keras,
]


@pytest.mark.parametrize("case", KERAS_CASES, ids=lambda case: case.__name__)
def test_bad_keras_weights_are_not_converted(case, tmp_path, monkeypatch, capsys):
    message = case(tmp_path / "file.weights.h5")
    model = tiny()
    monkeypatch.setattr(models, "create", lambda *_, **__: model)
    refused_by_convert(tmp_path / "file.weights.h5", tmp_path / "out.pth", message, capsys)


def test_an_unknown_ending_is_refused_before_a_model_is_built(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "create", None)
    (tmp_path / "file.pth").write_bytes(b"")
    refused_by_convert(tmp_path / "file.pth", tmp_path / "out.onnx", r"\.weights\.h5\. Received: ", capsys)


def test_a_full_disk_leaves_no_half_of_a_keras_file(tmp_path, monkeypatch):
    def full(self, path):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    model = tiny()
    save_torch_weights(model, tmp_path / "file.safetensors")
    monkeypatch.setattr(models, "create", lambda *_, **__: model)
    monkeypatch.setattr(keras.Model, "save_weights", full)
    with pytest.raises(OutputError, match="No space left"):
        convert(tmp_path / "file.safetensors", "resnet18", tmp_path / "out.weights.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["file.safetensors"]


def test_one_number_a_billion_times_is_not_copied(victim, tmp_path):
    path = tmp_path / "views.pth"
    torch.save({"a": torch.zeros(1).expand(10**9)}, path)
    with pytest.raises(WeightsError, match=r"Takes far more memory than it has bytes, 4,000,000,000 where"):
        load_torch_weights(victim, path)


def test_packed_checkpoints_are_not_unpacked(victim, tmp_path):
    path = tmp_path / "packed.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("packed/data/0", bytes(2**27))
    with pytest.raises(WeightsError, match=r"Takes far more memory than it has bytes, 134,217,728 where"):
        load_torch_weights(victim, path)


def test_a_module_in_place_of_its_state_dict_is_said(victim):
    with pytest.raises(WeightsError, match=r"give module.state_dict\(\). Received: ResNet$"):
        load_torch_weights(victim, tiny_twin())
    renamed = {name.replace("fc.", "head."): value for name, value in tiny_twin(1).state_dict().items()}
    load_torch_weights(victim, renamed)  # by the order, which is the model's
    np.testing.assert_array_equal(victim.fc.bias, renamed["head.bias"])
