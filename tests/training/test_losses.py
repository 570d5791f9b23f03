"""The adversarial losses and gradient penalties against their closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_fracture import models
from keras_fracture.errors import TrainingError
from keras_fracture.training import losses

REAL, FAKE = np.random.default_rng(1).normal(0, 2, (2, 7, 1))


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator"),
    [
        (
            losses.Hinge(),
            np.clip(1 - REAL, 0, None).mean() + np.clip(1 + FAKE, 0, None).mean(),
            -FAKE.mean(),
        ),
        (
            losses.LeastSquares(),
            0.5 * ((REAL - 1) ** 2).mean() + 0.5 * (FAKE**2).mean(),
            0.5 * ((FAKE - 1) ** 2).mean(),
        ),
        (losses.Wasserstein(), FAKE.mean() - REAL.mean(), -FAKE.mean()),
        (losses.get("hinge"), np.clip(1 - REAL, 0, None).mean() + np.clip(1 + FAKE, 0, None).mean(), -FAKE.mean()),
    ],
    ids=["hinge", "least_squares", "wasserstein", "by name"],
)  # fmt: skip
def test_losses_are_their_closed_form(loss, discriminator, generator):
    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(discriminator, rel=1e-5)
    assert float(loss.generator(FAKE)) == pytest.approx(generator, rel=1e-5)


@pytest.mark.parametrize("name", ["non_saturating", "hinge", "least_squares", "wasserstein"])
def test_every_loss_falls_as_each_side_gets_better(name):
    loss = losses.get(name)
    worse, better = np.full((3, 1), -0.5), np.full((3, 1), 0.5)
    assert loss.discriminator(better, worse) < loss.discriminator(worse, better)
    assert loss.generator(better) < loss.generator(worse)


def test_half_precision_logits_are_judged_in_float32():
    half = tf.constant([[300.0], [-200.0]], "float16")  # squares to infinity in float16
    for name in ("non_saturating", "hinge", "least_squares", "wasserstein"):
        loss = losses.get(name)
        for value in (loss.discriminator(half, half), loss.generator(half)):
            assert value.dtype == tf.float32 and np.isfinite(float(value))


def test_lookup_passes_options_and_refuses_what_is_not_there():
    assert losses.get("wasserstein", gradient_penalty=2.0).gradient_penalty == 2.0
    assert losses.get("wasserstein").gradient_penalty == 10.0 and losses.get("hinge").gradient_penalty == 0.0
    for call, message in (
        (lambda: losses.get("relativistic"), r"non_saturating, hinge, .* Received: 'relativistic'"),
        (lambda: losses.get("hinge", margin=2), r"hinge cannot be built so: .* Received: {'margin': 2}"),
        (lambda: losses.get("wasserstein", gradient_penalty=-1.0), r"0 or more. Received: -1.0"),
    ):
        with pytest.raises(TrainingError, match=message):
            call()


class Own(losses.Hinge):
    """A loss of one's own, whose generator's is what it is given."""

    def __init__(self, of_fake, penalty=0.0):
        self.of_fake, self.gradient_penalty = of_fake, penalty

    def generator(self, fake):
        return self.of_fake(fake)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Own(lambda fake: fake**2), r"Own.generator must return a scalar.*Received: shape \(2, 1\)"),
        (Own(lambda fake: float(fake[0, 0])), "Own.generator must return a float32 tensor.*Received: float"),
        (Own(lambda fake: None), "Received: NoneType"),
        (Own(tf.reduce_mean, -10.0), "gradient_penalty of Own must be 0 or more. Received: -10.0"),
        (Own(tf.reduce_mean, float("nan")), "Received: nan"),
        (losses.Hinge, r"write loss=Hinge\(\). Received: a class"),
        (keras.losses.BinaryCrossentropy(), "subclass of AdversarialLoss.*Received: BinaryCrossentropy"),
        (keras.losses.hinge, "subclass of AdversarialLoss.*Received: hinge"),
    ],
)
def test_losses_that_would_train_in_another_way_are_refused_in_one_line(loss, words):
    with pytest.raises(TrainingError, match=f"^.*{words}.*$"):
        losses.checked(loss)


def test_a_loss_is_tried_on_maps_of_logits_where_models_have_them():
    loss = Own(lambda fake: tf.reduce_mean(fake, (0, 3)))
    with pytest.raises(TrainingError, match=r"shape \(4, 4\) of 2 logits"):
        losses.checked(loss, (2, 4, 4, 1))


def test_losses_of_ones_own_are_taken_as_they_are():
    drawn = keras.random.SeedGenerator(3)
    before = np.array(drawn.state)

    def fails(fake):
        raise RuntimeError("called outside of a replica")

    for of_fake in (
        tf.reduce_mean,
        lambda fake: tf.reduce_mean(fake, 0),  # one number, if in an array
        lambda fake: tf.reduce_mean(fake) * keras.random.uniform((), seed=drawn),
        fails,
    ):
        loss = Own(of_fake, 10.0)
        assert losses.checked(loss) is loss
    np.testing.assert_array_equal(drawn.state, before)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(2)
    return [tf.constant(rng.normal(size=(5, 4, 3, 2)), "float32") for _ in range(2)]


def test_penalties_of_a_linear_discriminator_are_known(images):
    real, fake = images
    weight = tf.Variable(np.random.default_rng(3).normal(size=(4, 3, 2)).astype("float32"))
    norm = float(np.linalg.norm(weight.numpy()))

    def linear(x):
        return tf.reduce_sum(x * weight, (1, 2, 3))[:, None]

    with tf.GradientTape(persistent=True) as tape:
        penalty = losses.gradient_penalty(linear, real, fake, keras.random.SeedGenerator(0))
        r1 = losses.r1_penalty(linear, real)
    assert float(penalty) == pytest.approx((norm - 1) ** 2, rel=1e-5)
    assert float(r1) == pytest.approx(norm**2 / 2, rel=1e-5)
    expected = 2 * (norm - 1) / norm * weight.numpy()
    np.testing.assert_allclose(tape.gradient(penalty, weight), expected, rtol=1e-4)
    np.testing.assert_allclose(tape.gradient(r1, weight), weight.numpy(), rtol=1e-5)


def test_penalties_of_a_quadratic_discriminator_are_known(images):
    """For `a |x|^2 / 2` the gradient is `a x`: the penalties need the very images, and a's derivative."""
    real, fake = images
    a = tf.Variable(1.5)

    def quadratic(x):
        return a * tf.reduce_sum(x**2, (1, 2, 3))[:, None] / 2

    share = np.asarray(keras.random.uniform((5, 1, 1, 1), seed=keras.random.SeedGenerator(4)))
    between = share * real.numpy() + (1 - share) * fake.numpy()
    norms = np.sqrt((between**2).sum((1, 2, 3)))
    squares = (real.numpy() ** 2).sum((1, 2, 3))
    with tf.GradientTape(persistent=True) as tape:
        penalty = losses.gradient_penalty(quadratic, real, fake, keras.random.SeedGenerator(4))
        r1 = losses.r1_penalty(quadratic, real)
    assert share.std() > 0.1
    assert float(penalty) == pytest.approx(((1.5 * norms - 1) ** 2).mean(), rel=1e-5)
    assert float(r1) == pytest.approx(1.5**2 * squares.mean() / 2, rel=1e-5)
    assert float(tape.gradient(penalty, a)) == pytest.approx((2 * norms * (1.5 * norms - 1)).mean(), rel=1e-4)
    assert float(tape.gradient(r1, a)) == pytest.approx(1.5 * squares.mean(), rel=1e-5)


def test_a_flat_discriminator_has_a_finite_penalty(images):
    weight = tf.Variable(0.0)
    with tf.GradientTape() as tape:
        penalty = losses.gradient_penalty(
            lambda x: weight * tf.reduce_sum(x, (1, 2, 3))[:, None], *images, keras.random.SeedGenerator(0)
        )
    assert float(penalty) == pytest.approx(1.0, abs=1e-4) and np.isfinite(
        float(tape.gradient(penalty, weight))
    )


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_second_order_gradients_reach_the_dcgans_weights(spectral_norm):
    """Through strided convolutions and the fused BatchNormalization; checked by differences."""
    keras.utils.set_random_seed(0)
    model = models.create(
        "dcgan_discriminator", image_size=32, width=4, channels=1, spectral_norm=spectral_norm
    )
    for weight in model.trainable_variables:
        if weight.name == "kernel":
            weight.assign(weight * 5)
    x = tf.constant(np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 1)), "float32")

    def penalty():
        with tf.GradientTape() as tape:
            value = losses.r1_penalty(lambda images: model(images, training=not spectral_norm), x)
        return value, tape.gradient(value, [weight.value for weight in model.trainable_variables])

    _, gradients = penalty()
    assert all(np.abs(gradient).max() > 0 for gradient in gradients if gradient.shape != (4,))
    for number in (0, 2, len(gradients) - 1):
        weight, direction = model.trainable_variables[number], gradients[number].numpy()
        start, step = weight.numpy(), 1e-3 / np.linalg.norm(direction)
        values = []
        for sign in (-1, 1):
            weight.assign(start + sign * step * direction)
            values.append(float(penalty()[0]))
        weight.assign(start)
        slope = (values[1] - values[0]) / (2 * step)
        assert slope == pytest.approx((direction**2).sum(), rel=0.02)
