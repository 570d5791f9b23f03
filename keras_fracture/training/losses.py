"""Adversarial losses, each a pair: of real and fake logits for the discriminator, of fake ones for the generator."""

from keras import ops

from keras_fracture.errors import TrainingError


class NonSaturating:
    """Binary cross-entropy on logits, with the generator's labels flipped (Goodfellow et al. 2014, Section 3).

    Args:
        reduction: "sum" adds the discriminator's two terms, "mean" averages them.
        smoothing: The label of real pictures is `1 - smoothing`.
    """

    def __init__(self, reduction="sum", smoothing=0.0):
        factors = {"sum": 1.0, "mean": 0.5}
        if reduction not in factors:
            raise TrainingError(f"reduction must be sum or mean. Received: {reduction!r}")
        self.factor = factors[reduction]
        self.smoothing = smoothing

    def discriminator(self, real, fake):
        """Returns the scalar loss of logits `(batch, 1)` on real and on generated pictures."""
        real, fake = ops.cast(real, "float32"), ops.cast(fake, "float32")
        on_real = (1 - self.smoothing) * ops.softplus(-real) + self.smoothing * ops.softplus(real)
        return self.factor * (ops.mean(on_real) + ops.mean(ops.softplus(fake)))

    def generator(self, fake):
        """Returns the scalar loss of logits `(batch, 1)` on generated pictures."""
        return ops.mean(ops.softplus(-ops.cast(fake, "float32")))
