import keras
import numpy as np
import pytest

from keras_fracture import models, training
from keras_fracture.errors import TrainingError


def test_cosine_falls_from_the_rate_to_zero():
    rate = training.sgd(0.1, steps=100).learning_rate
    schedule = training.sgd(0.1, steps=100)._learning_rate
    assert float(rate) == pytest.approx(0.1)
    assert float(schedule(50)) == pytest.approx(0.05)
    assert float(schedule(100)) == pytest.approx(0.0, abs=1e-8)


def test_warmup_grows_linearly_and_then_falls():
    schedule = training.sgd(0.2, steps=100, warmup=20)._learning_rate
    assert [float(schedule(step)) for step in (0, 10, 20)] == pytest.approx([0.0, 0.1, 0.2])
    assert float(schedule(60)) == pytest.approx(0.1)
    assert float(schedule(100)) == pytest.approx(0.0, abs=1e-8)
    with pytest.raises(TrainingError, match="warmup"):
        training.sgd(0.2, steps=10, warmup=10)


def test_l2_is_half_the_squared_kernels_and_nothing_else():
    model = models.create("compact_cnn", image_size=32)
    training.add_l2(model, 0.1)
    squares = sum(float((np.asarray(v) ** 2).sum()) for v in model.trainable_variables if v.name == "kernel")
    assert float(sum(model.losses)) == pytest.approx(0.05 * squares, rel=1e-5)
    assert not any(v.regularizer for v in model.trainable_variables if v.name in ("gamma", "beta", "bias"))


def test_l2_shrinks_kernels_in_a_step():
    """Where the loss is flat, an SGD step is `kernel * (1 - rate * decay)`: PyTorch's weight decay."""
    model = models.create("compact_cnn", image_size=32, dropout=(0.0, 0.0))
    training.add_l2(model, 0.1)
    model.compile(keras.optimizers.SGD(0.5), lambda labels, logits: 0.0 * keras.ops.sum(logits))
    before = [np.array(v) for v in model.trainable_variables]
    model.train_on_batch(np.zeros((2, 32, 32, 1), "float32"), np.zeros((2, 1), "float32"))
    for variable, old in zip(model.trainable_variables, before, strict=True):
        factor = 0.95 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(np.asarray(variable), factor * old, rtol=1e-5, atol=1e-7)


def test_class_weights_let_both_classes_count_alike():
    weights = training.class_weights([0, 0, 0, 1])
    assert weights == pytest.approx({0: 4 / 6, 1: 2.0})
    with pytest.raises(TrainingError, match="need both classes"):
        training.class_weights([1, 1])
