import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models, training
from keras_fracture.errors import ModelError, TrainingError


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
    with pytest.raises(TrainingError, match=r"one-hot rows take labels.argmax\(1\). Received: \(4, 2\)"):
        training.class_weights([[1, 0], [1, 0], [1, 0], [0, 1]])


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


def taught(weight=3.0):
    """A small ResNet with another one, of other width, as its teacher; and images."""
    one, teacher = (
        models.create("resnet18", num_classes=2, width=width, image_size=64, channels=1) for width in (4, 6)
    )
    images = np.random.default_rng(0).random((4, 64, 64, 1), "float32")
    return training.WithTeacher(one, teacher, weight), images


def test_a_teacher_adds_what_its_maps_leave_unexplained_and_changes_no_logit():
    both, images = taught()
    np.testing.assert_allclose(both(images), both.classifier(images), atol=1e-6)
    ours, theirs = (np.asarray(one.features(images)) for one in (both.classifier, both.teacher))
    kernel, bias = map(np.asarray, both.projection.get_weights())
    errors = ours @ kernel[0, 0] + bias - theirs
    share = (errors**2).mean() / theirs.var(axis=(0, 1, 2)).mean()
    assert theirs.shape == (4, 2, 2, 48) and float(sum(both.losses)) == pytest.approx(3 * share, rel=1e-4)
    again = training.WithTeacher.from_config(both.get_config())
    again.set_weights(both.get_weights())
    again(images)
    assert float(sum(again.losses)) == pytest.approx(3 * share, rel=1e-4)


def test_a_network_comes_to_explain_its_teacher_which_stays_as_it_is():
    both, images = taught()
    before = [np.array(one) for one in both.teacher.get_weights()]
    both.compile(keras.optimizers.SGD(0.02), lambda labels, logits: 0.0 * keras.ops.sum(logits))
    told = [
        both.train_on_batch(images, np.zeros((4, 2), "float32"), return_dict=True)["teacher_loss"]
        for _ in range(12)
    ]
    # Keras shows the mean of all steps so far.
    assert 12 * told[-1] - 11 * told[-2] < 0.5 * told[0]
    for now, then in zip(both.teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"image_size": 32}, r"Received: \(32, 1, "),
        ({"channels": 3}, r"Received: \(64, 3, "),
    ],
)
def test_a_teacher_of_other_images_is_refused(other, message):
    sizes = {"num_classes": 2, "width": 4, "image_size": 64, "channels": 1}
    one, teacher = models.create("resnet18", **sizes), models.create("resnet18", **sizes | other)
    with pytest.raises(ModelError, match=message):
        training.WithTeacher(one, teacher)


def test_a_teacher_whose_maps_are_of_another_size_is_refused():
    one = models.create("resnet18", num_classes=2, width=4, image_size=64, channels=1)
    with pytest.raises(ModelError, match=r"size, \(2, 2\). Received: \(8, 8\)"):
        training.WithTeacher(one, models.create("drn_d_22", num_classes=2, image_size=64, channels=1))


@pytest.mark.parametrize("chosen", ["float32", "mixed_float16"])
def test_a_rate_that_falls_to_zero_before_the_end_is_warned_of_once(chosen, caplog, tmp_path):
    images, labels = np.zeros((8, 32, 32, 1), np.uint8), np.arange(8) % 2
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    scaled = np.linspace(0, 1, 8 * 32 * 32, dtype="float32").reshape(8, 32, 32, 1)
    with training.precision.using(chosen):
        model = models.create("compact_cnn", image_size=32)
    pixels = tf.data.Dataset.from_tensor_slices((scaled, labels)).batch(4)

    ways = (
        lambda: training.fit_briefly(model, images, labels, 2, batch_size=4),
        lambda: model.fit(scaled, labels, 4, 2, verbose=0),
        lambda: model.fit(pixels, epochs=2, verbose=0),
        lambda: model.fit(pixels.repeat(), epochs=2, steps_per_epoch=2, verbose=0),
    )

    def warnings(ways, steps, warmup):
        """Of two epochs of two steps, each another way."""
        for way in ways:
            model.compile(training.adam(1e-3, steps, warmup=warmup), loss)
            caplog.clear()
            way()
            yield [one for one in caplog.messages if "learning rate" in one]

    for (said,) in warnings(ways if chosen == "float32" else ways[:2], 2, 1):
        assert "falls to 0 at step 2" in said and "step 4" in said
        assert said.endswith("Received: 2 epochs of 2 steps")
    assert list(warnings(ways[:1], 4, 1)) == [[]]
    # Behind those that went before; float16 skips steps that overflow.
    training.fit_briefly(model, images, labels, 3, batch_size=4)
    assert "falls to 0 at step 4" in caplog.messages[-1]


def test_a_network_of_another_package_is_warned_of_its_rate_too(caplog):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.pixel_range, model.channels = (0, 1), 1
    images = np.zeros((8, 8, 8, 1), np.uint8)
    for steps, said in ((4, []), (2, ["falls to 0 at step 2"])):
        model.compile(training.sgd(0.1, steps), "mse")
        training.fit_briefly(model, images, np.zeros(8), 2, batch_size=4)
        assert [one for one in said if one in caplog.text] == said and len(caplog.messages) == len(said)
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 2, alpha=0.1)), "mse")
    training.fit_briefly(model, images, np.zeros(8), 2, batch_size=4)
    assert len(caplog.messages) == 1
