import keras
import numpy as np
import pytest

from keras_fracture import models, training
from keras_fracture.errors import TrainingError


@pytest.mark.parametrize("optimizer", [training.sgd, training.adam, training.adamw])
def test_cosine_falls_from_the_rate_to_zero(optimizer):
    rate = optimizer(0.1, steps=100).learning_rate
    schedule = optimizer(0.1, steps=100)._learning_rate
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


def test_a_head_for_body_parts_shares_the_features_and_leaves_the_logits():
    classifier = models.create("resnet18", num_classes=2, width=4, image_size=32, channels=1)
    both = training.WithBodyPart(classifier, 3)
    images = np.random.default_rng(0).random((4, 32, 32, 1), "float32")
    outputs = both(images)
    np.testing.assert_allclose(outputs["finding"], classifier(images), atol=1e-6)
    pooled = np.asarray(classifier.features(images)).mean((1, 2))
    expected = pooled @ np.asarray(both.head.kernel) + np.asarray(both.head.bias)
    np.testing.assert_allclose(outputs["body_part"], expected, rtol=1e-4, atol=1e-5)

    again = training.WithBodyPart.from_config(both.get_config())
    again.set_weights(both.get_weights())
    np.testing.assert_allclose(again(images)["body_part"], outputs["body_part"], atol=1e-6)

    # Taught body parts alone, the first kernel of the classifier moves.
    before = np.array(classifier.trainable_variables[0])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    both.compile(keras.optimizers.SGD(0.1), {"finding": None, "body_part": loss})
    both.train_on_batch(images, {"finding": np.zeros((4, 2)), "body_part": np.eye(3)[[0, 1, 2, 0]]})
    assert np.abs(np.asarray(classifier.trainable_variables[0]) - before).max() > 1e-4
