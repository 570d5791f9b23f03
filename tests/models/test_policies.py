"""What a model was saved in is what it computes in, whatever the global dtype policy is by then."""

import keras
import numpy as np
import pytest

from keras_fracture import models, serving, training
from keras_fracture.models import registry
from keras_fracture.training.weights import load_keras
from tests.models.test_classifiers import SMALL

_RESNET, _DRN = SMALL["resnet18"], SMALL["drn_c_26"]
_SMALL_UNIT = {"image_size": 16, "channels": 1, "width": 2}
TINY = {
    "compact_cnn": SMALL["compact_cnn"],
    "inception_net": SMALL["inception_net"],
    "efficientnet_lite0": SMALL["efficientnet_lite0"],
    "dcgan_generator": {"image_size": 32, "channels": 1, "width": 1, "num_classes": 2},
    "dcgan_discriminator": {"image_size": 32, "channels": 1, "width": 1, "spectral_norm": True},
    "dense_gan_generator": {"image_size": 16, "channels": 1, "width": 1 / 16},
    "dense_gan_discriminator": {"image_size": 16, "channels": 1, "width": 1 / 16},
    "unit": _SMALL_UNIT,
    "unit_discriminator": _SMALL_UNIT,
}
# Names that differ in their depths alone are one model at this size.
DISTINCT = {
    (builder.func, str({key: value for key, value in builder.keywords.items() if key != "depths"})): name
    for name, builder in registry._BUILDERS.items()
}
OTHER = {"float32": "mixed_bfloat16", "mixed_bfloat16": "float32"}


def tiny(name, **arguments):
    small = {"efficientnet_lite": TINY["efficientnet_lite0"], "drn_c": _DRN, "drn_d": _DRN, "": _RESNET}
    chosen = TINY.get(name) or next(small[start] for start in small if name.startswith(start))
    return models.create(name, **chosen, **arguments)


def outputs_of(model):
    rng = np.random.default_rng(0)
    if hasattr(model, "latent_dim"):
        given = [rng.normal(size=(2, model.latent_dim)).astype("float32")]
        given += [np.array([0, 1])] if getattr(model, "num_classes", None) else []
    else:
        given = [rng.random((2, model.image_size, model.image_size, model.channels), dtype="float32")]
    outputs = model(*given, training=False)
    return [np.asarray(each) for each in (outputs if isinstance(outputs, list) else [outputs])]


@pytest.fixture
def under():
    """A function that makes a dtype policy the global one, for the time of the test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def same(ours, theirs):
    for one, other in zip(outputs_of(ours), outputs_of(theirs), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("policy", OTHER)
@pytest.mark.parametrize("name", DISTINCT.values())
def test_a_configuration_computes_the_same_under_every_global_policy(name, policy, under):
    model = tiny(name, dtype=policy)
    under(OTHER[policy])
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    same(again, model)
    assert keras.config.dtype_policy().name == OTHER[policy]
    kinds = {layer.compute_dtype for layer in again._flatten_layers() if layer.weights}
    assert kinds <= ({"float32"} if policy == "float32" else {"float32", "bfloat16"})
    assert policy == "float32" or "bfloat16" in kinds


@pytest.mark.parametrize("policy", OTHER)
def test_files_compute_the_same_under_every_global_policy(policy, under, tmp_path):
    model = tiny("resnet18", dtype=policy)
    model.save(tmp_path / "model.keras")
    under(OTHER[policy])
    same(load_keras(tmp_path / "model.keras"), model)


def test_saved_models_load_in_float32_under_every_global_policy(under, tmp_path):
    model = tiny("resnet18")
    serving.export(model, tmp_path / "model")
    under("mixed_bfloat16")
    same(models.load(tmp_path / "model"), model)


def test_training_models_keep_the_policy_they_were_made_with(under):
    classifier = tiny("resnet18")
    both = training.WithBodyPart(classifier, 3)
    under("mixed_bfloat16")
    again = training.WithBodyPart.from_config(both.get_config())
    again.set_weights(both.get_weights())
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype="float32")
    for name, logits in both(images).items():
        np.testing.assert_array_equal(again(images)[name], logits)


def test_an_ensemble_gives_its_members_images_as_they_came(under):
    several = [tiny("compact_cnn", mean=0.2, std=0.01) for _ in range(2)]
    for one in several:
        one.set_weights([3 * weight for weight in one.get_weights()])
    images = 0.2 + 0.05 * np.random.default_rng(0).random((8, 32, 32, 1), dtype="float32")
    said = [1 / (1 + np.exp(-np.asarray(one(images), "float64"))) for one in several]
    under("mixed_bfloat16")
    ensemble = models.Ensemble(several)
    for one in (ensemble, models.Ensemble.from_config(ensemble.get_config())):
        one.set_weights(ensemble.get_weights())
        found = 1 / (1 + np.exp(-np.asarray(one(images), "float64")))
        np.testing.assert_allclose(found, np.mean(said, axis=0), atol=1e-6)
    rounded = tiny("compact_cnn")
    assert models.Ensemble([rounded]).dtype_policy.name == "mixed_bfloat16"
    assert models.Ensemble([several[0], rounded]).dtype_policy.name == "float32"
    assert models.Ensemble(several, dtype="mixed_bfloat16").dtype_policy.name == "mixed_bfloat16"


@pytest.mark.parametrize(
    "name",
    ["compact_cnn", "resnet18", "drn_d_22", "inception_net", "efficientnet_lite0", "dcgan_discriminator"],
)
def test_networks_in_float16_say_what_they_say_in_float32(name):
    model, half = tiny(name), tiny(name, dtype="float16")
    half.set_weights(model.get_weights())
    for one, other in zip(outputs_of(half), outputs_of(model), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=0.03 * np.abs(other).max())
    assert half.weights[0].dtype == "float16"


def test_what_is_built_anew_follows_the_global_policy(under):
    under("mixed_bfloat16")
    assert tiny("resnet18").layer1.layers[0].conv1.compute_dtype == "bfloat16"
    assert tiny("resnet18", dtype="float32").layer1.layers[0].conv1.compute_dtype == "float32"
