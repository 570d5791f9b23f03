"""Labels that are no classes of a network are refused: its loss would have no lowest value, without a word."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models, training
from keras_fracture.errors import TrainingError
from keras_fracture.models import compiling

LOSS = keras.losses.BinaryCrossentropy(from_logits=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 1), np.uint8)
SCALED = IMAGES.astype("float32") / 255
RIGHT = np.arange(12) % 2
WRONG = {
    "-1 and 1": 2 * RIGHT - 1,
    "1 and 2": RIGHT + 1,
    "0 and 255": RIGHT * 255,
    "percent": RIGHT * 90.0,
    "absent": np.where(RIGHT == 1, np.nan, 0.0),
}
WORDS = r"labels of a network with one logit must lie from 0 to 1.*Received: \["


def classifier(loss=LOSS):
    model = models.create("compact_cnn", image_size=32)
    model.compile("sgd", loss)
    return model


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.mark.parametrize("kind", WRONG)
def test_keras_is_not_given_labels_of_no_class(model, kind):
    labels, before = WRONG[kind], model.get_weights()
    dataset = tf.data.Dataset.from_tensor_slices((SCALED, labels)).batch(4)
    own = tf.data.Dataset.from_tensor_slices((SCALED, RIGHT)).batch(4)
    for ask in (
        lambda: model.fit(SCALED, labels, verbose=0),
        lambda: model.fit(dataset, verbose=0),
        lambda: model.fit(own, validation_data=(SCALED, labels), verbose=0),
        lambda: model.fit(own, validation_data=dataset, verbose=0),
        lambda: model.evaluate(SCALED, labels, verbose=0),
        lambda: model.evaluate(dataset, verbose=0),
        lambda: model.train_on_batch(SCALED, labels),
        lambda: model.test_on_batch(SCALED, y=labels),
    ):
        with pytest.raises(TrainingError, match=WORDS) as caught:
            ask()
        assert "\n" not in str(caught.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("kind", WRONG)
def test_trainings_are_not_given_labels_of_no_class(model, kind, tmp_path):
    words = WORDS if kind != "absent" else "labels must be finite.*6 among 12"
    with pytest.raises(TrainingError, match=words):
        training.fit_briefly(model, IMAGES, WRONG[kind], 1)
    with pytest.raises(TrainingError, match=words):
        training.fit_briefly(model, IMAGES, RIGHT, 1, validation=(IMAGES, WRONG[kind]))
    stream = functools.partial(training.make_train_dataset, IMAGES, WRONG[kind])
    with pytest.raises(TrainingError, match=words):
        training.fit(model, lambda first: stream(first_epoch=first), 1, tmp_path, verbose=0)


def test_a_head_for_body_parts_and_a_teacher_look_at_the_finding():
    parts = training.WithBodyPart(classifier(), 3)
    parts.compile(
        "sgd", {"finding": LOSS, "body_part": keras.losses.CategoricalCrossentropy(from_logits=True)}
    )
    body_parts = np.eye(3, dtype="float32")[np.arange(12) % 3]
    with pytest.raises(TrainingError, match=WORDS):
        parts.fit(SCALED, {"finding": RIGHT[:, None] * 2, "body_part": body_parts}, verbose=0)
    parts.fit(SCALED, {"finding": RIGHT[:, None], "body_part": body_parts}, verbose=0)
    taught = training.WithTeacher(classifier(), classifier())
    taught.compile("sgd", LOSS)
    with pytest.raises(TrainingError, match=WORDS):
        taught.fit(SCALED, RIGHT * 2, verbose=0)


def test_soft_labels_and_losses_of_other_labels_are_taken(model):
    soft = np.linspace(0, 1, 12)
    model.fit(SCALED, soft, verbose=0)
    model.fit(SCALED, RIGHT == 1, validation_data=(SCALED, soft[:, None]), verbose=0)
    for loss in ("mse", "hinge"):  # bone age; labels of -1 and 1
        classifier(loss).fit(SCALED, 2 * RIGHT - 1, verbose=0)
    several = models.create("compact_cnn", image_size=32, num_classes=3)
    several.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    several.fit(SCALED, np.arange(12) % 3, verbose=0)
    with pytest.raises(
        TrainingError, match=r"from 0 to 2, one an image, of a model of 3 classes.*\[1, 2, 3\]"
    ):
        several.fit(SCALED, np.arange(12) % 3 + 1, verbose=0)
    several.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1))
    several.fit(SCALED, np.arange(12) % 3 - 1, verbose=0)
    assert model.predict(tf.data.Dataset.from_tensors((SCALED, RIGHT + 1)), verbose=0).shape == (12, 1)


@pytest.mark.parametrize("labels", [[-1, 1], [1, 2], [0, 255], [0, 0.5, 1], [0, 2, 3]])
def test_class_weights_are_of_labels_as_keras_counts_them(labels):
    with pytest.raises(TrainingError, match=r"labels 0 and 1, or.*Received: labels \["):
        training.class_weights(labels)
    assert training.class_weights([0.0, 1.0, 2.0, 2.0]) == pytest.approx({0: 4 / 3, 1: 4 / 3, 2: 2 / 3})


def test_labels_of_no_weight_may_be_any_and_lists_are_one_for_each_output():
    model = models.create("compact_cnn", image_size=32)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    images, labels = np.random.default_rng(0).random((4, 32, 32, 1), "float32"), np.array([0, 1, -1, 1.0])
    loss = model.evaluate(images, labels, sample_weight=np.array([1, 1, 0, 1.0]), verbose=0)
    assert np.isfinite(loss)
    compiling.check_labels(model, [np.zeros(4), np.full((4, 2), 7)])


@pytest.mark.parametrize("weights", [{"healthy": 1, "finding": 3}, {"0": 1, "1": 3}, {1: 1, 2: 3}, {0.5: 2}])
@pytest.mark.parametrize("outputs", [1, 2])
def test_class_weights_of_no_class_are_refused(weights, outputs):
    """Keras takes each image for as much as any other then."""
    model = models.create("compact_cnn", image_size=32, num_classes=outputs)
    kind = keras.losses.SparseCategoricalCrossentropy if outputs == 2 else keras.losses.BinaryCrossentropy
    model.compile("sgd", kind(from_logits=True))
    images, labels = np.zeros((4, 32, 32, 1), "float32"), np.arange(4) % 2
    for train in (model.fit, model.train_on_batch):
        with pytest.raises(TrainingError, match=r"numbers of classes, from 0 to 1, .*Received: \{"):
            train(images, labels, class_weight=weights)
    for right in ({0: 1.0, 1: 3.0}, {np.int64(1): 3.0}, {True: 2.0}):
        model.train_on_batch(images, labels, class_weight=right)
