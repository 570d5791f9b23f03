"""The networks of `ibrahim_gan`, layer by layer as the poster prints them."""

import keras
import numpy as np
import pytest

from keras_fracture import models
from keras_fracture.errors import ModelError

POSTER = {
    "dense_gan_generator": (
        [(8192,), (8, 8, 128), (16, 16, 128), (16, 16, 128), (32, 32, 256), (32, 32, 256), (64, 64, 512),
         (64, 64, 512), (64, 64, 3)],
        [1_056_768, 0, 262_272, 0, 524_544, 0, 2_097_664, 0, 38_403],
    ),
    "dense_gan_discriminator": (
        [(32, 32, 64), (32, 32, 64), (16, 16, 128), (16, 16, 128), (8, 8, 128), (8, 8, 128), (8192,), (8192,), (1,)],
        [3_136, 0, 131_200, 0, 262_272, 0, 0, 0, 8_193],
    ),
    "compact_cnn": (
        [(21, 21, 32), (21, 21, 32), (7, 7, 16), (2, 2, 16), (2, 2, 16), (2, 2, 16), (64,), (128,), (128,), (1,)],
        [320, 128, 4_624, 0, 64, 0, 0, 8_320, 0, 129],
    ),
}  # fmt: skip
TOTALS = {
    "dense_gan_generator": (3_979_651, 3_979_651),
    "dense_gan_discriminator": (404_801, 404_801),
    "compact_cnn": (13_585, 13_489),
}
SMALL = {
    "dense_gan_generator": {"width": 1 / 32, "image_size": 32, "channels": 1, "output_activation": "sigmoid"},
    "dense_gan_discriminator": {"width": 1 / 16, "image_size": 32, "channels": 1, "dropout": 0.1},
    "compact_cnn": {"num_classes": 3, "image_size": 32, "channels": 3, "dropout": (0.1, 0.2)},
}


def inputs(model, count=4):
    shape = (
        (model.latent_dim,)
        if hasattr(model, "latent_dim")
        else (model.image_size, model.image_size, model.channels)
    )
    return np.random.default_rng(0).random((count, *shape)).astype("float32")


@pytest.mark.parametrize("name", POSTER)
def test_every_layer_has_the_posters_shape_and_count(name):
    model = models.create(name)
    shapes, counts = POSTER[name]
    assert [layer.output.shape[1:] for layer in model.body.layers] == shapes
    assert [layer.count_params() for layer in model.body.layers] == counts
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert (model.count_params(), trainable) == TOTALS[name]


@pytest.mark.parametrize("name", SMALL)
def test_config_and_file_round_trips(name, tmp_path):
    model = models.create(name, **SMALL[name])
    again = type(model).from_config(model.get_config())
    assert again.get_config() | {"name": ""} == model.get_config() | {"name": ""}
    assert {key: model.get_config()[key] for key in SMALL[name]} == SMALL[name]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs(model)), model(inputs(model)))


@pytest.mark.parametrize(("activation", "low", "high"), [("tanh", -1, 1), ("sigmoid", 0, 1)])
def test_generated_images_lie_in_the_range_the_generator_names(activation, low, high):
    model = models.create("dense_gan_generator", width=1 / 32, image_size=32, output_activation=activation)
    for layer in model.body.layers:
        layer.set_weights([weight * 30 for weight in layer.get_weights()])  # saturate
    images = np.asarray(model(inputs(model)))
    assert model.pixel_range == (low, high)
    assert images.min() >= low and images.max() <= high and np.ptp(images) > 0.5 * (high - low)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("dense_gan_generator", {"image_size": 30}),
        ("dense_gan_generator", {"width": 0}),
        ("dense_gan_generator", {"output_activation": "relu"}),
        ("dense_gan_discriminator", {"width": -1}),
        ("dense_gan_discriminator", {"dropout": 1.0}),
        ("compact_cnn", {"dropout": (0.3,)}),
        ("compact_cnn", {"dropout": (0.1, 0.2, 0.9)}),
        ("compact_cnn", {"dropout": (0.1, 1.0)}),
        ("compact_cnn", {"dropout": 0.3}),
        ("compact_cnn", {"colour": "blue"}),
        ("resnet1001", {}),
    ],
)
def test_what_cannot_be_built_is_said_with_what_was_received(name, wrong):
    with pytest.raises(ModelError, match="Received: "):
        models.create(name, **wrong)
