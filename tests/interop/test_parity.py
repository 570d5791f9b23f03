import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.interop.layout import parameters_of
from keras_fracture.interop.torch import load_torch_weights, to_torch_state_dict
from tests.interop.conftest import NARROW

torch = pytest.importorskip("torch")
from tests.torch_twins.compact_cnn import compact_cnn  # noqa: E402
from tests.torch_twins.dense_gan import dense_discriminator, dense_generator  # noqa: E402
from tests.torch_twins.drn import DRN  # noqa: E402
from tests.torch_twins.efficientnet_lite import EfficientNetLite  # noqa: E402
from tests.torch_twins.inception import inception_net  # noqa: E402
from tests.torch_twins.resnet import ResNet  # noqa: E402

BASIC, BOTTLENECK, LEVELS = (2, 2, 2, 2), (3, 4, 6, 3), (1, 1, 2, 2, 2, 2, 1, 1)
DILATED = {"strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)}

# name: twin, its arguments, the model's arguments; both at the width of the paper
FULL = {
    "compact_cnn": (compact_cnn, {"num_classes": 2}, {"dropout": (0.0, 0.0)}),
    "resnet18": (ResNet, {"depths": BASIC, "bottleneck": False}, {}),
    "resnet50": (ResNet, {"depths": BOTTLENECK, "bottleneck": True}, {}),
    "inception_net": (inception_net, {}, {"dropout": 0.0}),
    "efficientnet_lite0": (EfficientNetLite, {}, {"dropout": 0.0}),
    "drn_a_50": (ResNet, {"depths": BOTTLENECK, "bottleneck": True, **DILATED}, {}),
    "drn_c_26": (DRN, {"arch": "C", "depths": LEVELS, "bottleneck": False}, {}),
    "drn_d_22": (DRN, {"arch": "D", "depths": LEVELS, "bottleneck": False}, {}),
}
SLOW_STEPS = {"resnet50", "drn_a_50", "drn_c_26", "drn_d_22"}  # in float32 and at full width
FAST_DOUBLES = {"compact_cnn", "resnet50", "drn_c_26", "drn_d_22"}
NARROWED = {
    "resnet18": {"width": 8},
    "inception_net": {"stem_width": 8, "stages": ((4, False), (8, True), (8, False), (12, True))},
    "efficientnet_lite0": {
        "stem_width": 8,
        "head_width": 24,
        "stages": ((3, 1, 1, 8, 1), (5, 2, 3, 12, 2), (3, 2, 6, 16, 2)),
    },
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
