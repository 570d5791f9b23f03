"""What people's own files hold beside the weights, and the shapes these come in."""

import argparse
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_fracture import models
from keras_fracture.errors import WeightsError
from keras_fracture.interop.torch import load_torch_weights, to_torch_state_dict
from tests.interop.conftest import tiny, tiny_twin

torch = pytest.importorskip("torch")
from tests.interop.test_bad_weights import Evil  # noqa: E402
from tests.torch_twins import munit, resnet  # noqa: E402

IMAGES = np.random.default_rng(0).random((2, 32, 32, 3), dtype="float32")


def told(twin, images=IMAGES):
    twin.eval()
    with torch.no_grad():
        return twin(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def namespace(state):
    options = argparse.Namespace(lr=0.1, out=pathlib.Path("runs"), device=torch.device("cpu"), sizes=[1, 2])
    return {"model": state, "optimizer": OPTIMIZER, "args": options, "epoch": 3}


def lightning(state):
    best = {"best_model_score": torch.tensor(0.9), "best_k_models": {}}
    return {
        "epoch": 1,
        "state_dict": {f"model.{name}": value for name, value in state.items()},
        "optimizer_states": [OPTIMIZER],
        "callbacks": {"ModelCheckpoint": best},
        "hyper_parameters": {"lr": 0.1},
    }


def numpy_scalars(state):
    return {"net": state, "acc": np.float64(0.9), "best": np.float32(0.8), "seed": np.int64(3)}


def flat(state):
    return {**state, "best_acc": np.float64(0.9), "epoch": 3, "loss": torch.tensor(0.1)}


OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
CHECKPOINTS = {
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": OPTIMIZER, "loss": 0.3},
    "net": lambda state: {"net": state, "acc": 91.2, "epoch": 3},
    "two wrappers": lambda state: {"state_dict": {"model": state}},
    "averaged beside": lambda state: {"model_ema": {k: v * 0 for k, v in state.items()}, "model": state},
    "unknown key": lambda state: {"encoder_weights": state, "step": 3},
    "parallel": lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    "compiled": lambda state: {f"_orig_mod.module.{k}": v for k, v in state.items()},
    "namespace": namespace,
    "lightning": lightning,
    "numpy scalars": numpy_scalars,
    "flat": flat,
}  # fmt: skip


ENDINGS = {"net": ".bin", "lightning": ".ckpt", "parallel": ".pt", "flat": ".pth"}


@pytest.mark.parametrize("form", CHECKPOINTS)
def test_checkpoints_give_the_twins_logits(form, tmp_path):
    twin, model, path = tiny_twin(), tiny(), tmp_path / f"file{ENDINGS.get(form, '.pth.tar')}"
    torch.save(CHECKPOINTS[form](twin.state_dict()), path)
    load_torch_weights(model, path)
    np.testing.assert_allclose(model(IMAGES), told(twin), atol=1e-5)


def test_files_of_numpy_1_are_read(tmp_path):
    """Its scalars are `numpy.core.multiarray.scalar`, a name that is gone from numpy 2."""
    twin, path = tiny_twin(), tmp_path / "file.pth"
    torch.save(numpy_scalars(twin.state_dict()), path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert b"numpy._core.multiarray" in data
    path.write_bytes(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    load_torch_weights(tiny(), path)


def test_several_networks_are_not_chosen_among(victim):
    state = tiny_twin().state_dict()
    with pytest.raises(WeightsError, match=r"several networks; .* Received: gen, dis$"):
        load_torch_weights(victim, {"gen": state, "dis": state})


@pytest.mark.parametrize(
    "hidden",
    [
        lambda: {"state_dict": tiny_twin().state_dict(), "args": argparse.Namespace(run=Evil())},
        lambda: {"state_dict": tiny_twin().state_dict(), "acc": Evil()},
        lambda: {"state_dict": tiny_twin().state_dict(), "callback": subprocess.run},
    ],
)
def test_code_beside_the_weights_is_refused(hidden, victim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(hidden(), tmp_path / "file.pth")
    allowed = set(torch.serialization.get_safe_globals())
    with pytest.raises(WeightsError, match=r"^Holds code or objects.*file.pth$"):
        load_torch_weights(victim, tmp_path / "file.pth")
    assert not (tmp_path / "pwned").exists()
    assert set(torch.serialization.get_safe_globals()) == allowed  # nothing is allowed for good


def test_what_lies_beside_the_network_is_passed_over_where_it_is_clear_which_that_is(caplog):
    victim, model = tiny(), tiny()
    state = {name: value.numpy() for name, value in to_torch_state_dict(victim).items()}
    under = {f"module.net.{name}": value for name, value in state.items()}
    beside = {
        "module.criterion.pos_weight": np.ones(1, "float32"),
        "module.auc.thresholds": np.ones(5, "float32"),
    }
    load_torch_weights(model, under)
    assert not caplog.text
    load_torch_weights(model, {"state_dict": beside | under})
    assert "Received: 2 beside it, the first is module.criterion.pos_weight" in caplog.text
    for one, other in zip(model.weights, victim.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    for more in (
        {f"module.ema.module.{name}": 2 * value for name, value in state.items()},
        {"a" + "." * 5000: np.ones(1)},
    ):
        with pytest.raises(WeightsError):
            load_torch_weights(model, under | more)


@pytest.mark.parametrize("prefix", ["", "other."])
def test_a_head_of_another_class_count_is_left_out(prefix):
    torch.manual_seed(1)
    twin, model = resnet.ResNet((1, 1, 1, 1), False, num_classes=7, width=4), tiny()
    state = {prefix + key.replace("layer", "layer" if not prefix else "stage"): value
             for key, value in twin.state_dict().items()}  # fmt: skip
    head = [np.array(weight) for weight in model.fc.get_weights()]
    with pytest.raises(WeightsError, match=r"fc.weight \(dense, \(2, 32\)\)"):
        load_torch_weights(model, state)
    load_torch_weights(model, state, any_head=True)
    for ours, before in zip(model.fc.get_weights(), head, strict=True):
        np.testing.assert_array_equal(ours, before)
    twin.fc = torch.nn.Identity()
    np.testing.assert_allclose(np.mean(model.features(IMAGES), axis=(1, 2)), told(twin), atol=1e-5)
    # Nothing but the head may differ.
    state[next(iter(state))] = torch.zeros(5, 3, 7, 7)
    with pytest.raises(WeightsError, match=r"conv1.weight"):
        load_torch_weights(model, state, any_head=True)


@pytest.mark.parametrize("renamed", [False, True])
def test_a_network_without_its_top_leaves_the_files_head_out(renamed):
    twin, model = tiny_twin(), tiny(include_top=False)
    state = {
        key.replace("layer", "stage" if renamed else "layer"): value
        for key, value in twin.state_dict().items()
    }
    load_torch_weights(model, state)
    twin.fc = torch.nn.Identity()
    np.testing.assert_allclose(np.mean(model(IMAGES), axis=(1, 2)), told(twin), atol=1e-5)
    extra = dict(state) | {"further.weight": torch.zeros(3), "further.bias": torch.zeros(3)}
    with pytest.raises(WeightsError, match="a parameter the model lacks"):
        load_torch_weights(model, extra)


@pytest.mark.parametrize("tracked", [False, True])  # InstanceNorm of PyTorch before 0.4 kept statistics
def test_units_authors_file_of_both_generators_translates_as_theirs(tracked, tmp_path):
    torch.manual_seed(2)
    twins = {domain: munit.Generator(1, 4, tracked) for domain in "ab"}
    state = {domain: twin.state_dict() for domain, twin in twins.items()}
    assert ("enc.model.0.norm.running_mean" in state["a"]) == tracked
    torch.save(state, tmp_path / "gen_00000000.pt")
    model = models.create("unit", preset="munit", image_size=16, channels=1, width=4)
    load_torch_weights(model, tmp_path / "gen_00000000.pt")
    images = np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 1)).astype("float32")
    for twin in twins.values():
        twin.train()  # as statistics of the sample, whatever was tracked
    for source, target in ("ab", "ba"):
        latents = twins[source].enc(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
        theirs = twins[target].dec(latents).detach().numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(model.translate(images, source, target), theirs, atol=1e-5)
    for domain, back in to_torch_state_dict(model, names="munit").items():
        twin = munit.Generator(1, 4)
        twin.load_state_dict(back)  # strict
        for key, value in twin.state_dict().items():
            assert torch.equal(value, state[domain][key])


def test_the_authors_names_are_of_one_preset():
    model = models.create("unit", image_size=16, channels=1, width=2)
    with pytest.raises(
        WeightsError, match=r"'munit' is not for this model\. Received: UNIT, preset nips2017"
    ):
        to_torch_state_dict(model, names="munit")


def test_weights_are_loaded_alike_under_every_global_policy():
    twin, before = tiny_twin(), keras.config.dtype_policy()
    model = tiny(dtype="float32")
    load_torch_weights(model, twin.state_dict())
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        again = tiny(dtype="float32")
        load_torch_weights(again, twin.state_dict())
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))


def test_interop_is_there_by_attribute():
    code = "import sys, keras_fracture as kf\nassert 'tensorflow' not in sys.modules\n"
    code += "assert kf.interop.torch.load_torch_weights and kf.interop.convert.convert\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
