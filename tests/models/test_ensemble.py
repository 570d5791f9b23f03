"""Several classifiers as one model."""

import json

import keras
import numpy as np
import pytest
import scipy

from keras_fracture import evaluation, models, serving
from keras_fracture.errors import ModelError, WeightsError

# Two that pool their last maps, and two whose dense layer knows places.
KINDS = {
    "efficientnet_lite0": {"stem_width": 4, "head_width": 8, "stages": ((3, 1, 1, 4, 1), (5, 2, 2, 8, 2))},
    "resnet18": {"width": 4, "depths": (1, 1, 1, 1)},
    "inception_net": {"stem_width": 4, "stages": ((4, True),)},
    "compact_cnn": {},
}


def members(name, count=3, **settings):
    made = []
    for seed in range(count):
        keras.utils.set_random_seed(seed)
        one = models.create(name, image_size=32, **KINDS[name], **settings)
        for variable in one.variables:  # random statistics and biases, too
            noise = np.random.default_rng(seed).normal(0, 0.05, variable.shape)
            variable.assign(np.abs(variable + noise) if "variance" in variable.name else variable + noise)
        made.append(one)
    return made


def images(model, count=4):
    shape = (count, 32, 32, model.channels)
    return np.random.default_rng(0).uniform(*model.pixel_range, shape).astype("float32")


def finding(logits):
    logits = np.asarray(logits, np.float64)
    return (
        scipy.special.softmax(logits, 1)[:, 1] if logits.shape[1] == 2 else scipy.special.expit(logits)[:, 0]
    )


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("flips", [False, True])
def test_it_says_the_mean_of_the_probabilities(name, classes, flips):
    several = members(name, num_classes=classes)
    ensemble, given = models.Ensemble(several, flips=flips), images(several[0])
    views = [given, given[:, :, ::-1]] if flips else [given]
    each = np.array([finding(one(view)) for one in several for view in views])
    assert np.ptp(each, axis=0).min() > 1e-4, "members that agree show nothing"
    np.testing.assert_allclose(finding(ensemble(given)), each.mean(axis=0), atol=1e-6)


def test_sure_members_leave_it_finite():
    several = members("compact_cnn", 2, num_classes=1)
    for one, bias in zip(several, (1e4, -1e4), strict=True):
        one.trainable_variables[-1].assign([bias])
    ensemble = models.Ensemble(several)
    np.testing.assert_allclose(finding(ensemble(images(ensemble))), 0.5, atol=1e-6)


def test_it_comes_back_from_its_configuration_a_file_and_a_saved_model(tmp_path):
    ensemble = models.Ensemble(members("efficientnet_lite0", 2, num_classes=2), flips=True)
    given = images(ensemble)
    again = models.Ensemble.from_config(json.loads(json.dumps(ensemble.get_config())))
    again.set_weights(ensemble.get_weights())
    ensemble.save(tmp_path / "ensemble.keras")
    serving.export(ensemble, tmp_path / "saved")
    loaded = [again, keras.models.load_model(tmp_path / "ensemble.keras"), models.load(tmp_path / "saved")]
    for one in loaded:
        assert one.flips and len(one.members) == 2
        np.testing.assert_array_equal(one(given), ensemble(given))
    assert ensemble.count_params() == 2 * ensemble.members[0].count_params()


def test_the_file_of_an_ensemble_of_more_members_is_refused(tmp_path):
    path, several = tmp_path / "file.weights.h5", members("compact_cnn", num_classes=2)
    ensemble = models.Ensemble(several[:2])
    ensemble.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    ensemble.optimizer.build(ensemble.trainable_variables)
    ensemble.save_weights(path)  # with what Adam keeps, twice the weights
    models.Ensemble(members("compact_cnn", 2, num_classes=2)).load_weights(path)
    models.Ensemble(several).save_weights(path)
    with pytest.raises(WeightsError, match=r"of a larger network, .* Received: [\d,]+ weights"):
        ensemble.load_weights(path)


def test_members_that_are_frozen_stay_so(tmp_path):
    several = members("compact_cnn", 2, num_classes=2)
    several[0].trainable = False
    again = models.Ensemble.from_config(models.Ensemble(several).get_config())
    assert [bool(one.trainable_variables) for one in again.members] == [False, True]
    assert len(again.trainable_variables) == len(several[1].trainable_variables)


def test_heat_lies_on_the_image_as_it_came():
    """Of a single member that sees only the mirror image, the heat would be its own, mirrored back."""
    (one,) = members("resnet18", 1, num_classes=2)
    given = images(one)
    plain = evaluation.gradcam(models.Ensemble([one]), given)
    np.testing.assert_allclose(plain, evaluation.gradcam(one, given), atol=1e-5)
    both = models.Ensemble([one], flips=True)
    heat, mirrored = evaluation.gradcam(both, given), evaluation.gradcam(both, given[:, :, ::-1].copy())
    np.testing.assert_allclose(heat, mirrored[:, :, ::-1], atol=1e-4)


def test_a_step_lowers_the_loss_of_all_members():
    ensemble = models.Ensemble(members("resnet18", 2, num_classes=2))
    given, labels = images(ensemble, 8), np.eye(2, dtype="float32")[np.arange(8) % 2]
    ensemble.compile(keras.optimizers.Adam(1e-3), keras.losses.CategoricalCrossentropy(from_logits=True))
    before = [one.get_weights()[0].copy() for one in ensemble.members]
    losses = [float(ensemble.train_on_batch(given, labels)) for _ in range(5)]
    assert losses[-1] < losses[0]
    for one, weights in zip(ensemble.members, before, strict=True):
        assert not np.array_equal(one.get_weights()[0], weights)


@pytest.mark.parametrize(
    "others, said",
    [
        ([], "at least one member"),
        ([("resnet18", {"num_classes": 1})], "num_classes 1 beside 2"),
        ([("compact_cnn", {"num_classes": 2})], "architecture 'CompactCNN' beside 'ResNet'"),
        ([("resnet18", {"num_classes": 2, "include_top": False})], "must be classifiers"),
    ],
)
def test_members_that_are_not_alike_are_refused(others, said):
    several = members("resnet18", 1, num_classes=2) if others else []
    several += [members(name, 1, **settings)[0] for name, settings in others]
    with pytest.raises(ModelError, match=said):
        models.Ensemble(several)


def test_a_model_is_a_member_once():
    one, other = members("compact_cnn", 2, num_classes=2)
    with pytest.raises(ModelError, match="Received: 3 members, 2 of them different"):
        models.Ensemble([one, other, one])


def test_a_configuration_of_other_members_is_refused():
    config = models.Ensemble(members("compact_cnn", 1, num_classes=2)).get_config()
    config["members"][0]["architecture"] = "Nothing"
    with pytest.raises(ModelError, match=r"no such architecture. Received: 'Nothing'"):
        models.Ensemble.from_config(config)


def test_a_network_that_draws_is_no_member():
    with pytest.raises(ModelError, match="Received: DCGANGenerator"):
        models.Ensemble([models.create("dcgan_generator", width=4)])


def test_members_of_other_classes_are_refused():
    names = ("normal", "fracture", "cast"), ("Cast", "Fracture", "normal"), ("Normal", "Fracture", "Cast")
    first, turned, alike = (models.create("compact_cnn", image_size=32, num_classes=3) for _ in names)
    for model, classes in zip((first, turned, alike), names, strict=True):
        model.classes = classes  # as of models.load
    models.Ensemble([first, alike])
    with pytest.raises(
        ModelError, match=r"the same classes .*Received: Cast, Fracture, normal beside normal"
    ):
        models.Ensemble([first, turned])
