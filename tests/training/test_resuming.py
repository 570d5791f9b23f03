"""What a resumed training refuses, because its backup would win without a word, and what it goes on counting."""

import keras
import numpy as np
import pytest

from keras_fracture.errors import TrainingError
from keras_fracture.training import running
from tests.training import killed_run


def _classifier(optimizer):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
    return model


def _resumable(folder, epochs, optimizer, model=None, batch_size=8, callbacks=(), **options):
    def stream(first):
        images, labels = killed_run.images(), np.arange(24) % 2
        return running.make_train_dataset(images, labels, batch_size=batch_size, seed=1, first_epoch=first)

    model = model or _classifier(optimizer)
    running.fit(model, stream, epochs, folder, callbacks=callbacks, verbose=0, **options)
    return model


@pytest.mark.parametrize(
    ("optimizer", "options", "words"),
    [
        (keras.optimizers.Adam(3e-3), {}, "other settings of optimizers"),
        (keras.optimizers.Adam(1e-3, beta_1=0.5), {}, "other settings of optimizers"),
        (keras.optimizers.SGD(1e-3), {}, "other settings of optimizers"),
        (keras.optimizers.Adam(1e-3), {"class_weight": {0: 1.0, 1: 3.0}}, "other settings of class_weight"),
        (keras.optimizers.Adam(1e-3), {"batch_size": 4}, "with 3 steps an epoch.*Received: 6"),
        (
            keras.optimizers.Adam(1e-3),
            {"callbacks": [keras.callbacks.ReduceLROnPlateau("loss")]},
            "other callbacks.*Received: ReduceLROnPlateau",
        ),
    ],
)
def test_a_resumed_training_with_other_settings_is_refused(tmp_path, optimizer, options, words):
    _resumable(tmp_path, 1, keras.optimizers.Adam(1e-3))
    with pytest.raises(TrainingError, match=words):
        _resumable(tmp_path, 2, optimizer, **options)


def test_a_training_that_did_not_record_its_settings_is_not_resumed(tmp_path):
    _resumable(tmp_path, 1, "adam")
    next((tmp_path / "backup").glob("*.json")).unlink()
    with pytest.raises(TrainingError, match="lacks the settings"):
        _resumable(tmp_path, 2, "adam")


def _plateau():
    return keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=9.0)


def test_a_resumed_training_goes_on_counting_towards_a_lower_learning_rate(tmp_path):
    def rate(model):
        return float(model.optimizer.learning_rate)

    whole = _resumable(tmp_path / "whole", 6, "adam", callbacks=[_plateau()])
    for epochs in (2, 4, 6):
        resumed = _resumable(tmp_path / "cut", epochs, "adam", callbacks=[_plateau()])
    assert rate(resumed) == rate(whole) < 1e-3
    for one, other in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert rate(_resumable(tmp_path / "cut", 7, None, model=resumed, callbacks=[_plateau()])) <= rate(whole)


def test_a_callback_whose_state_cannot_be_kept_is_refused(tmp_path):
    stopping = keras.callbacks.EarlyStopping("loss", restore_best_weights=True)
    with pytest.raises(TrainingError, match="use patience="):
        _resumable(tmp_path, 1, "adam", callbacks=[stopping])
