"""What tells one training of a folder from another, and what does not."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from keras_fracture.errors import TrainingError
from keras_fracture.training import identity, running
from keras_fracture.training.classifier import add_l2
from tests.training import killed_run

LOSS = keras.losses.BinaryCrossentropy(from_logits=True)


def _fit(folder, epochs, model, **options):
    def stream(first):
        return running.make_train_dataset(
            killed_run.images(), np.arange(24) % 2, batch_size=8, seed=1, first_epoch=first
        )

    running.fit(model, stream, epochs, folder, verbose=0, **options)
    return model


def _classifier():
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", LOSS)
    return model


def test_a_resumed_training_with_other_regularizers_is_refused(tmp_path):
    def model(decay):
        own = _classifier()
        add_l2(own, decay)
        return own

    _fit(tmp_path, 1, model(0.5))
    _fit(tmp_path, 1, model(0.5))
    for decay, words in ((0.0, r"\{\}"), (0.2, r".*\[\"L2\", \{\"l2\": 0.1\}\]")):
        with pytest.raises(
            TrainingError, match=rf"settings of regularizers.*0\.25.*Received: regularizers {words}"
        ):
            _fit(tmp_path, 1, model(decay))


def _on_features(seed=5, frozen=True):
    """A head on a layer of random weights, frozen or not, and moving statistics."""
    features = keras.layers.Dense(
        4, kernel_initializer=keras.initializers.GlorotUniform(seed), trainable=not frozen
    )
    head = keras.layers.Dense(1, kernel_initializer="ones")
    layers = [keras.layers.Flatten(), features, keras.layers.BatchNormalization(), head]
    model = keras.Sequential([keras.Input((16, 16, 1)), *layers])
    model.compile("sgd", LOSS)
    return model


def test_other_weights_that_are_not_trained_are_said_and_those_of_the_backup_taken(tmp_path, caplog):
    """Such as a frozen part's or a teacher's, and not for the moving statistics of the model that was trained."""
    model = _fit(tmp_path, 1, _on_features())
    for own in (model, _on_features()):
        _fit(tmp_path, 1, own)
    assert "with other weights" not in caplog.text
    other = _on_features(seed=6)
    assert other.get_weights()[0][0, 0] != model.get_weights()[0][0, 0]
    _fit(tmp_path, 1, other)
    assert "with other weights than the training in" in caplog.text
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_a_model_left_with_its_best_epochs_weights_goes_on_without_a_word(tmp_path, caplog):
    def fit(folder, epochs, model):
        model.optimizer.learning_rate = 0.5
        return _fit(
            folder, epochs, model, patience=9, validation_data=(killed_run.images() / 255, np.ones((24, 1)))
        )

    model = _on_features()
    fit(tmp_path / "two", 2, model)
    losses = pd.read_csv(tmp_path / "two" / "history.csv")["val_loss"]
    assert losses.argmin() == 0, "else the last epoch is the best"
    fit(tmp_path / "two", 3, model)
    assert "with other weights" not in caplog.text
    whole = _on_features()
    fit(tmp_path / "one", 3, whole)
    for one, other in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    fit(tmp_path / "two", 4, _on_features(seed=6))
    assert "with other weights than the training in" in caplog.text


def test_another_stage_of_a_training_takes_another_folder(tmp_path):
    model = _fit(tmp_path, 1, _on_features())
    model.trainable = True
    model.layers[1].trainable = True
    model.compile("sgd", LOSS)
    for own in (model, _on_features(frozen=False)):
        with pytest.raises(
            TrainingError, match=r"Other weights are trained than .* Expected: 4 of 8.*Received: 6 of 8"
        ):
            _fit(tmp_path, 1, own)


@pytest.mark.parametrize("reading", ["arrays", "batches", "in another order"])
def test_the_best_epoch_is_chosen_on_one_set_of_images(tmp_path, reading):
    images, labels = killed_run.images(), np.arange(24) % 2

    def train(images, labels):
        given = images / np.float32(255), np.eye(2)[labels][:, 1]
        if reading != "arrays":
            given = tf.data.Dataset.from_tensor_slices(given)
            given = (given.shuffle(24) if reading == "in another order" else given).batch(9)
        return _fit(tmp_path, 1, _classifier(), validation_data=given, patience=9)

    train(images, labels)
    train(images, labels)
    other = np.where(np.arange(24) < 3, 0, labels)
    for odd, given in (("labels", (images, other)), ("grey levels", (255 - images // 2, labels))):
        with pytest.raises(TrainingError, match=f"other validation {odd}: name another folder"):
            train(*given)
    with pytest.raises(
        TrainingError, match=r"other validation images.*images 24, .*Received: validation images 12, "
    ):
        train(images[:12], labels[:12])


def test_validation_images_that_are_drawn_anew_are_no_others(tmp_path):
    images = tf.data.Dataset.from_tensor_slices((killed_run.images() / np.float32(255), np.arange(24) % 2))
    for _ in range(2):
        some = images.shuffle(24).take(4).batch(4)
        _fit(tmp_path / "some", 1, _classifier(), validation_data=some, patience=9)
    for count in (8, 24):  # where they only tell how a training goes
        _fit(tmp_path / "all", 1, _classifier(), validation_data=images.take(count).batch(8))
    assert identity.of_validation(images.batch(4).repeat()) == {}
