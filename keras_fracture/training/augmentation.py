"""Augmentation between generator and discriminator, which both learn through."""

import keras
import numpy as np
from keras import layers, ops

from keras_fracture.errors import TrainingError
from keras_fracture.training import replicas

_NUMBERS = 12  # drawn for each image: whether each of the five is applied, and how


@keras.saving.register_keras_serializable("keras_fracture")
class DiffAugment(layers.Layer):
    """Brightness, saturation, contrast, translation and cutout, each of which gradients pass through.

    Source: Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training". Real and generated
    images must pass it both, before every update. Every image draws its own numbers: brightness is shifted
    by up to a quarter of the pixel range either way (0.5 of -1 to 1), saturation (RGB only; around the mean of
    the channels) scaled by 0 to 2, contrast (around the image's mean) by 0.5 to 1.5; then the image moves
    by whole pixels, and a square around a random pixel is cut out. Uncovered and cut pixels become 0. Nothing
    is clipped, so that no gradient is lost: values may leave -1 to 1.

    Input and output: float32 images `(batch, height, width, channels)`, range -1 to 1, one or three channels.

    Args:
        probability: Chance of each of the five to be applied to an image, 0 to 1.
        colour: Whether to change brightness, saturation and contrast.
        translation: Longest way, as a share of the side.
        cutout: Side of the square, as a share of the image's.
        seed: Of the random numbers; in a GAN it may be that of the noise.
    """

    def __init__(self, probability=1.0, colour=True, translation=1 / 8, cutout=1 / 2, seed=0, **kwargs):
        super().__init__(**kwargs, autocast=False)
        shares = {"probability": probability, "translation": translation, "cutout": cutout}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise TrainingError(f"{name} must lie between 0 and 1. Received: {value}")
        self.settings = shares | {"colour": colour, "seed": seed}
        self.colour, self.translation, self.cutout = colour, translation, cutout
        self.probability, self.built = probability, True
        # Not the seed itself: the same seed would give the noise the same numbers.
        self.random = keras.random.SeedGenerator(int(np.random.SeedSequence(seed).generate_state(1)[0] >> 1))

    def call(self, images):
        count, (height, width, channels) = ops.shape(images)[0], images.shape[1:]
        draws = replicas.drawn(
            lambda shape: keras.random.uniform(shape, seed=self.random), (_NUMBERS, count), axis=1
        )
        applied = ops.cast(draws[:5] < self.probability, "float32")
        draws = draws[5:]
        if self.colour:
            images += _each(applied[0] * (draws[0] - 0.5))
            if channels == 3:
                grey = ops.mean(images, axis=3, keepdims=True)
                images = grey + (images - grey) * _each(1 + applied[1] * (2 * draws[1] - 1))
            mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
            images = mean + (images - mean) * _each(1 + applied[2] * (draws[2] - 0.5))
        # Products with 0 and 1 instead of gathering: as fast, and so is their gradient.
        down = _shift(applied[3], draws[3], height, self.translation)
        right = _shift(applied[3], draws[4], width, self.translation)
        images = ops.einsum("bij,bjkc->bikc", down, images)
        images = ops.einsum("bij,bkjc->bkic", right, images)
        rows, columns = _span(draws[5], height, self.cutout), _span(draws[6], width, self.cutout)
        hole = rows[:, :, None, None] * columns[:, None, :, None]
        return images * (1 - hole * _each(applied[4]))

    def adapt(self, real_logits):
        """Steers the probability by logits on real images; does nothing here."""

    def get_config(self):
        return super().get_config() | self.settings


@keras.saving.register_keras_serializable("keras_fracture")
class AdaptiveAugment(DiffAugment):
    """`DiffAugment` at a probability that grows while the discriminator is too sure of real images.

    Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", Section 3: the mean
    sign of the real logits is held at a target. The transformations are `DiffAugment`'s, not that paper's
    eighteen. The probability is a weight that is not trained, so backups hold it.

    Args:
        probability: At the start.
        target: Mean sign of the real logits to be held, -1 to 1.
        images: Real images in which the probability can go from 0 to 1.
        **kwargs: As for `DiffAugment`.
    """

    def __init__(self, probability=0.0, target=0.6, images=500_000, **kwargs):
        super().__init__(probability, **kwargs)
        if not -1 < target < 1 or images <= 0:
            raise TrainingError(
                f"target must lie between -1 and 1 and images be positive. Received: {target}, {images}"
            )
        self.settings |= {"target": target, "images": images}
        self.target, self.images = target, images
        self.probability = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(probability),
            trainable=False,
            name="probability",
        )

    def adapt(self, real_logits):
        """Moves the probability a step, up where the mean sign of logits `(batch, 1)` is above the target."""
        weight = replicas.weight_of(ops.shape(real_logits)[0])
        sureness = replicas.mean(ops.mean(ops.sign(ops.cast(real_logits, "float32"))), weight)
        excess = ops.sign(sureness - self.target)
        step = ops.cast(replicas.rows(ops.shape(real_logits)[0]), "float32") / self.images
        self.probability.assign(ops.clip(self.probability + step * excess, 0.0, 1.0))


def _each(numbers):
    """Numbers `(batch,)`, one for every image."""
    return numbers[:, None, None, None]


def _shift(applied, draw, side, share):
    """Matrices `(batch, side, side)` that move a line of pixels by up to `share` of it either way."""
    furthest = int(side * share + 0.5)
    way = applied * (ops.floor(draw * (2 * furthest + 1)) - furthest)
    sources = ops.arange(side)[None, :] - ops.cast(way, "int32")[:, None]
    return ops.one_hot(sources, side, dtype="float32")


def _span(draw, side, share):
    """1 on the lines `(batch, side)` that a square around a random one covers, else 0."""
    length = int(side * share + 0.5)
    first = ops.floor(draw * (side + 1 - length % 2)) - length // 2
    after = ops.arange(side, dtype="float32")[None, :] - first[:, None]
    return ops.cast((after >= 0) & (after < length), "float32")
