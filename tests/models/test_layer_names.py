"""Layers are named as in the papers or their authors' code, whatever else a process has built before."""

import contextlib
import io

import h5py
import keras
import pytest

from keras_fracture import models
from keras_fracture.interop.layout import parameters_of

SMALL = {
    "compact_cnn": {"image_size": 32},
    "resnet18": {"image_size": 32, "width": 2},
    "resnet50": {"image_size": 32, "width": 2},
    "drn_a_50": {"image_size": 32, "width": 2},
    "drn_c_26": {"image_size": 32, "widths": (2,) * 8},
    "drn_d_22": {"image_size": 32, "widths": (2,) * 8},
    "drn_d_56": {"image_size": 32, "widths": (2,) * 8},
    "efficientnet_lite0": {
        "image_size": 32,
        "stem_width": 4,
        "head_width": 8,
        "stages": ((3, 1, 1, 4, 1), (5, 2, 2, 8, 2)),
    },
    "inception_net": {"image_size": 32, "stem_width": 2, "stages": ((2, True), (4, False))},
    "dcgan_generator": {"image_size": 32, "width": 2},
    "dcgan_discriminator": {"image_size": 32, "width": 2},
    "dense_gan_generator": {"image_size": 32, "width": 0.0625},
    "dense_gan_discriminator": {"image_size": 32, "width": 0.0625},
    "unit": {"image_size": 16, "width": 2},
    "unit_discriminator": {"image_size": 16, "width": 2},
}


def layer_names(layer, path=""):
    """Paths of all layers within one, but for the inputs of `Sequential`s."""
    for child in layer._flatten_layers(include_self=False, recursive=False):
        if not isinstance(child, keras.layers.InputLayer | keras.src.models.functional.Functional):
            yield f"{path}/{child.name}"
            yield from layer_names(child, f"{path}/{child.name}")


@pytest.mark.parametrize("name", SMALL)
def test_names_do_not_depend_on_what_was_built_before(name):
    first, second = (models.create(name, **SMALL[name]) for _ in range(2))
    assert first.name == second.name == name
    assert list(layer_names(first)) == list(layer_names(second))
    assert [weight.path for weight in first.weights] == [weight.path for weight in second.weights]
    assert models.create(name, **SMALL[name], name="mine").name == "mine"


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "drn_a_50", "drn_c_26", "drn_d_22", "drn_d_56"])
def test_a_weights_path_is_its_name_in_the_authors_code(name):
    model = models.create(name, **SMALL[name])
    for parameter in parameters_of(model):
        layer, _, _ = parameter.name.rpartition(".")
        assert parameter.variable.path.rpartition("/")[0] == f"{name}/{layer.replace('.', '/')}"


def test_the_summary_reads_as_the_paper():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        models.create("drn_d_22", **SMALL["drn_d_22"]).summary()
    rows = [line.split()[1] for line in printed.getvalue().splitlines() if line.startswith("│")]
    assert [row for row in rows if not row.startswith("(")] == [
        *(f"layer{level}" for level in range(9)),
        "avgpool",
        "fc",
    ]
    body = models.create("compact_cnn", **SMALL["compact_cnn"]).body
    assert [layer.name for layer in body.layers] == [
        "conv1", "bn1", "conv2", "maxpool", "bn2", "dropout1", "flatten", "fc1", "dropout2", "fc2",
    ]  # fmt: skip
    body = models.create("inception_net", **SMALL["inception_net"]).body
    assert [layer.name for layer in body.layers] == [
        "stem", "stem_maxpool", "stem_dropout", "inception1", "maxpool1", "inception2", "avgpool", "dropout", "fc",
    ]  # fmt: skip


def test_a_model_that_was_saved_under_another_name_keeps_it(tmp_path):
    model = models.create("resnet18", **SMALL["resnet18"], name="res_net_3")  # as Keras named it before
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").name == "res_net_3"


def test_files_of_weights_do_not_depend_on_the_names(tmp_path):
    """Their paths are attributes and classes: what was written before layers had names of their own still loads."""
    models.create("compact_cnn", **SMALL["compact_cnn"]).save_weights(tmp_path / "model.weights.h5")
    paths = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        file.visititems(lambda path, item: paths.append(path) if isinstance(item, h5py.Dataset) else None)
    layers = {"conv2d": 2, "conv2d_1": 2, "dense": 2, "dense_1": 2}
    layers |= {"fused_batch_normalization": 4, "fused_batch_normalization_1": 4}
    expected = [f"body/layers/{name}/vars/{n}" for name, count in layers.items() for n in range(count)]
    assert [path for path in paths if "seed_generator" not in path] == sorted(expected)
