import keras
import numpy as np
import pytest

from keras_fracture import models
from keras_fracture.errors import ModelError
from keras_fracture.evaluation.gradcam import gradcam
from keras_fracture.serving.exporting import export


def locating(name="resnet18", **shape):
    shape = {"num_classes": 2, "image_size": 64, "channels": 1, "width": 4} | shape
    return models.LocatingClassifier(models.create(name, **shape))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((3, 64, 64, 1), "float32")


@pytest.mark.parametrize("classes", [1, 2])
def test_the_odds_of_an_image_are_those_of_its_network_times_all_of_its_cells(classes, images):
    model = locating(num_classes=classes)
    model.head.kernel.assign(np.random.default_rng(1).normal(size=model.head.kernel.shape))
    cells = np.asarray(model.cells(model.features(images)), np.float64)
    assert cells.shape == (3, *model.grid)
    own, both = (np.asarray(one(images), np.float64) for one in (model.network, model))
    odds = [one[:, 0] if classes == 1 else one[:, 1] - one[:, 0] for one in (own, both)]
    np.testing.assert_allclose(np.exp(odds[1]), np.exp(odds[0]) * np.exp(cells).sum(axis=(1, 2)), rtol=1e-4)


def test_it_has_one_weight_a_channel_more_and_begins_with_rare_findings(images):
    model = locating()
    assert model.count_params() == model.network.count_params() + 32 + 1
    assert np.asarray(keras.ops.sigmoid(model.cells(model.features(images)))).mean() < 0.1


def test_it_is_saved_exported_and_loaded_with_its_answers(tmp_path, images):
    model = locating()
    expected = np.asarray(model(images))
    model.save(tmp_path / "one.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "one.keras")(images), expected)
    export(model, tmp_path / "saved")
    np.testing.assert_allclose(models.load(tmp_path / "saved")(images), expected, atol=1e-6)
    again = models.LocatingClassifier.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(images), expected)


def test_several_are_averaged_and_heat_maps_see_their_cells(images):
    one, other = locating(), locating()
    both = models.Ensemble([one, other], flips=True)
    views = [keras.ops.softmax(each(view)) for each in (one, other) for view in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(keras.ops.softmax(both(images)), np.mean(views, axis=0), atol=1e-6)
    one.network.fc.kernel.assign(np.zeros(one.network.fc.kernel.shape))
    heat = gradcam(one, images)
    assert np.isfinite(heat).all() and heat.max() > 0  # by the cells alone


def test_only_classifiers_of_one_size_and_one_kind_of_finding_locate():
    with pytest.raises(ModelError, match="needs features and classify"):
        locating(include_top=False)
    with pytest.raises(ModelError, match="one or two classes"):
        locating(num_classes=3)
    with pytest.raises(ModelError, match="one image_size"):
        locating(image_size=None)
