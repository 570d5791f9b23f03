"""The two networks of `bai_dcgan`."""

import keras
import numpy as np
import pytest

from keras_fracture import models
from keras_fracture.errors import ModelError

NETS = ("dcgan_generator", "dcgan_discriminator")
SMALL = {"image_size": 32, "width": 4, "channels": 1}


def inputs(model, count=4):
    generator = np.random.default_rng(0)
    if hasattr(model, "latent_dim"):
        return generator.standard_normal((count, model.latent_dim)).astype("float32")
    shape = (count, model.image_size, model.image_size, model.channels)
    return generator.uniform(-1, 1, shape).astype("float32")


@pytest.mark.parametrize(("name", "golden"), zip(NETS, (3_576_704, 2_765_568), strict=True))
def test_golden_parameter_count(name, golden):
    model = models.create(name)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == golden


@pytest.mark.parametrize("size", [32, 64, 128])
def test_maps_double_from_four_pixels_to_the_picture_and_back(size):
    generator, discriminator = (models.create(name, image_size=size, width=2) for name in NETS)
    up = [layer.output.shape[1] for layer in generator.main.layers if "conv" in layer.name]
    down = [layer.output.shape[1] for layer in discriminator.main.layers if "conv" in layer.name]
    assert up == [2**power for power in range(2, size.bit_length())]
    assert down == [*up[-2::-1], 1]
    pictures = generator(inputs(generator))
    assert pictures.shape == (4, size, size, 3)
    assert discriminator(pictures).shape == (4, 1)


def test_first_and_last_convolutions_of_the_discriminator_have_no_normalisation():
    kinds = [type(layer).__name__ for layer in models.create("dcgan_discriminator").main.layers]
    assert kinds == [
        "Conv2D", "Activation", *["Conv2D", "FusedBatchNormalization", "Activation"] * 3, "Conv2D",
    ]  # fmt: skip


def test_silu_is_the_papers_and_leaky_relu_can_be_had():
    leaky = models.create("dcgan_discriminator", activation="leaky_relu", **SMALL)
    silu = models.create("dcgan_discriminator", **SMALL)
    silu.set_weights(leaky.get_weights())
    assert silu.activation == "silu"
    assert np.abs(np.asarray(silu(inputs(silu))) - leaky(inputs(silu))).max() > 0
    x = np.array([-2.0, 3.0], "float32")
    np.testing.assert_allclose(leaky.main.layers[1](x), [-0.4, 3.0], rtol=1e-6)
    np.testing.assert_allclose(silu.main.layers[1](x), x / (1 + np.exp(-x)), rtol=1e-5)


def test_initial_weights_are_dcgans():
    keras.utils.set_random_seed(0)
    model = models.create("dcgan_generator")
    kernels = np.concatenate([v.numpy().ravel() for v in model.trainable_variables if v.name == "kernel"])
    gammas = np.concatenate([v.numpy() for v in model.trainable_variables if v.name == "gamma"])
    assert kernels.mean() == pytest.approx(0, abs=1e-4) and kernels.std() == pytest.approx(0.02, rel=0.01)
    assert gammas.mean() == pytest.approx(1, abs=0.005) and gammas.std() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("name", NETS)
def test_config_file_and_weights_round_trips(name, tmp_path):
    model = models.create(name, **SMALL)
    again = type(model).from_config(model.get_config())
    assert again.get_config() | {"name": ""} == model.get_config() | {"name": ""}
    model(inputs(model), training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs(model)), model(inputs(model)))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("dcgan_generator", {"image_size": 48}),
        ("dcgan_generator", {"width": 0}),
        ("dcgan_discriminator", {"activation": "tanh"}),
    ],
)
def test_what_cannot_be_built_is_said(name, wrong):
    with pytest.raises(ModelError, match="Received: "):
        models.create(name, **wrong)


@pytest.mark.parametrize("name", NETS)
def test_agrees_with_the_pytorch_twin_by_name(name):
    torch = pytest.importorskip("torch")
    from keras_fracture.interop.torch import load_torch_weights
    from tests.torch_twins import dcgan

    torch.manual_seed(0)
    twin = (dcgan.Generator if name == "dcgan_generator" else dcgan.Discriminator)(**SMALL)
    for module in twin.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    model = models.create(name, **SMALL)
    load_torch_weights(model, twin.state_dict(), names="dcgan")
    x = inputs(model)
    for training in (False, True):
        twin.train(training)
        ours = np.asarray(model(x, training=training))
        if name == "dcgan_generator":
            theirs = twin(torch.from_numpy(x)).permute(0, 2, 3, 1)
        else:
            theirs = twin(torch.from_numpy(x).permute(0, 3, 1, 2))
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4, atol=1e-5)
