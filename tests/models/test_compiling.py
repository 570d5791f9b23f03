"""A classifier's outputs are logits: what Keras would take for probabilities is refused, or set right."""

import functools

import keras
import numpy as np
import pytest

from keras_fracture import models, training
from keras_fracture.errors import TrainingError
from keras_fracture.evaluation.predicting import probabilities

LOSS = keras.losses.BinaryCrossentropy(from_logits=True)
BY_LOGITS = {1: LOSS, 2: keras.losses.SparseCategoricalCrossentropy(from_logits=True)}


def network(outputs=1):
    keras.utils.set_random_seed(1)
    return models.create("compact_cnn", image_size=32, num_classes=outputs)


@pytest.fixture(scope="module")
def data():
    """Images, and labels that an untrained network knows as well as a coin."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 32, 32, 1), np.uint8), rng.integers(0, 2, 40)


@pytest.mark.parametrize(
    "loss",
    [
        "binary_crossentropy", "bce", "BinaryCrossentropy", "categorical_crossentropy",
        "sparse_categorical_crossentropy", keras.losses.binary_crossentropy, keras.losses.BinaryCrossentropy(),
        keras.losses.CategoricalFocalCrossentropy(), {"finding": "binary_crossentropy"},
        functools.partial(keras.losses.binary_crossentropy, label_smoothing=0.1),
    ],
)  # fmt: skip
def test_losses_of_probabilities_are_refused(loss):
    model = network()
    with pytest.raises(
        TrainingError, match=r"keras.losses.BinaryCrossentropy\(from_logits=True\)\. Received: \S+$"
    ):
        model.compile("adam", loss)
    with pytest.raises(TrainingError, match="gives logits"):
        model.compile(loss=loss, optimizer="adam")
    assert not model.compiled


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: models.Ensemble([one]),
        lambda one: training.WithBodyPart(one, 3),
        training.WithBoxes,
        lambda one: training.WithTeacher(one, network()),
    ],
)
def test_what_trains_a_classifier_refuses_them_too(wrap):
    with pytest.raises(TrainingError, match="gives logits"):
        wrap(network()).compile("adam", {"finding": "binary_crossentropy", "body_part": "mse"})
    with pytest.raises(TrainingError, match="gives logits"):
        wrap(network()).compile("adam", LOSS, metrics={"finding": ["AUC"]})


@pytest.mark.parametrize(
    "metric",
    [
        "AUC", "auc", "binary_accuracy", "Precision", "recall", "binary_crossentropy", "ce", keras.metrics.AUC(),
        keras.metrics.BinaryAccuracy(), keras.metrics.binary_accuracy, keras.metrics.Recall(),
        keras.metrics.SensitivityAtSpecificity(0.9), keras.metrics.BinaryCrossentropy(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("outputs", [1, 2])
def test_metrics_of_probabilities_are_refused(metric, outputs):
    right, model = BY_LOGITS[outputs], network(outputs)
    for given in ({"metrics": [metric]}, {"metrics": metric}, {"weighted_metrics": [["accuracy", metric]]}):
        with pytest.raises(
            TrainingError, match=r"gives logits, of which metrics must know: write .* Received: \S+$"
        ):
            model.compile("adam", right, **given)


LOSSES, METRICS = keras.losses, keras.metrics
SPARSE = LOSSES.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(
    ("losses", "metrics"),
    [
        (["dice", "Dice", LOSSES.Dice()], [METRICS.MeanIoU(2), METRICS.IoU(2, [1])]),
        (["tversky", LOSSES.Tversky(), LOSSES.CategoricalGeneralizedCrossEntropy()], ["Accuracy", METRICS.Accuracy()]),
        (["kl_divergence", "kld", LOSSES.KLDivergence()], ["kl_divergence", METRICS.KLDivergence()]),
        (["poisson", LOSSES.poisson, LOSSES.Poisson()], ["poisson", METRICS.Poisson()]),
        ([], [METRICS.MeanMetricWrapper(METRICS.binary_accuracy), METRICS.BinaryIoU()]),
    ],
)  # fmt: skip
def test_what_says_nothing_of_logits_in_its_settings_is_refused_too(losses, metrics, outputs):
    model = network(outputs)
    for loss in losses:
        with pytest.raises(TrainingError, match="gives logits, of which the loss must know"):
            model.compile("adam", loss)
    for metric in metrics:
        with pytest.raises(TrainingError, match="gives logits, of which metrics must know"):
            model.compile("adam", BY_LOGITS[outputs], metrics=[metric])


def test_one_logit_is_no_choice_among_classes():
    several = [
        METRICS.CategoricalAccuracy(), METRICS.SparseCategoricalAccuracy(), METRICS.SparseTopKCategoricalAccuracy(1),
        METRICS.F1Score(), METRICS.SparseCategoricalCrossentropy(from_logits=True),
    ]  # fmt: skip
    one, two = network(), network(2)
    for loss in (SPARSE, LOSSES.CategoricalCrossentropy(from_logits=True)):
        with pytest.raises(
            TrainingError, match=r"one logit alone, .* write keras.losses.BinaryCrossentropy\(from_l"
        ):
            one.compile("adam", loss)
        two.compile("adam", loss)
    for metric in several:
        with pytest.raises(
            TrainingError, match=r"one logit alone, .* write keras.metrics.BinaryAccuracy\(thres"
        ):
            one.compile("adam", LOSS, metrics=[metric])
        two.compile("adam", BY_LOGITS[2], metrics=[metric])
    two.compile("adam", BY_LOGITS[2], metrics=[METRICS.OneHotMeanIoU(2)])
    one.compile("adam", LOSS, metrics=[METRICS.MeanMetricWrapper(METRICS.binary_accuracy, threshold=0.0)])


@pytest.mark.parametrize("outputs", [2, 3])
def test_several_logits_are_classes_of_which_one_is_chosen(outputs):
    """Served through a softmax, whatever they were trained as; metrics of each by itself are other numbers."""
    several = network(outputs)
    for loss in (LOSS, LOSSES.BinaryFocalCrossentropy(from_logits=True), {"finding": LOSS}):
        with pytest.raises(
            TrainingError, match=r"a softmax chooses one.*write keras.losses.SparseCategorical"
        ):
            several.compile("adam", loss)
    loss = LOSSES.CategoricalCrossentropy(from_logits=True)
    for metric in (METRICS.AUC(from_logits=True), METRICS.BinaryAccuracy(threshold=0), METRICS.Precision(thresholds=0),
                   METRICS.Recall(thresholds=0, class_id=1)):  # fmt: skip
        with pytest.raises(TrainingError, match=r"a softmax chooses one.*write 'accuracy'"):
            several.compile("adam", loss, metrics=[metric])
    several.compile("adam", loss, metrics=["accuracy", METRICS.Recall(top_k=1, class_id=1, name="of_one")])
    rng = np.random.default_rng(0)
    images, labels = rng.random((30, 32, 32, 1), np.float32), rng.integers(0, outputs, 30)
    found = several.evaluate(images, np.eye(outputs)[labels], verbose=0, return_dict=True)
    said = several.predict(images, verbose=0).argmax(1)
    assert found["of_one"] == pytest.approx((said == 1)[labels == 1].mean(), abs=1e-6)


def test_differences_of_logits_and_labels_are_warned_of(caplog):
    network().compile("adam", "mse")
    (said,) = caplog.messages
    network().compile("adam", "msle")  # of ages, too
    assert "to tell findings take a cross-entropy" in said and said.endswith("Received: mean_squared_error")
    caplog.clear()
    network().compile("adam", LOSS, metrics=[METRICS.RootMeanSquaredError()])
    assert caplog.messages[0].endswith("Received: RootMeanSquaredError")


def test_accuracy_of_one_logit_is_that_of_its_probability(data):
    images, labels = data
    model = network()
    # The middle logit is 0.25: at 0.5 as Keras has it, other images would count as findings.
    middle = np.median(model.predict(images / np.float32(255), verbose=0))
    model.trainable_variables[-1].assign([0.25 - middle])
    probability = probabilities(model, images)
    expected = np.mean((probability > 0.5) == labels)
    assert expected != np.mean((probability > 1 / (1 + np.exp(-0.5))) == labels)
    for metrics in (
        ["accuracy"],
        ["acc"],
        [keras.metrics.BinaryAccuracy("accuracy", threshold=0)],
    ):
        model.compile("adam", LOSS, metrics=metrics)
        measured = model.evaluate(images / np.float32(255), labels, verbose=0, return_dict=True)
        name = "acc" if metrics == ["acc"] else "accuracy"
        assert measured[name] == pytest.approx(expected, abs=1e-6)


def test_accuracy_of_two_logits_is_keras_own(data):
    images, labels = data
    model = network(2)
    model.compile("adam", BY_LOGITS[2], metrics=["accuracy"])
    measured = model.evaluate(images / np.float32(255), labels, verbose=0, return_dict=True)["accuracy"]
    assert measured == pytest.approx(np.mean((probabilities(model, images) > 0.5) == labels), abs=1e-6)


def _own(labels, probabilities, threshold=0.5, from_logits=False):
    return keras.ops.mean(keras.ops.cast(labels, "float32") - keras.ops.sigmoid(probabilities))


@pytest.mark.parametrize(
    "loss", [LOSS, "mse", "hinge", _own, {"finding": LOSS}, None,
             functools.partial(keras.losses.binary_crossentropy, from_logits=True)],
)  # fmt: skip
def test_what_knows_of_logits_is_taken(loss):
    metrics = [
        keras.metrics.AUC(from_logits=True), keras.metrics.Recall(thresholds=0), "mse", _own,
        keras.metrics.BinaryAccuracy(threshold=-0.7), keras.metrics.Precision(top_k=1),
    ]  # fmt: skip
    network().compile("adam", loss, metrics=metrics)
    headless = models.create("resnet18", image_size=32, width=4, depths=(1, 1, 1, 1), include_top=False)
    headless.compile("adam", "binary_crossentropy")  # of maps, whatever they are


def test_parts_of_the_body_have_an_accuracy_of_their_own(data):
    model = training.WithBodyPart(network(), 3)
    both = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = {"finding": ["accuracy"], "body_part": ["accuracy"]}
    model.compile("sgd", {"finding": LOSS, "body_part": both}, metrics=metrics)
    images, labels = data[0] / np.float32(255), data[1]
    targets = {"finding": labels, "body_part": np.arange(40) % 3}
    measured = model.evaluate(images, targets, verbose=0, return_dict=True)
    logits = model.predict(images, verbose=0)
    assert measured["finding_accuracy"] == pytest.approx(np.mean((logits["finding"][:, 0] > 0) == labels))
    assert measured["body_part_accuracy"] == pytest.approx(
        np.mean(logits["body_part"].argmax(1) == targets["body_part"])
    )


def test_a_file_comes_back_compiled_and_trains_on_where_it_stopped(data, tmp_path):
    images, labels = data[0] / np.float32(255), data[1]
    model = network()
    model.compile("adam", LOSS, metrics=["accuracy"])
    model.fit(images, labels, batch_size=20, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 2
    for ours, theirs in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.evaluate(images, labels, verbose=0) == model.evaluate(images, labels, verbose=0)


def test_a_file_that_was_compiled_for_probabilities_says_so(tmp_path):
    model = network()
    keras.Model.compile(model, "adam", "binary_crossentropy")
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="not compiled as it was saved: This network gives logits"):
        loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])
