import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture.training.optimizers import Adam

SHAPES = (3, 4), (7,), ()


def steps(optimizer, count=5):
    """Weights and state after some random gradients, in a graph."""
    rng = np.random.default_rng(0)
    weights = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in SHAPES]
    optimizer.build(weights)
    apply = tf.function(lambda gradients: optimizer.apply(gradients, weights))
    for _ in range(count):
        apply([tf.constant(rng.normal(size=shape), "float32") for shape in SHAPES])
    return [np.asarray(state) for state in (*weights, *optimizer.variables)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
        {"amsgrad": True},
        {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5, staircase=True)},
        {"clipnorm": 0.5, "weight_decay": 0.01},
    ],
)
def test_is_keras_adam_in_one_kernel(options):
    options = {"learning_rate": 0.05} | options
    for ours, theirs in zip(steps(Adam(**options)), steps(keras.optimizers.Adam(**options)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=6e-5, atol=3e-6)


def test_state_of_one_goes_into_the_other():
    ours, theirs = Adam(0.05), keras.optimizers.Adam(0.05)
    expected = steps(ours)
    theirs.build([keras.Variable(np.zeros(shape, "float32")) for shape in SHAPES])
    theirs.set_weights([np.asarray(each) for each in ours.variables])
    for given, state in zip(theirs.variables, expected[len(SHAPES) :], strict=True):
        np.testing.assert_array_equal(given, state)


def test_sparse_gradients_move_their_rows_alone():
    table = keras.Variable(np.ones((4, 2), "float32"))
    optimizer = Adam(0.1)
    optimizer.build([table])
    optimizer.apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([2]), tf.constant([4, 2]))], [table])
    np.testing.assert_allclose(np.asarray(table)[2], 0.9, rtol=1e-5)
    np.testing.assert_array_equal(np.delete(np.asarray(table), 2, 0), 1)


def test_config_round_trip():
    restored = keras.optimizers.deserialize(keras.optimizers.serialize(Adam(0.01, 0.5, 0.99, epsilon=1e-6)))
    assert type(restored) is Adam
    assert (restored.beta_1, restored.beta_2, restored.epsilon) == (0.5, 0.99, 1e-6)
