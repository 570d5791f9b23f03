"""What a resumed training refuses, because its backup would win without a word, and what it goes on counting."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.data import Augmentation
from keras_fracture.errors import TrainingError
from keras_fracture.training import augmentation, identity, losses, running
from keras_fracture.training.adversarial import AdversarialModel
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


def test_a_resumed_training_whose_losses_weigh_otherwise_is_refused(tmp_path):
    def model(weight):
        own = _classifier("sgd")
        own.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True), loss_weights=weight)
        return own

    _resumable(tmp_path, 1, None, model([np.float32(2)]))
    _resumable(tmp_path, 2, None, model((2,)))
    with pytest.raises(TrainingError, match=r"other settings of loss_weights.*\[2.0\].*Received: .*0.5"):
        _resumable(tmp_path, 3, None, model([0.5]))


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a training of one epoch."""
    folder = tmp_path_factory.mktemp("one")
    _train(folder)
    return folder


def _train(folder, epochs=1, images=None, labels=None, start=2, callbacks=(), dropout=0.5, **options):
    """The model and its history; `start` is the seed of its weights."""
    images = killed_run.images(32) if images is None else images
    labels = np.arange(24) % 2 if labels is None else labels
    keras.utils.set_random_seed(start)
    model = models.create("compact_cnn", image_size=32, dropout=(dropout, dropout))
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))

    def stream(first):
        given = {"batch_size": 8, "seed": 1} | options
        dataset, steps = running.make_train_dataset(images, labels, first_epoch=first, **given)
        return dataset.map(lambda images, labels: (images, labels)), steps  # as where a model has two outputs

    return model, running.fit(model, stream, epochs, folder, callbacks=callbacks, verbose=0)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"images": 255 - killed_run.images(32)}, "other grey levels"),
        ({"images": killed_run.images(32)[::-1].copy()}, "other grey levels"),
        ({"labels": np.arange(24) // 12}, "other labels"),
        ({"seed": 3}, "other seed: .*Expected: seed 1. Received: seed 3"),
        ({"augment": Augmentation()}, "other augment"),
        ({"dropout": 0.2}, "another model.*dropout"),
    ],
)
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_folder_gives_another_training_nothing(folder, epochs, other, words):
    """Also where all epochs are done: its history and weights would be taken for the other one's."""
    with pytest.raises(TrainingError, match=words):
        _train(folder, epochs, **other)


def test_what_two_machines_decode_is_one_training(folder):
    """A JPEG's levels may differ by one here and there."""
    images = killed_run.images(32)
    images[:, 0] ^= 1
    assert len(_train(folder, images=images)[1]) == 1


def test_other_first_weights_are_said_and_those_of_the_backup_taken(folder, caplog):
    model, _ = _train(folder)
    assert not caplog.records
    other, _ = _train(folder, start=5)
    assert "with other weights than the training in" in caplog.text
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_a_training_of_an_earlier_version_goes_on_with_what_it_recorded(tmp_path):
    _train(tmp_path)
    path = next((tmp_path / "backup").glob("*.json"))
    facts = json.loads(path.read_text())
    del facts["settings"]["trained"], facts["settings"]["regularizers"]
    path.write_text(
        json.dumps({name: facts[name] for name in ("settings", "optimizers", "counted", "steps")})
    )
    assert _train(tmp_path, 2, seed=3)[1]["epoch"].tolist() == [1, 2]
    with pytest.raises(TrainingError, match=r"Expected: seed 3\. Received: seed 1"):
        _train(tmp_path, 3, seed=1)


def test_a_stream_is_made_once_and_not_read_before_training(tmp_path, monkeypatch):
    made, read = [], []

    def once():
        read.append(True)
        yield np.zeros((4, 16, 16, 1), "float32"), np.zeros(4)

    def stream(first):
        made.append(first)
        spec = tf.TensorSpec((4, 16, 16, 1)), tf.TensorSpec((4,))
        return tf.data.Dataset.from_generator(once, output_signature=spec), 2

    def train(*given, **further):
        raise InterruptedError

    monkeypatch.setattr(running, "_train", train)
    with pytest.raises(InterruptedError):
        running.fit(_classifier("adam"), stream, 1, tmp_path, verbose=0)
    assert made == [0] and not read


def test_a_training_that_was_stopped_early_is_over(tmp_path, caplog):
    def stopping(patience):
        return [keras.callbacks.EarlyStopping("loss", patience=patience, min_delta=9.0)]

    model, history = _train(tmp_path, 6, callbacks=stopping(1))
    again, same = _train(tmp_path, 6, callbacks=stopping(1))
    assert history["epoch"].tolist() == same["epoch"].tolist() == [1, 2]
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    assert "nothing is left to train" in caplog.text
    assert len(_train(tmp_path, 6, callbacks=stopping(2))[1]) == 3  # more patience goes on


def _same(one, other):
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def _averaging(scaled=False):
    optimizer = keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5)
    return keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer


@pytest.mark.parametrize("scaled", [False, True])
def test_a_finished_training_gives_the_average_of_its_weights_again(tmp_path, caplog, scaled):
    """The backup holds the last weights, which the end of Keras's `fit` puts the average in the place of."""
    model = _resumable(tmp_path, 2, _averaging(scaled))
    _same(_resumable(tmp_path, 2, _averaging(scaled)), model)
    average = getattr(model.optimizer, "inner_optimizer", model.optimizer)._model_variables_moving_average
    np.testing.assert_array_equal(model.weights[0].numpy(), average[0].numpy())
    last = _classifier(_averaging(scaled))
    last.load_weights(tmp_path / "backup" / "epoch-00002.weights.h5")
    assert np.abs(last.get_weights()[0] - model.get_weights()[0]).max() > 1e-4
    further = _resumable(tmp_path, 3, None, model=model)
    assert "with other weights" not in caplog.text  # those are the average that it was left with
    _same(further, _resumable(tmp_path / "whole", 3, _averaging(scaled)))


def test_weights_swapped_for_their_average_are_swapped_back_by_a_resumed_training(tmp_path):
    """Of the last epoch `SwapEMAWeights` kept the average alone, and a training went on with that."""

    def train(folder, epochs, model=None, further=()):
        callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True), *further]
        return _resumable(tmp_path / folder, epochs, _averaging(), model, callbacks=callbacks)

    def stop(epoch, logs):
        stopping.model.stop_training = epoch == 1

    whole = train("whole", 4)
    average = whole.optimizer._model_variables_moving_average[0]
    np.testing.assert_array_equal(whole.weights[0].numpy(), average.numpy())
    begun = train("cut", 2)
    _same(train("cut", 2), begun)
    stopping = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    stopped = train("stopped", 4, further=[stopping])
    _same(stopped, begun)  # where Keras's `fit` would have left the last weights
    for folder, model in (("cut", None), ("stopped", stopped), ("whole", None)):
        _same(train(folder, 4, model), whole)
    _same(train("cut", 4), whole)


def test_fewer_epochs_than_a_folder_holds_are_said(tmp_path, caplog):
    _train(tmp_path, 2)
    assert not caplog.records
    assert len(_train(tmp_path, 1)[1]) == 2
    assert "history of 2 epochs: name another folder to train anew. Received: epochs 1" in caplog.text


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_backup_whose_history_is_gone_is_refused(tmp_path, epochs):
    """The best epoch would be chosen among the further ones alone."""
    _train(tmp_path)
    (tmp_path / "history.csv").unlink()
    with pytest.raises(TrainingError, match=r"backup of epoch 1 but no history\.csv"):
        _train(tmp_path, epochs)


class Margin(losses.Hinge):
    """A loss of one's own, whose weight a callback may move while it trains."""

    def __init__(self, weight=1.0):
        self._weight = weight

    def generator(self, fake):
        return self._weight * super().generator(fake)


def _gan(folder, epochs, loss=None, augment=None, gan=None, callbacks=()):
    if gan is None:
        gan = killed_run.model()
        gan = AdversarialModel(gan.generator, gan.discriminator, seed=7, augment=augment)
        optimizers = {name: keras.optimizers.Adam(1e-3) for name in ("g_optimizer", "d_optimizer")}
        gan.compile(**optimizers, loss=loss)
    return gan, running.fit(gan, killed_run.stream, epochs, folder, callbacks=callbacks, verbose=0)


@pytest.fixture
def eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_a_gan_of_another_loss_or_augmentation_is_not_resumed(tmp_path, eager):
    _gan(tmp_path, 1, Margin())
    for loss in (None, Margin(2.0), type("Margin", (Margin,), {"gradient_penalty": 3.0})()):
        for epochs in (1, 2):
            with pytest.raises(
                TrainingError, match="other settings of adversarial_loss: name another folder"
            ):
                _gan(tmp_path, epochs, loss)
    for augment in (augmentation.DiffAugment(), type("Own", (augmentation.DiffAugment,), {})()):
        with pytest.raises(TrainingError, match=r"with another model.*Expected: augment null"):
            _gan(tmp_path, 1, Margin(), augment)


def test_a_loss_that_a_callback_changes_goes_on_in_this_process_and_in_the_next(tmp_path, eager):
    def halve(epoch, logs):
        gan.adversarial_loss._weight /= 2

    gan, _ = _gan(tmp_path / "none", 1, Margin())
    halving = [keras.callbacks.LambdaCallback(on_epoch_end=halve)]
    _gan(tmp_path, 1, gan=gan, callbacks=halving)
    assert len(_gan(tmp_path, 2, gan=gan, callbacks=halving)[1]) == 2
    assert gan.adversarial_loss._weight == 0.25
    fresh, _ = _gan(tmp_path / "fresh", 1, Margin())  # as another process makes it
    assert len(_gan(tmp_path, 2, gan=fresh, callbacks=halving)[1]) == 2
    fresh.adversarial_loss._weight = 0.75
    with pytest.raises(TrainingError, match="other settings of adversarial_loss"):
        _gan(tmp_path, 3, gan=fresh, callbacks=halving)


def test_a_gan_of_a_version_that_did_not_record_its_loss_goes_on(tmp_path, eager):
    _gan(tmp_path, 1)
    path = next((tmp_path / "backup").glob("*.json"))
    facts = json.loads(path.read_text())
    assert facts.pop("adversarial_loss") == facts["settings"].pop("adversarial_loss") == {
        "class": "NonSaturating", "factor": 1.0, "gradient_penalty": 0.0, "smoothing": 0.0,
    }  # fmt: skip
    path.write_text(json.dumps(facts))
    assert len(_gan(tmp_path, 1, "hinge")[1]) == 1
    assert len(_gan(tmp_path, 2, "hinge")[1]) == 2
    with pytest.raises(TrainingError, match="other settings of adversarial_loss"):
        _gan(tmp_path, 2)


def test_what_is_an_object_for_one_model_and_none_for_another_tells_them_apart():
    none, one = {"augment": None, "seed": 1}, {"augment.class_name": "DiffAugment", "seed": 1}
    assert identity.other_model(none, one) == identity.other_model(one, none) == ["augment"]
    assert identity.other_model(none, none) == identity.other_model(none, {"seed": 1}) == []
