"""The two networks of `bai_dcgan`."""

import keras
import numpy as np
import pytest

from keras_fracture import models
from keras_fracture.errors import ModelError

NETS = ("dcgan_generator", "dcgan_discriminator")
SMALL = {"image_size": 32, "width": 4, "channels": 1}
LABELS = np.array([0, 2, 1, 2])


def inputs(model, count=4):
    generator = np.random.default_rng(0)
    if hasattr(model, "latent_dim"):
        return generator.standard_normal((count, model.latent_dim)).astype("float32")
    shape = (count, model.image_size, model.image_size, model.channels)
    return generator.uniform(-1, 1, shape).astype("float32")


def both_inputs(model):
    """Noise or images, and labels where the model has classes."""
    return (inputs(model), LABELS) if model.num_classes else (inputs(model),)


@pytest.mark.parametrize(
    ("name", "options", "golden"),
    [
        ("dcgan_generator", {}, 3_576_704),
        ("dcgan_discriminator", {}, 2_765_568),
        ("dcgan_generator", {"num_classes": 2}, 3_576_704 + 2 * 4 * 4 * 512),
        ("dcgan_discriminator", {"num_classes": 2}, 2_765_568 + 2 * 4 * 4 * 512),
        ("dcgan_discriminator", {"spectral_norm": True}, 2_765_568),
        ("dcgan_discriminator", {"dropout": 0.3}, 2_765_568),
        ("dcgan_generator", {"channels": 1, "num_classes": 3}, 3_576_704 - 2 * 4 * 4 * 64 + 3 * 4 * 4 * 512),
    ],
)
def test_golden_parameter_count(name, options, golden):
    model = models.create(name, **options)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == golden


def test_spectral_norm_adds_one_vector_a_convolution_and_nothing_else():
    plain, normed = (models.create("dcgan_discriminator", spectral_norm=on, **SMALL) for on in (False, True))
    names = [weight.name for weight in normed.weights]
    assert [name for name in names if name != "singular"] == [weight.name for weight in plain.weights]
    vectors = [tuple(weight.shape) for weight in normed.weights if weight.name == "singular"]
    assert vectors == [(4,), (8,), (16,), (1,)]


def test_layers_and_weights_are_named_in_their_order():
    model = models.create("dcgan_generator", **SMALL)
    assert [layer.name for layer in model.main.layers] == [
        "conv1", "bn1", "relu1", "conv2", "bn2", "relu2", "conv3", "bn3", "relu3", "conv4", "tanh",
    ]  # fmt: skip
    assert [weight.name for weight in model.weights[:5]] == [
        "kernel", "gamma", "beta", "moving_mean", "moving_variance",
    ]  # fmt: skip
    discriminator = models.create("dcgan_discriminator", **SMALL)
    assert [layer.name for layer in discriminator.main.layers] == [
        "conv1", "silu1", "conv2", "bn2", "silu2", "conv3", "bn3", "silu3", "conv4",
    ]  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
def test_the_label_adds_its_own_number_to_the_logit(training):
    """With the kernels of the classes at zero a conditional discriminator is the unconditional one."""
    plain = models.create("dcgan_discriminator", **SMALL)
    model = models.create("dcgan_discriminator", num_classes=3, **SMALL)
    last = np.random.default_rng(1).normal(0, 0.1, (4, 4, 16, 4)).astype("float32")
    model.set_weights([*plain.get_weights()[:-1], last])
    x = inputs(model)
    numbers = []
    for number in range(4):
        plain.main.layers[-1].kernel.assign(last[..., number : number + 1])
        numbers.append(np.asarray(plain(x, training=training))[:, 0])
    expected = numbers[0] + np.choose(LABELS, numbers[1:])
    logits = model(x, LABELS, training=training)
    assert logits.shape == (4, 1) and logits.dtype == "float32"
    np.testing.assert_allclose(np.asarray(logits)[:, 0], expected, atol=1e-5)


def test_the_label_alone_changes_the_image_and_is_joined_behind_the_noise():
    model = models.create("dcgan_generator", num_classes=3, **SMALL)
    x = np.repeat(inputs(model)[:1], 3, axis=0)
    made = np.asarray(model(x, np.arange(3)))
    assert all(
        np.abs(made[one] - made[other]).max() > 0.05 * np.abs(made).max()
        for one, other in ((0, 1), (0, 2), (1, 2))
    )
    joined = np.concatenate([x, np.eye(3, dtype="float32")], axis=1)
    np.testing.assert_allclose(made, model.main(joined[:, None, None, :]), atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_missing_and_superfluous_labels_are_one_line_each(name):
    plain, classed = models.create(name, **SMALL), models.create(name, num_classes=3, **SMALL)
    for call, message in (
        (lambda: plain(inputs(plain), LABELS), r"^This network has no classes: .* Received: labels$"),
        (lambda: classed(inputs(classed)), r"^This network needs labels from 0 to 2. Received: None$"),
        (lambda: classed(inputs(classed), LABELS[:, None]), r"^labels must have the shape \(batch,\). Rec"),
        (
            lambda: classed(inputs(classed), np.array([0, 3, -1, 2])),
            r"^labels must be .* 0 to 2. Received: 3, -1$",
        ),
        (lambda: classed(inputs(classed), np.float32([1, 0.5, 2, 0])), r"^labels must be .* Received: 0.5$"),
    ):
        with pytest.raises(ModelError, match=message):
            call()


@pytest.mark.parametrize("name", NETS)
def test_labels_are_taken_as_a_list_as_whole_floats_and_beside_what_predict_takes(name):
    model = models.create(name, num_classes=3, **SMALL)
    given, wanted = inputs(model), np.asarray(model(*both_inputs(model)))
    for labels in (LABELS.tolist(), LABELS.astype("float32")):
        np.testing.assert_array_equal(model(given, labels=labels), wanted)
    np.testing.assert_array_equal(model([given, LABELS]), wanted)
    np.testing.assert_allclose(model.predict([given, LABELS], verbose=0), wanted, atol=1e-5)
    for twice, more in (([given, LABELS], {"labels": LABELS}), ([given], {})):
        with pytest.raises(ModelError, match=r"Give labels once.* Received: (both|a list of 1)"):
            model(twice, **more)
    symbolic = model(keras.Input(given.shape[1:]), keras.Input((), dtype="int32"))
    assert symbolic.shape == (None, *wanted.shape[1:])


@pytest.mark.parametrize("size", [32, 64, 128])
def test_maps_double_from_four_pixels_to_the_image_and_back(size):
    generator, discriminator = (models.create(name, image_size=size, width=2) for name in NETS)
    up = [layer.output.shape[1] for layer in generator.main.layers if "conv" in layer.name]
    down = [layer.output.shape[1] for layer in discriminator.main.layers if "conv" in layer.name]
    assert up == [2**power for power in range(2, size.bit_length())]
    assert down == [*up[-2::-1], 1]
    images = generator(inputs(generator))
    assert images.shape == (4, size, size, 3)
    assert discriminator(images).shape == (4, 1)


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


def test_dropout_leaves_out_the_given_share_of_every_map_in_training_only():
    plain, dropping = (models.create("dcgan_discriminator", dropout=rate, **SMALL) for rate in (0.0, 0.3))
    dropping.set_weights(plain.get_weights())
    np.testing.assert_array_equal(dropping(inputs(plain)), plain(inputs(plain)))
    rates = []
    x = inputs(plain, count=64)
    for layer in dropping.main.layers:
        before, x = x, layer(x, training=True)
        if layer.name.startswith("dropout"):
            rates.append(1 - np.count_nonzero(x) / np.count_nonzero(before))
    assert len(rates) == 3 and rates == pytest.approx([0.3] * 3, abs=0.02)


def test_initial_weights_are_dcgans():
    keras.utils.set_random_seed(0)
    model = models.create("dcgan_generator")
    kernels = np.concatenate([v.numpy().ravel() for v in model.trainable_variables if v.name == "kernel"])
    gammas = np.concatenate([v.numpy() for v in model.trainable_variables if v.name == "gamma"])
    assert kernels.mean() == pytest.approx(0, abs=1e-4) and kernels.std() == pytest.approx(0.02, rel=0.01)
    assert gammas.mean() == pytest.approx(1, abs=0.005) and gammas.std() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dcgan_generator", {}),
        ("dcgan_generator", {"num_classes": 3}),
        ("dcgan_discriminator", {}),
        ("dcgan_discriminator", {"num_classes": 3, "spectral_norm": True, "activation": "leaky_relu"}),
        ("dcgan_discriminator", {"dropout": 0.3}),
    ],
)
def test_config_file_and_weights_round_trips(name, options, tmp_path):
    model = models.create(name, **SMALL, **options)
    again = type(model).from_config(model.get_config())
    assert again.get_config() | {"name": ""} == model.get_config() | {"name": ""}
    assert model.get_config() | options == model.get_config()
    model(*both_inputs(model), training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(*both_inputs(model)), model(*both_inputs(model)))
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(again(*both_inputs(model)), model(*both_inputs(model)))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("dcgan_generator", {"image_size": 48}),
        ("dcgan_generator", {"width": 0}),
        ("dcgan_generator", {"num_classes": 1}),
        ("dcgan_discriminator", {"activation": "tanh"}),
        ("dcgan_discriminator", {"num_classes": 0}),
        ("dcgan_discriminator", {"dropout": 1.0}),
        ("dcgan_discriminator", {"dropout": -0.1}),
    ],
)
def test_what_cannot_be_built_is_said(name, wrong):
    with pytest.raises(ModelError, match="Received: "):
        models.create(name, **wrong)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("classes", [{}, {"num_classes": 3}])
def test_agrees_with_the_pytorch_twin_by_name_there_and_back(name, classes):
    torch = pytest.importorskip("torch")
    from keras_fracture.interop.torch import load_torch_weights, to_torch_state_dict
    from tests.torch_twins import dcgan

    torch.manual_seed(0)
    make = dcgan.Generator if name == "dcgan_generator" else dcgan.Discriminator
    twin = make(**SMALL, **classes)
    for module in twin.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    model = models.create(name, **SMALL, **classes)
    load_torch_weights(model, twin.state_dict(), names="dcgan")
    back = make(**SMALL, **classes)
    back.load_state_dict(to_torch_state_dict(model, names="dcgan"))
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), back.parameters(), strict=True))
    x, *labels = both_inputs(model)
    for training in (False, True):
        twin.train(training)
        ours = np.asarray(model(x, *labels, training=training))
        channels_first = torch.from_numpy(x if x.ndim == 2 else x.transpose(0, 3, 1, 2).copy())
        theirs = twin(channels_first, *map(torch.from_numpy, labels)).detach()
        theirs = theirs.permute(0, 2, 3, 1) if theirs.ndim == 4 else theirs
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)
