"""Adversarial losses, and the penalties on a discriminator's gradient that go with them."""

import abc

import keras
import tensorflow as tf
from keras import ops

from keras_fracture.errors import TrainingError, meant
from keras_fracture.training import replicas


class AdversarialLoss(abc.ABC):
    """A pair of losses on logits `(batch, 1)`, each a float32 scalar; subclass it for one of your own.

        gan.compile(g_optimizer=..., d_optimizer=..., loss=Mine())

    Attributes:
        gradient_penalty: Weight of `gradient_penalty()` in the discriminator's loss; 0 for none.
    """

    gradient_penalty = 0.0

    @abc.abstractmethod
    def discriminator(self, real, fake):
        """Returns the discriminator's loss of logits on real and on generated images."""

    @abc.abstractmethod
    def generator(self, fake):
        """Returns the generator's loss of logits on generated images."""


class NonSaturating(AdversarialLoss):
    """Binary cross-entropy on logits, with the generator's labels flipped (Goodfellow et al. 2014, Section 3).

    Args:
        reduction: "sum" adds the discriminator's two terms, "mean" averages them.
        smoothing: The label of real images is `1 - smoothing`: 0 or more, and below a half.

    Raises:
        TrainingError: Another reduction, or such labels would call real images generated ones.
    """

    def __init__(self, reduction="sum", smoothing=0.0):
        factors = {"sum": 1.0, "mean": 0.5}
        if reduction not in factors:
            raise TrainingError(f"reduction must be sum or mean. Received: {reduction!r}")
        if not 0 <= smoothing < 0.5:
            raise TrainingError(
                "smoothing must be 0 or more and below 0.5: the label of real images is 1 - smoothing, such as "
                f"0.9 of 0.1. Received: {smoothing}"
            )
        self.factor = factors[reduction]
        self.smoothing = smoothing

    def discriminator(self, real, fake):
        real, fake = ops.cast(real, "float32"), ops.cast(fake, "float32")
        on_real = (1 - self.smoothing) * ops.softplus(-real) + self.smoothing * ops.softplus(real)
        return self.factor * (ops.mean(on_real) + ops.mean(ops.softplus(fake)))

    def generator(self, fake):
        return ops.mean(ops.softplus(-ops.cast(fake, "float32")))


class Hinge(AdversarialLoss):
    """Logits beyond 1 on the right side cost nothing (Lim and Ye 2017; Miyato et al. 2018, Equations 16, 17)."""

    def discriminator(self, real, fake):
        real, fake = ops.cast(real, "float32"), ops.cast(fake, "float32")
        return ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + fake))

    def generator(self, fake):
        return -ops.mean(ops.cast(fake, "float32"))


class LeastSquares(AdversarialLoss):
    """Half the squared distance of logits to 1 for real and 0 for generated images (Mao et al. 2017, Equation 9).

    Args:
        factor: Of all terms, 0.5 in the paper; much released code, that of MUNIT too, has 1.
    """

    def __init__(self, factor=0.5):
        self.factor = factor

    def discriminator(self, real, fake):
        real, fake = ops.cast(real, "float32"), ops.cast(fake, "float32")
        return self.factor * (ops.mean((real - 1) ** 2) + ops.mean(fake**2))

    def generator(self, fake):
        return self.factor * ops.mean((ops.cast(fake, "float32") - 1) ** 2)


class Wasserstein(AdversarialLoss):
    """The difference of mean logits, with a gradient penalty (Gulrajani et al. 2017, Equation 3).

    Args:
        gradient_penalty: Its weight, 0 or more.
    """

    def __init__(self, gradient_penalty=10.0):
        if gradient_penalty < 0:
            raise TrainingError(f"gradient_penalty must be 0 or more. Received: {gradient_penalty}")
        self.gradient_penalty = gradient_penalty

    def discriminator(self, real, fake):
        return ops.mean(ops.cast(fake, "float32")) - ops.mean(ops.cast(real, "float32"))

    def generator(self, fake):
        return -ops.mean(ops.cast(fake, "float32"))


_LOSSES = {
    "non_saturating": NonSaturating,
    "hinge": Hinge,
    "least_squares": LeastSquares,
    "wasserstein": Wasserstein,
}


def get(name, **options):
    """Builds a loss by name: non_saturating, hinge, least_squares or wasserstein.

    Args:
        name: The name.
        **options: Constructor arguments of the loss.

    Raises:
        TrainingError: No such loss, or it does not take these options.
    """
    if name not in _LOSSES:
        raise TrainingError(
            f"No such loss. Choose one of {', '.join(_LOSSES)}. {meant(name, _LOSSES)}Received: {name!r}"
        )
    try:
        return _LOSSES[name](**options)
    except TypeError as error:
        raise TrainingError(f"{name} cannot be built so: {error}. Received: {options}") from error


def checked(loss, shape=(2, 1)):
    """An adversarial loss as models train with it, of a name too; one of your own is tried on two logits.

    Args:
        loss: A name for `get`, or an object with the methods and the attribute of an `AdversarialLoss`.
        shape: Of the discriminator's logits of two images.

    Raises:
        TrainingError: It is no such object, its penalty has a negative weight, or a method returns no scalar tensor.
    """
    if isinstance(loss, str):
        return get(loss)
    if isinstance(loss, type):
        raise TrainingError(f"loss must be an object: write loss={loss.__name__}(). Received: a class")
    if not all(hasattr(loss, name) for name in ("discriminator", "generator", "gradient_penalty")):
        raise TrainingError(
            f"loss must be one of {', '.join(_LOSSES)}, or an object of a subclass of AdversarialLoss: Keras's losses "
            f"know no generator. Received: {getattr(loss, '__name__', type(loss).__name__)}"
        )
    if not (loss.gradient_penalty or 0) >= 0:
        raise TrainingError(
            f"gradient_penalty of {type(loss).__name__} must be 0 or more. Received: {loss.gradient_penalty}"
        )
    if not config_of(loss):
        _try(loss, tf.zeros(shape))
    return loss


def _try(loss, logits):
    """Refuses a loss whose gradient would be that of a sum, or none."""
    for method, given in ((loss.discriminator, (logits, logits)), (loss.generator, (logits,))):
        try:
            with keras.StatelessScope():  # so that what it counts or draws begins with the training
                value = method(*given)
        except (
            Exception
        ):  # such as one that asks for the replica that it is computed in, or for whole batches
            continue
        what = f"{type(loss).__name__}.{method.__name__}"
        if not tf.is_tensor(value):
            raise TrainingError(
                f"{what} must return a float32 tensor, which has a gradient: compute it by keras.ops, not by float() "
                f"or numpy. Received: {type(value).__name__}"
            )
        if value.shape.num_elements() != 1:
            raise TrainingError(
                f"{what} must return a scalar, such as keras.ops.mean(...): of an array the gradient would be its "
                f"sum's. Received: shape {tuple(value.shape)} of {logits.shape[0]} logits"
            )


def config_of(loss):
    """Arguments of `get` that build a loss again, as a dict for JSON; empty for a loss of another package."""
    name = next((name for name, kind in _LOSSES.items() if type(loss) is kind), None)
    if name is None:
        return {}
    options = dict(vars(loss))
    if isinstance(loss, NonSaturating):
        options["reduction"] = "sum" if options.pop("factor") == 1 else "mean"
    return {"name": name, **options}


def gradient_penalty(discriminator, real, fake, seed):
    """Mean squared distance to 1 of the gradient's norm between real and generated images.

    Source: Gulrajani et al. 2017, Section 4. With BatchNormalization in training mode the gradient of an
    image's logit holds what the image does to the others of its batch, here as in `r1_penalty`.

    Args:
        discriminator: Function from images to logits `(batch, 1)`.
        real: Images `(batch, height, width, channels)`.
        fake: As many generated images.
        seed: `keras.random.SeedGenerator` of the position between each two.

    Returns:
        A float32 scalar, without its weight.
    """
    share = replicas.drawn(
        lambda shape: keras.random.uniform(shape, seed=seed), (ops.shape(real)[0], 1, 1, 1)
    )
    squares = _squared_gradients(discriminator, share * real + (1 - share) * fake)
    return ops.mean((ops.sqrt(squares + 1e-12) - 1) ** 2)  # the root of 0 has no derivative


def r1_penalty(discriminator, real):
    """Half the mean squared norm of the gradient at real images (Mescheder et al. 2018, Equation 9).

    Args:
        discriminator: Function from images to logits `(batch, 1)`.
        real: Images `(batch, height, width, channels)`.

    Returns:
        A float32 scalar, without its weight.
    """
    return ops.mean(_squared_gradients(discriminator, real)) / 2


def class_loss(labels, logits):
    """Mean cross-entropy of classes (Odena et al. 2017, Equation 3).

    Args:
        labels: int `(batch,)`.
        logits: `(batch, classes)`.

    Returns:
        A float32 scalar, in nats.
    """
    logits = ops.cast(logits, "float32")
    return ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))


def _squared_gradients(discriminator, images):
    """Squared norm `(batch,)` of each image's gradient of the sum of logits."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = ops.sum(ops.cast(discriminator(images), "float32"))
    return ops.sum(ops.cast(tape.gradient(total, images), "float32") ** 2, axis=(1, 2, 3))
