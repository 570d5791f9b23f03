import copy
import pickle
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.errors import OutputError, WeightsError
from keras_fracture.interop.layout import parameters_of
from keras_fracture.interop.torch import load_torch_weights, save_torch_weights, to_torch_state_dict

torch = pytest.importorskip("torch")
from tests.torch_twins.compact_cnn import compact_cnn  # noqa: E402
from tests.torch_twins.dense_gan import dense_discriminator, dense_generator  # noqa: E402
from tests.torch_twins.drn import DRN  # noqa: E402
from tests.torch_twins.inception import inception_net  # noqa: E402
from tests.torch_twins.resnet import ResNet  # noqa: E402

BASIC, BOTTLENECK, LEVELS = (2, 2, 2, 2), (3, 4, 6, 3), (1, 1, 2, 2, 2, 2, 1, 1)
NARROW = (4, 6, 8, 8, 12, 16, 16, 16)
DILATED = {"strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)}

# name: twin, its arguments, the model's arguments; both at the width of the paper
FULL = {
    "compact_cnn": (compact_cnn, {"num_classes": 2}, {"dropout": (0.0, 0.0)}),
    "resnet18": (ResNet, {"depths": BASIC, "bottleneck": False}, {}),
    "resnet50": (ResNet, {"depths": BOTTLENECK, "bottleneck": True}, {}),
    "inception_net": (inception_net, {}, {"dropout": 0.0}),
    "drn_a_50": (ResNet, {"depths": BOTTLENECK, "bottleneck": True, **DILATED}, {}),
    "drn_c_26": (DRN, {"arch": "C", "depths": LEVELS, "bottleneck": False}, {}),
    "drn_d_22": (DRN, {"arch": "D", "depths": LEVELS, "bottleneck": False}, {}),
}
SLOW_STEPS = {"resnet50", "drn_a_50", "drn_c_26", "drn_d_22"}  # in float32 and at full width
FAST_DOUBLES = {"compact_cnn", "resnet50", "drn_c_26", "drn_d_22"}
NARROWED = {
    "resnet18": {"width": 8},
    "inception_net": {"stem_width": 8, "stages": ((4, False), (8, True), (8, False), (12, True))},
    "resnet50": {"width": 8, "depths": (1, 2, 2, 1)},
    "drn_a_50": {"width": 8, "depths": (1, 1, 2, 2)},
    "drn_c_26": {"widths": NARROW, "depths": (1, 1, 1, 1, 2, 1, 1, 1)},
    "drn_d_22": {"widths": NARROW, "depths": (1, 1, 1, 1, 1, 2, 1, 1)},
}


class Pair:
    """A twin with lively weights and statistics, and the Keras model that took them over."""

    def __init__(self, name, dtype="float32", **width):
        make, twin_arguments, arguments = FULL[name]
        torch.manual_seed(3)
        rng = np.random.default_rng(3)
        self.twin = make(**(twin_arguments | width))
        channels = 1 if name == "compact_cnn" else 3
        size = 32 if name.startswith("drn") else 64
        self.images = rng.random((4, size, size, channels)).astype(dtype)
        self.labels = np.array([0, 1, 1, 0])
        self.twin_images = torch.from_numpy(self.images.transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            for module in self.twin.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(0, 0.1)
            self.twin(self.twin_images.float())
        self.model = models.create(name, num_classes=2, image_size=size, **arguments, **width)
        load_torch_weights(self.model, self.twin.state_dict())
        self.twin.to(getattr(torch, dtype))

    def infer(self):
        self.twin.eval()
        with torch.no_grad():
            return self.model(self.images, training=False).numpy(), self.twin(self.twin_images).numpy()

    def step(self, rate):
        """One step of SGD on both sides; returns both losses."""
        twin_loss = twin_step(self.twin, self.twin_images, self.labels, rate)
        with tf.GradientTape() as tape:
            logits = self.model(self.images, training=True)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(self.labels, logits)
        weights = self.model.trainable_variables
        keras.optimizers.SGD(rate).apply(tape.gradient(loss, weights), weights)
        return float(loss), twin_loss

    def compared(self, statistics):
        """The largest relative difference in any one weight tensor, or in any moving statistic."""
        theirs = tensors(self.twin, statistics)
        ours = {parameter.name: parameter.to_torch() for parameter in parameters_of(self.model)}
        ours = [value for name, value in ours.items() if ("running" in name) == statistics]
        return max(map(relative, ours, theirs))

    def weights(self):
        """The model's trainable weights as one vector, in PyTorch's layout."""
        named = {parameter.name: parameter.to_torch() for parameter in parameters_of(self.model)}
        return np.concatenate([value.ravel() for name, value in named.items() if "running" not in name])


def twin_step(twin, images, labels, rate):
    twin.train()
    optimizer = torch.optim.SGD(twin.parameters(), rate)
    loss = torch.nn.functional.cross_entropy(twin(images), torch.from_numpy(labels))
    loss.backward()
    optimizer.step()
    return loss.item()


def tensors(twin, statistics=False):
    state = {k: v.numpy() for k, v in twin.state_dict().items() if not k.endswith("num_batches_tracked")}
    return [value for name, value in state.items() if ("running" in name) == statistics]


def distance(ours, theirs):
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def relative(ours, theirs):
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-3))


@pytest.fixture(scope="module", params=FULL)
def pair(request):
    made = Pair(request.param)
    made.name = request.param
    yield made
    keras.backend.clear_session()


def test_inference_agrees(pair):
    error = relative(*pair.infer())
    print(f"{pair.name}: inference {error:.1e}")
    assert error < 1e-5


@pytest.mark.parametrize(
    "pair",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW_STEPS else ()) for name in FULL],
    indirect=True,
    scope="module",
)
def test_float32_training_step_agrees(pair):
    """Weights agree to 1e-4, or as well as PyTorch in float32 agrees with itself in float64.

    Behind many BatchNormalizations over few values a channel, rounding flips a ReLU here and there and moves
    single gradients by percents, whatever the framework.
    """
    exact = copy.deepcopy(pair.twin).double()
    loss, twin_loss = pair.step(0.01)
    ours, theirs = pair.weights(), np.concatenate([t.ravel() for t in tensors(pair.twin)])
    error, statistics = distance(ours, theirs), pair.compared(statistics=True)
    numbers = abs(loss / twin_loss - 1), statistics, error, pair.compared(statistics=False)
    print(f"{pair.name}: loss, statistics, weights, worst weight:", *(f"{n:.1e}" for n in numbers))
    assert loss == pytest.approx(twin_loss, rel=5e-5)
    assert statistics < 1e-4
    if error > 1e-4:
        twin_step(exact, pair.twin_images.double(), pair.labels, 0.01)
        truth = np.concatenate([t.ravel() for t in tensors(exact)])
        errors = distance(ours, truth), distance(theirs, truth)
        print(f"{pair.name}: weights to float64, twin to float64:", *(f"{n:.1e}" for n in errors))
        assert errors[0] < 3 * errors[1]


@pytest.mark.parametrize(
    "name", [name if name in FAST_DOUBLES else pytest.param(name, marks=pytest.mark.slow) for name in FULL]
)
def test_float64_training_step_agrees(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        pair = Pair(name, "float64", **NARROWED.get(name, {}))
        loss, twin_loss = pair.step(0.1)
        after = pair.infer()
    finally:
        keras.config.set_dtype_policy(before)
    numbers = abs(loss / twin_loss - 1), pair.compared(False), pair.compared(True), relative(*after)
    print(f"{name}: float64 loss, weights, statistics, after:", *(f"{n:.1e}" for n in numbers))
    assert loss == pytest.approx(twin_loss, rel=1e-6)
    assert pair.compared(statistics=False) < 1e-6
    assert pair.compared(statistics=True) < 1e-6
    assert relative(*after) < 1e-5


@pytest.mark.parametrize(
    ("name", "make"),
    [("dense_gan_generator", dense_generator), ("dense_gan_discriminator", dense_discriminator)],
)
def test_dense_gan_agrees(name, make):
    torch.manual_seed(0)
    twin, model = make(width=0.25), models.create(name, width=0.25)
    load_torch_weights(model, twin.state_dict())
    shape = (2, 128) if name == "dense_gan_generator" else (2, 64, 64, 3)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    theirs = twin(torch.from_numpy(np.moveaxis(x, -1, 1).copy() if x.ndim == 4 else x)).detach().numpy()
    ours = model(x).numpy()
    assert relative(np.moveaxis(ours, -1, 1) if ours.ndim == 4 else ours, theirs) < 1e-5
    other = make(width=0.25)  # and back
    other.load_state_dict(dict(zip(other.state_dict(), to_torch_state_dict(model).values(), strict=True)))
    for key, value in twin.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def tiny(**arguments):
    return models.create("resnet18", width=4, depths=(1, 1, 1, 1), image_size=32, num_classes=2, **arguments)


def tiny_twin(seed=0):
    torch.manual_seed(seed)
    return ResNet((1, 1, 1, 1), False, width=4)


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


def test_resnet_names_are_torchvisions():
    twin, state = tiny_twin(), to_torch_state_dict(tiny(), names="torchvision_resnet")
    assert list(state) == list(twin.state_dict())
    assert {"layer2.0.downsample.0.weight", "layer1.0.bn2.running_var", "fc.bias"} <= set(state)
    twin.load_state_dict(state)  # strict
    assert int(twin.state_dict()["bn1.num_batches_tracked"]) == 0


@pytest.mark.parametrize("arch", ["C", "D"])
@pytest.mark.parametrize("bottleneck", [False, True])
def test_drn_names_are_the_authors(arch, bottleneck):
    depths = (1, 1, 1, 2, 1, 1, 2, 1)
    twin = DRN(arch, depths, bottleneck, widths=NARROW)
    block = "bottleneck" if bottleneck else "basic"
    model = models.DRN(arch, block, depths, num_classes=2, widths=NARROW, image_size=32)
    shuffled = dict(sorted(twin.state_dict().items()))
    load_torch_weights(model, shuffled, names="drn")
    state = to_torch_state_dict(model, names="drn")
    assert list(state) == list(twin.state_dict())
    for key, value in twin.state_dict().items():
        assert torch.equal(state[key], value)


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

    renamed = {f"net.{k}": v.numpy() for k, v in tiny_twin().state_dict().items()}
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


@pytest.fixture(scope="module")
def victim():
    return tiny()


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


def test_name_maps_are_checked(victim):
    with pytest.raises(WeightsError, match="must be a dict or one of"):
        load_torch_weights(victim, {}, names="torchvision")
    with pytest.raises(WeightsError, match="not for this model"):
        load_torch_weights(models.create("compact_cnn"), {}, names="drn")


def test_a_weight_without_counterpart_is_named():
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.SimpleRNN(2)])
    with pytest.raises(WeightsError, match="no PyTorch counterpart"):
        to_torch_state_dict(model)


def test_writing_where_one_cannot_is_one_line(victim, tmp_path):
    for name in ("none/weights.pth", "none/weights.safetensors"):
        with pytest.raises(OutputError, match="Received: "):
            save_torch_weights(victim, tmp_path / name)


def test_depthwise_transposed_and_grouped_kernels():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
            keras.layers.Conv2D(4, 3, groups=2, padding="same"),
            keras.layers.Conv2DTranspose(5, 4, strides=2, padding="same"),
        ]
    )
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, groups=3, padding=1),
        torch.nn.Conv2d(6, 4, 3, groups=2, padding=1),
        torch.nn.ConvTranspose2d(4, 5, 4, stride=2, padding=1),
    )
    load_torch_weights(model, twin.state_dict())
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
    theirs = twin(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
    assert relative(model(x).numpy().transpose(0, 3, 1, 2), theirs) < 1e-5
