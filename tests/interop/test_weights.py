import sys

import keras
import numpy as np
import pytest

from keras_fracture import models
from keras_fracture.errors import OutputError, WeightsError
from keras_fracture.interop.torch import load_torch_weights, save_torch_weights, to_torch_state_dict
from tests.interop.conftest import NARROW, tiny, tiny_twin

torch = pytest.importorskip("torch")
from tests.torch_twins.compact_cnn import compact_cnn  # noqa: E402
from tests.torch_twins.drn import DRN  # noqa: E402


@pytest.mark.parametrize("extension", ["pth", "pt", "safetensors"])
@pytest.mark.parametrize("name", ["resnet18", "compact_cnn"])
def test_files_round_trip(name, extension, tmp_path):
    first = tiny() if name == "resnet18" else models.create(name)
    first.set_weights([np.random.default_rng(0).uniform(0.1, 1, w.shape) for w in first.weights])
    save_torch_weights(first, tmp_path / f"weights.{extension}")
    assert [path.name for path in tmp_path.iterdir()] == [f"weights.{extension}"]
    second = type(first).from_config(first.get_config())
    load_torch_weights(second, tmp_path / f"weights.{extension}")
    for ours, theirs in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_mean_than_the_weights_were_trained_with_is_said(tmp_path, caplog):
    path, small = tmp_path / "file.safetensors", {"image_size": 32, "num_classes": 2}
    save_torch_weights(models.create("compact_cnn", mean=np.float32(0.25), std=(0.5,), **small), path)
    load_torch_weights(models.create("compact_cnn", mean=(0.25,), std=0.5, **small), path)
    assert not caplog.text
    load_torch_weights(models.create("compact_cnn", **small), path)
    assert "another mean and std than the model's" in caplog.text
    assert "mean 0.25 and std [0.5] in" in caplog.text


def test_resnet_names_are_torchvisions():
    twin, state = tiny_twin(), to_torch_state_dict(tiny(), names="torchvision_resnet")
    assert list(state) == list(twin.state_dict())
    assert {"layer2.0.downsample.0.weight", "layer1.0.bn2.running_var", "fc.bias"} <= set(state)
    twin.load_state_dict(state)  # strict
    assert int(twin.state_dict()["bn1.num_batches_tracked"]) == 0


@pytest.mark.parametrize("arch", ["C", "D"])
@pytest.mark.parametrize("bottleneck", [False, True])  # C with bottlenecks: as drn_c_58
def test_drn_names_are_the_authors(arch, bottleneck):
    depths = (1, 1, 1, 2, 1, 1, 2, 1)
    twin = DRN(arch, depths, bottleneck, widths=NARROW)
    block = "bottleneck" if bottleneck else "basic"
    model = models.DRN(arch, block, depths, num_classes=2, widths=NARROW, image_size=32)
    shuffled = dict(sorted(twin.state_dict().items()))
    load_torch_weights(model, shuffled, names="drn")
    state = to_torch_state_dict(model, names="drn")
    assert list(state) == list(twin.state_dict())
    twin.eval()
    images = torch.rand(2, 3, 32, 32)
    before = twin(images)
    unused = {key for key in state if key.startswith(("layer7.0.downsample", "layer8.0.downsample"))}
    assert len(unused) == 6 * (bottleneck and arch == "C")
    for key, value in twin.state_dict().items():
        assert key in unused or torch.equal(state[key], value)
    twin.load_state_dict(state)  # strict
    assert torch.equal(twin(images), before)


def test_drn_c_58_is_written_with_all_that_the_authors_code_holds():
    """The parameters their code counts, 41,079,634 with two classes: golden in tests/models/test_classifiers.py."""
    model = models.create(
        "drn_c_58", num_classes=2, widths=tuple(8 * width for width in NARROW), image_size=32
    )
    twin = DRN("C", model.depths, True, widths=model.widths)
    twin.load_state_dict(to_torch_state_dict(model))  # strict
    assert model.unused_projections == {"layer7.0": (4 * 128, 128)}


def test_the_authors_unused_projection_is_passed_over():
    widths = (4, 4, 4, 4, 4, 4, 8, 8)
    model = models.DRN("C", "bottleneck", (1,) * 8, num_classes=2, widths=widths, image_size=32)
    state = to_torch_state_dict(model)
    state["layer7.0.downsample.0.weight"] = torch.zeros(8, 16, 1, 1)
    load_torch_weights(model, state, names="drn")
    load_torch_weights(model, state)


def test_name_dict_takes_layers_and_parameters():
    twin, model = compact_cnn(), models.create("compact_cnn")
    names = {"body.0": "0", "body.1": "2", "body.2": "3", "body.4": "6", "body.7": "8"}
    names |= {"body.9.weight": "10.weight", "body.9.bias": "10.bias"}
    load_torch_weights(model, dict(sorted(twin.state_dict().items())), names=names)
    twin.load_state_dict(to_torch_state_dict(model, names=names))
    with pytest.raises(WeightsError, match=r"no entry for body.9.bias"):
        to_torch_state_dict(model, names={k: v for k, v in names.items() if k != "body.9.bias"})
    with pytest.raises(WeightsError, match=r"distinct"):
        to_torch_state_dict(model, names=names | {"body.1": "6"})


def test_wrapped_half_and_parallel_state_dicts_load(tmp_path):
    state = {
        f"module.{k}": v.half() if v.is_floating_point() else v for k, v in tiny_twin().state_dict().items()
    }
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    load_torch_weights(tiny(), tmp_path / "checkpoint.pth", names="torchvision_resnet")


def test_foreign_safetensors_need_names(tmp_path):
    from safetensors.numpy import save_file

    renamed = {k.replace("layer", "stage"): v.numpy() for k, v in tiny_twin().state_dict().items()}
    save_file(renamed, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="pass names"):
        load_torch_weights(tiny(), tmp_path / "foreign.safetensors")


def test_bfloat16_safetensors_load(tmp_path):
    from safetensors.torch import save_file

    state = {k: v.bfloat16() for k, v in tiny_twin().state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    model = tiny()
    load_torch_weights(model, tmp_path / "half.safetensors")
    np.testing.assert_array_equal(
        to_torch_state_dict(model)["layer4.0.conv1.weight"], state["layer4.0.conv1.weight"].float()
    )


def test_safetensors_need_no_torch(tmp_path, victim, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    save_torch_weights(victim, tmp_path / "file.safetensors")
    load_torch_weights(victim, tmp_path / "file.safetensors")
    (tmp_path / "file.pth").write_bytes(b"")
    for act in (load_torch_weights, save_torch_weights):
        with pytest.raises(WeightsError, match="need PyTorch"):
            act(victim, tmp_path / "file.pth")


def test_name_maps_are_checked(victim):
    with pytest.raises(WeightsError, match="must be a dict or one of"):
        load_torch_weights(victim, {}, names="torchvision")
    with pytest.raises(WeightsError, match="not for this model"):
        load_torch_weights(models.create("compact_cnn"), {}, names="drn")


def test_a_weight_without_counterpart_is_named():
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.SimpleRNN(2)])
    with pytest.raises(WeightsError, match="no PyTorch counterpart"):
        to_torch_state_dict(model)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize(
    ("way", "cause"), [("int8", "was quantised: save it as"), ("lora", "has LoRA: load what")]
)
def test_a_model_that_keras_changed_is_not_written_and_says_why(way, cause, tmp_path):
    made, plain = (models.create("compact_cnn", image_size=32) for _ in range(2))
    head = made.body.layers[-1]
    if way == "int8":
        made.quantize(way)
    else:
        head.enable_lora(2)
        head.lora_kernel_b.assign(np.ones(head.lora_kernel_b.shape))
    with pytest.raises(WeightsError, match=rf"no PyTorch counterpart, as .*{cause}.* Received: .*kernel"):
        to_torch_state_dict(made)
    if way == "lora":  # what it advises
        made.save_weights(tmp_path / "made.weights.h5")
        plain.load_weights(tmp_path / "made.weights.h5")
        np.testing.assert_allclose(list(to_torch_state_dict(plain).values())[-2].T, head.kernel, atol=1e-6)


def test_writing_where_one_cannot_is_one_line(victim, tmp_path):
    (tmp_path / "file").touch()
    for name in ("file/weights.pth", "file/weights.safetensors"):
        with pytest.raises(OutputError, match="cannot be written: "):
            save_torch_weights(victim, tmp_path / name)
