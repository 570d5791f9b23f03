"""A classifier that was trained elsewhere comes back with what its images and classes are, the finding last."""

import copy
import json
import pickle
import re
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import evaluation, models, serving, training
from keras_fracture.data import Preprocess
from keras_fracture.errors import EvaluationError, ModelError
from keras_fracture.evaluation.predicting import predictor, probabilities
from keras_fracture.inference.predicting import Classifier
from keras_fracture.serving import releasing
from keras_fracture.serving.metadata import facts_of, other_policy
from keras_fracture.serving.versions import loaded
from tests.serving.test_endpoints import TINY

PREPARED = Preprocess(32, clahe=(2.0, 8), channels=1)
FIRST = {"classes": ["fracture", "healthy"], "threshold": {"value": 0.3, "chosen": "by hand"}}


def network(name="compact_cnn", **settings):
    keras.utils.set_random_seed(4)
    model = models.create(name, **TINY[name] | {"num_classes": 2, "channels": 1} | settings)
    model.trainable_variables[-1].assign(np.linspace(0.5, -0.5, model.num_classes))
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 1), np.uint8)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A SavedModel of two classes, the first of which is the finding."""
    return serving.export(network(), tmp_path_factory.mktemp("loading") / "first", 1, PREPARED, FIRST)


def served(version, images):
    """What a SavedModel says, by the names of its classes."""
    given = {"images": images.astype("float32") / 255}
    said = loaded(version).signatures["serving_default"](**given)["probabilities"].numpy()
    return dict(zip(facts_of(version)["classes"], said.T, strict=True))


def test_what_the_metadata_say_is_on_the_model(first, tmp_path):
    model = models.load(first)
    assert (model.preprocess, model.threshold) == (PREPARED, 0.3)
    assert (model.classes, model.finding) == (("healthy", "fracture"), 1)
    second = models.load(serving.export(network(), tmp_path / "plain"))
    said = second.preprocess, second.classes, second.finding, second.threshold
    assert said == (None, None, None, 0.5)
    unknown = serving.export(network(), tmp_path / "unknown", metadata={"classes": ["left", "right"]})
    assert (models.load(unknown).classes, models.load(unknown).finding) == (("left", "right"), None)


@pytest.mark.parametrize(
    ("name", "trainable"),
    [
        ("compact_cnn", True),
        ("compact_cnn", False),
        ("drn_c_26", True),
        ("ensemble", False),
        ("nested", True),
    ],
)
def test_the_finding_is_the_last_output_whichever_it_was(name, trainable, images, tmp_path):
    kind = "compact_cnn" if name in ("ensemble", "nested") else name
    model = network(kind)
    model.trainable = trainable
    if name != kind:
        other = network(mean=0.2)
        other.trainable = trainable
        model = models.Ensemble([model, other])
    model = models.Ensemble([model]) if name == "nested" else model
    version = serving.export(model, tmp_path / name, metadata=FIRST)
    expected = served(version, images)
    assert np.abs(expected["fracture"] - expected["healthy"]).min() > 0.05
    back = models.load(version)
    np.testing.assert_allclose(probabilities(back, images), expected["fracture"], atol=1e-6)
    assert bool(back.trainable_variables) == trainable


def test_a_last_layer_whose_outputs_cannot_change_places_is_refused(first, monkeypatch):
    """Else the names of the classes would change places alone, and each would say the other's probability."""
    model = network("resnet18")
    model.fc.bias.assign([0.5, -0.5])
    monkeypatch.setattr("keras_fracture.serving.loading.as_saved", lambda version: model)
    monkeypatch.setattr(type(model), "weights", property(lambda self: [self.bn1.gamma, self.bn1.beta]))
    with pytest.raises(ModelError, match=r"cannot change places: .* Received: .*gamma \(\d+,\), .*beta"):
        models.load(first)


def test_models_of_both_orders_agree_and_do_not_cancel_out(first, images, tmp_path):
    turned = network()
    for variable in turned.trainable_variables[-2:]:
        variable.assign(variable[..., ::-1])
    last = serving.export(turned, tmp_path / "last", metadata={"classes": ["healthy", "fracture"]})
    ours, theirs = models.load(first), models.load(last)
    expected = probabilities(theirs, images)
    np.testing.assert_allclose(probabilities(models.Ensemble([ours, theirs]), images), expected, atol=1e-6)
    scaled = images.astype("float32") / 255
    np.testing.assert_array_equal(evaluation.gradcam(ours, scaled), evaluation.gradcam(theirs, scaled))


def test_members_with_classes_in_different_orders_are_refused(tmp_path):
    orders = (["left", "right"], ["right", "left"])  # neither is said to be the finding
    members = [
        models.load(serving.export(network(), tmp_path / one[0], metadata={"classes": one})) for one in orders
    ]
    with pytest.raises(ModelError, match=r"in one order.*Received: left, right beside right, left"):
        models.Ensemble(members)
    members[1].classes = ("no", "yes")  # other words for the same
    models.Ensemble(members)


def test_copies_and_pickles_keep_what_the_metadata_say(first, tmp_path, caplog):
    model, other = models.load(first), models.load(first)
    model.pixel_range = other.pixel_range = (-1.0, 1.0)
    both = models.Ensemble([model, other])
    both.threshold = 0.2

    def said(one):
        return one.preprocess, one.classes, one.finding, one.threshold, one.pixel_range

    for again in (copy.deepcopy(both), pickle.loads(pickle.dumps(both))):
        assert said(again) == (PREPARED, ("healthy", "fracture"), 1, 0.2, (-1.0, 1.0))
        assert [said(one) for one in again.members] == [said(one) for one in both.members]
    wrapped = copy.deepcopy(training.WithBodyPart(model, 3))
    assert said(wrapped.classifier) == said(model)
    serving.export(again.members[0], tmp_path / "copy")
    assert "a threshold of 0.5, not of 0.3" in caplog.text


def test_members_whose_images_are_prepared_otherwise_are_refused(tmp_path):
    ways = ({}, {"clahe": (2.0, 8)}, {"jpeg": "reduced"})
    prepared = [Preprocess(size=32, channels=1, **way) for way in ways]
    plain, equalised, reduced = (
        models.load(serving.export(network(), tmp_path / str(number), preprocess=one, metadata=FIRST))
        for number, one in enumerate(prepared)
    )
    with pytest.raises(
        ModelError, match=r"prepared alike. Received: .*clahe=\(2.0, 8\).* beside .*clahe=None"
    ):
        models.Ensemble([plain, equalised])
    models.Ensemble([plain, reduced])  # another way to the same images


def test_an_ensemble_of_loaded_models_keeps_what_they_agree_in(first, images, tmp_path, caplog):
    ensemble = models.Ensemble([models.load(first), models.load(first)])
    assert (ensemble.preprocess, ensemble.classes, ensemble.finding) == (PREPARED, ("healthy", "fracture"), 1)
    facts = facts_of(serving.export(ensemble, tmp_path / "both", preprocess=ensemble.preprocess))
    assert (facts["classes"], facts["finding"]) == (["healthy", "fracture"], "fracture")
    assert "choose it on images of validation" in caplog.text
    assert "members with 0.3" in caplog.text
    mixed = models.Ensemble([models.load(first), network()])
    assert (mixed.preprocess, mixed.classes, mixed.finding) == (None, None, None)


def test_another_preparation_than_the_models_own_is_said(first, tmp_path, caplog):
    model = models.load(first)
    model.threshold = 0.5
    serving.export(model, tmp_path / "same", preprocess=Preprocess(32, (2.0, 8), channels=1, jpeg="reduced"))
    assert not caplog.text
    serving.export(model, tmp_path / "other", preprocess=Preprocess(32, channels=1))
    assert "images prepared otherwise" in caplog.text
    assert "clahe=None" in caplog.text


def test_a_class_of_the_same_name_is_not_taken_for_the_own_one(tmp_path, caplog):
    """Else what its `call` does beside would be lost without a word."""

    class CompactCNN(models.CompactCNN):
        def call(self, images, training=False):
            return super().call(images, training) / 5

    theirs = CompactCNN(num_classes=2, image_size=32)
    version = serving.export(theirs, tmp_path / "theirs")
    assert "models.load cannot build it again" in caplog.text
    with pytest.raises(ModelError, match=r"no model of this package. Received: 'tests\..*CompactCNN'"):
        models.load(version)
    with pytest.raises(ModelError, match=r"architecture 'CompactCNN' beside 'tests\..*CompactCNN'"):
        models.Ensemble([theirs, models.CompactCNN(num_classes=2, image_size=32)])


def test_a_pixel_range_that_was_set_on_a_model_comes_back(images, tmp_path):
    model = network()
    model.pixel_range = (-1.0, 1.0)
    with pytest.raises(ModelError, match=r"pixel_range \(0.0, 1.0\) beside \(-1.0, 1.0\)"):
        models.Ensemble([model, network()])
    back = models.load(serving.export(model, tmp_path / "set"))
    assert back.pixel_range == (-1.0, 1.0)
    np.testing.assert_allclose(probabilities(back, images), probabilities(model, images), atol=1e-6)
    assert models.load(serving.export(network(), tmp_path / "plain")).pixel_range == network().pixel_range


def test_a_model_of_16_bits_is_exported_anew_as_it_is_and_loaded_with_a_word(images, tmp_path, caplog):
    model = models.Ensemble([network(dtype="mixed_bfloat16"), network(dtype="mixed_bfloat16", mean=0.2)])
    for one in model.members:
        one.body.layers[-1].kernel.assign(30 * one.body.layers[-1].kernel)  # so that rounding shows
    version = serving.export(model, tmp_path / "both", metadata=FIRST)
    anew = releasing.release(version, tmp_path / "both", 2)
    assert not caplog.text
    expected = served(version, images)["fracture"]
    np.testing.assert_array_equal(served(anew, images)["fracture"], expected)
    back = models.load(version)
    assert not other_policy({"config": back.get_config()})
    said = re.search(r"saved in mixed_bfloat16 and is built in float32: .* by up to (\S+) from", caplog.text)
    moved = np.abs(probabilities(back, images) - expected).max()
    assert 1e-5 < moved < 10 * float(said[1]) < 0.1


@pytest.mark.parametrize(
    ("name", "settings"),
    [("dcgan_generator", {"width": 2}), ("unit", {"image_size": 32, "width": 2, "channels": 1})],
)
def test_generators_of_16_bits_are_loaded_too(name, settings, tmp_path):
    model = models.create(name, dtype="mixed_bfloat16", **settings)
    version = serving.export(model, tmp_path / name)
    back = models.load(version)
    assert not other_policy({"config": back.get_config()})
    assert other_policy(facts_of(version)) == "mixed_bfloat16"
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert models.load(version).variables


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize(
    ("way", "kept"), [("int8", r"\.weights\.h5 file \(save_weights"), ("lora", r"\.keras file")]
)
def test_a_model_that_keras_changed_is_exported_with_a_word_and_not_loaded(
    way, kept, images, tmp_path, caplog
):
    def changed(model):
        if way == "lora":
            model.body.layers[-1].enable_lora(2)
        else:
            model.quantize(way)
        return model

    model = changed(network())
    version = serving.export(model, tmp_path / "changed", metadata=FIRST)
    assert re.search(rf"keep it.*{kept}.*, too. Received: layer .*, quantised or with LoRA", caplog.text)
    with pytest.raises(ModelError, match=rf"was quantised or has LoRA, .*{kept}.* Received: a weight "):
        models.load(version)
    if way == "lora":
        model.save(tmp_path / "kept.keras")
        again = keras.models.load_model(tmp_path / "kept.keras")
    else:
        model.save_weights(tmp_path / "kept.weights.h5")
        again = changed(models.create("compact_cnn", num_classes=2, image_size=32))
        again.load_weights(tmp_path / "kept.weights.h5")
    np.testing.assert_array_equal(probabilities(again, images), probabilities(model, images))


def test_a_class_keeps_its_probability_however_the_model_is_exported_anew(first, images, tmp_path):
    expected = served(first, images)
    anew = releasing.release(first, tmp_path / "anew")
    assert facts_of(anew)["classes"] == FIRST["classes"], "who asks by position gets the same answer"
    again = serving.export(models.load(first), tmp_path / "again")
    assert (facts_of(again)["classes"], facts_of(again)["finding"]) == (["healthy", "fracture"], "fracture")
    for version in (anew, again):
        given = served(version, images)
        for name in FIRST["classes"]:
            np.testing.assert_allclose(given[name], expected[name], atol=1e-6)
    with pytest.raises(
        ModelError, match=r"are healthy, fracture in this order.* Received: fracture, healthy"
    ):
        serving.export(models.load(first), tmp_path / "wrong", metadata={"classes": FIRST["classes"]})
    renamed = serving.export(models.load(first), tmp_path / "renamed", metadata={"classes": ["no", "yes"]})
    np.testing.assert_allclose(served(renamed, images)["yes"], expected["fracture"], atol=1e-6)


def test_a_threshold_that_is_left_out_is_said(first, tmp_path, caplog):
    model = models.load(first)
    lost = serving.export(model, tmp_path / "lost")
    assert "a threshold of 0.5, not of 0.3" in caplog.text
    assert "threshold" not in facts_of(lost)
    caplog.clear()
    kept = serving.export(model, tmp_path / "kept", metadata={"threshold": {"value": 0.3}})
    assert not caplog.text
    assert models.load(kept).threshold == 0.3


def test_a_keras_file_is_exported_with_a_word_on_what_it_lacks(first, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(releasing, "export", lambda *given: None)
    models.load(first).save(tmp_path / "net.keras")
    releasing.release(tmp_path / "net.keras", tmp_path / "net")
    assert "holds no threshold, preprocessing or names of classes" in caplog.text
    caplog.clear()
    models.create("dcgan_generator", image_size=32, width=2).save(tmp_path / "gan.keras")
    releasing.release(tmp_path / "gan.keras", tmp_path / "gan")
    releasing.release(None, tmp_path / "net", model="compact_cnn")
    assert not caplog.text


@pytest.mark.parametrize("side", [24, 64])
def test_images_of_another_size_are_refused(first, side):
    model, other = models.load(first), np.zeros((2, side, side, 1), np.uint8)
    said = rf"must be 32 x 32 pixels: .* Received: \(2, {side}, {side}, 1\)"
    with pytest.raises(ModelError, match=said):
        predictor(model)(other)
    for heat_of in (evaluation.gradcam, evaluation.gradcam_plus_plus):
        with pytest.raises(ModelError, match=said):
            heat_of(model, other.astype("float32"))
    if side == 64:
        for shape in ((2, 32, 32, 4), (2, 32, 32, 3)):
            with pytest.raises(ModelError, match=r"grey or of 1 channel\(s\), .* Received: \(2, 32, 32, "):
                probabilities(model, np.zeros(shape, np.uint8))
            with pytest.raises(ModelError, match=r"the model's 1 channel\(s\). Received: \(2, 32, 32, "):
                evaluation.gradcam(model, np.zeros(shape, "float32"))
        with pytest.raises(EvaluationError, match=r"at least one image. Received: \(0, 32, 32, 1\)"):
            probabilities(model, np.zeros((0, 32, 32, 1), np.uint8))
    anything = network("resnet18", image_size=None, depths=(1, 1, 1, 1))
    assert len(probabilities(anything, other)) == 2


@pytest.mark.parametrize(
    ("outputs", "metadata", "said"),
    [
        (2, {"classes": ["finding"]}, "2 different names, .* Received: finding"),
        (2, {"classes": ["healthy", "finding", "other"]}, "2 different names"),
        (2, {"classes": ["finding", "finding"]}, "2 different names, .* Received: finding, finding"),
        (1, {"classes": ["healthy", "finding"]}, "1 different names"),
        (2, {"classes": ["a", "b"], "finding": "c"}, "one of the classes that are named. Received: 'c'"),
        (2, {"finding": "finding"}, "one of the classes that are named. Received: 'finding'"),
    ],
)
def test_classes_that_do_not_fit_the_outputs_are_not_exported(outputs, metadata, said, tmp_path):
    with pytest.raises(ModelError, match=said):
        serving.export(network(num_classes=outputs), tmp_path / "net", metadata=metadata)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("labels", "names"), [(3, ["none", "bent"]), (2, ["bent", "bent"]), (None, ["none", "bent"])]
)
def test_classes_that_do_not_fit_a_generators_labels_are_not_exported(labels, names, tmp_path):
    drawing = models.create("dcgan_generator", image_size=32, width=2, channels=1, num_classes=labels)
    with pytest.raises(
        ModelError, match=rf"must be {labels or 0} different names.*Received: {', '.join(names)}"
    ):
        serving.export(drawing, tmp_path / "gan", metadata={"classes": names})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("classes", [["finding"], ["healthy", "finding", "other"], "finding", 2])
def test_metadata_that_name_other_classes_are_refused(first, classes, tmp_path):
    version = shutil.copytree(first, tmp_path / "1")
    (version / "metadata.json").write_text(json.dumps(facts_of(first) | {"classes": classes}))
    with pytest.raises(
        ModelError, match=r"as many classes as it has outputs, 2: export it again. Received: "
    ):
        models.load(version)


def test_weights_that_changed_places_since_they_were_saved_are_refused(first, monkeypatch):
    saved = loaded(first)
    weights = list(saved.model_variables)
    assert weights[2].shape == weights[3].shape  # gamma and beta
    weights[2], weights[3] = weights[3], weights[2]
    other = SimpleNamespace(model_variables=weights)
    monkeypatch.setattr("keras_fracture.serving.loading.loaded", lambda version: other)
    with pytest.raises(
        ModelError, match=r"do not fit each other .*body/bn1/beta:0 where body/bn1/gamma is expected"
    ):
        models.load(first)


def test_weights_that_are_not_finite_are_neither_exported_nor_loaded(first, tmp_path, monkeypatch):
    model = models.load(first)
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))
    with pytest.raises(ModelError, match=r"finite to be exported: .* Received: NaN or infinity in .*kernel"):
        serving.export(model, tmp_path / "spoilt")
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:  # of an earlier version of this package
        patch.setattr("keras_fracture.serving.exporting.not_finite", lambda weights: None)
        spoilt = serving.export(model, tmp_path / "spoilt", preprocess=PREPARED)
    for opened in (models.load, Classifier):
        with pytest.raises(
            ModelError, match=r"weights that are not finite: .* Received: NaN or infinity in "
        ):
            opened(spoilt)
