import keras
import numpy as np
import pytest

from keras_fracture import models, training
from keras_fracture.data import Augmentation
from keras_fracture.training import precision


@pytest.mark.parametrize("chosen", ["float32", "mixed_float16"])
def test_a_restarted_model_trains_as_a_new_one_without_tracing_again(chosen):
    with precision.using(chosen):
        _restart_beside_a_new_model()


def _restart_beside_a_new_model():
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 1), dtype=np.uint8)
    labels = np.arange(12) % 2

    def compiled(seed):
        keras.utils.set_random_seed(seed)
        model = models.create("compact_cnn", image_size=32)
        model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
        return model

    def fit(model):
        training.fit_briefly(model, images, labels, 2, batch_size=4, seed=3, augment=Augmentation(seed=1))

    new, used = compiled(1), compiled(0)
    for model in (new, used):
        fit(model)
    traced = used.train_function
    training.reset_weights(used, 1)
    assert used.optimizer.iterations == 0
    fit(used)
    assert used.train_function is traced
    states = [[*model.variables, *model.optimizer.variables] for model in (new, used)]
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


def small(width=4):
    return models.create("resnet18", num_classes=2, width=width, image_size=32, channels=1)


def test_a_restart_draws_the_student_anew_and_leaves_its_teacher():
    both = training.WithTeacher(small(), small(6))
    both.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    taught = both.teacher.get_weights()
    training.reset_weights(both, 1)
    for now, then in zip(both.teacher.get_weights(), taught, strict=True):
        np.testing.assert_array_equal(now, then)
    keras.utils.set_random_seed(1)
    for now, drawn in zip(both.classifier.get_weights(), small().get_weights(), strict=True):
        np.testing.assert_array_equal(now, drawn)


@pytest.mark.parametrize("chosen", ["float32", "mixed_float16"])
def test_a_restart_starts_from_the_rate_that_training_began_with(chosen, caplog):
    with precision.using(chosen):
        model = small()
        model.compile(
            keras.optimizers.SGD(0.25), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        model.train_on_batch(np.zeros((2, 32, 32, 1), "float32"), np.arange(2))
        model.optimizer.learning_rate = 1e-3  # as ReduceLROnPlateau does
        training.reset_weights(model, 1)
        assert float(model.optimizer.learning_rate) == 0.25 and not caplog.records
        model.optimizer.learning_rate = 0.125  # chosen for the next training
        training.reset_weights(model, 2)
        assert float(model.optimizer.learning_rate) == 0.125


def test_a_restart_of_a_schedule_starts_it_again():
    model = small()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(training.sgd(0.25, 4), loss)
    model.train_on_batch(np.zeros((2, 32, 32, 1), "float32"), np.arange(2))
    assert float(model.optimizer.learning_rate) < 0.25
    training.reset_weights(model, 1)
    assert float(model.optimizer.learning_rate) == 0.25


def test_a_rate_that_is_not_known_is_warned_of_once_a_model_has_trained(caplog):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="only")], name="foreign")
    model.compile(keras.optimizers.SGD(0.25), "mse")
    training.reset_weights(model, 1)
    assert not caplog.records
    model.train_on_batch(np.zeros((2, 2)), np.zeros((2, 1)))
    training.reset_weights(model, 1)
    (said,) = caplog.messages
    assert "with which foreign began is not known" in said and said.endswith("Received: 0.25")
