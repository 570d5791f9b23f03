"""One training loop for every GAN that starts from noise."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_fracture.errors import ModelError
from keras_fracture.models.preprocessing import unscale
from keras_fracture.training.losses import NonSaturating


def scaled(optimizer, policy):
    """Wraps an optimizer in a `LossScaleOptimizer` where float16 gradients would underflow.

    Keras does this itself for `model.optimizer` only.
    """
    needed = policy.compute_dtype == "float16"
    if needed and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


@keras.saving.register_keras_serializable("keras_fracture")
class AdversarialModel(keras.Model):
    """Generator against discriminator, trained with `compile` and `fit`.

    A step draws one batch of noise, updates the discriminator on real and generated pictures, then the
    generator. `fit` takes batches of pictures in the generator's `pixel_range`, alone or as (pictures, labels);
    labels are not used.

    Args:
        generator: Maps `(batch, latent_dim)` noise to pictures.
        discriminator: Maps pictures to logits `(batch, 1)`.
        ema: Decay of an exponential moving average of the generator's weights, or None for no average.
        seed: Of the noise.
    """

    def __init__(self, generator, discriminator, ema=None, seed=0, **kwargs):
        super().__init__(**kwargs)
        if ema is not None and not 0 < ema < 1:
            raise ModelError(f"ema must lie between 0 and 1. Received: {ema}")
        self.generator, self.discriminator, self.ema, self.seed = generator, discriminator, ema, seed
        self.noise = keras.random.SeedGenerator(seed)
        self.ema_generator = None
        if ema is not None:
            self.ema_generator = type(generator).from_config(generator.get_config())
            self.ema_generator.set_weights(generator.get_weights())
            self.ema_generator.trainable = False
        self.trackers = {name: keras.metrics.Mean(name) for name in ("d_loss", "g_loss", "d_real", "d_fake")}
        self.built = True

    def compile(self, d_optimizer, g_optimizer, loss=None, **kwargs):
        """Sets optimizers and loss.

        Args:
            d_optimizer: Of the discriminator.
            g_optimizer: Of the generator.
            loss: A pair of losses from `training.losses`; default `NonSaturating()`.
            **kwargs: As in `keras.Model.compile`.
        """
        super().compile(optimizer=None, **kwargs)
        self.d_optimizer = scaled(d_optimizer, self.discriminator.dtype_policy)
        self.g_optimizer = scaled(g_optimizer, self.generator.dtype_policy)
        self.adversarial_loss = loss or NonSaturating()
        # Built here, so that a backup can be restored before the first step.
        self.d_optimizer.build(self.discriminator.trainable_variables)
        self.g_optimizer.build(self.generator.trainable_variables)

    @property
    def metrics(self):
        return list(self.trackers.values())

    @property
    def sampler(self):
        """The generator to make pictures with: the moving average where there is one."""
        return self.ema_generator or self.generator

    def call(self, noise, training=False):
        return self.sampler(noise, training=training)

    def train_step(self, data):
        real = data[0] if isinstance(data, tuple | list) else data
        noise = keras.random.normal((ops.shape(real)[0], self.generator.latent_dim), seed=self.noise)
        # The discriminator sees the pictures the generator is then judged on: one pass of the generator a step.
        with tf.GradientTape() as g_tape:
            fake = self.generator(noise, training=True)
            with tf.GradientTape() as d_tape:
                real_logits = self.discriminator(real, training=True)
                fake_logits = self.discriminator(tf.stop_gradient(fake), training=True)
                d_loss = self.adversarial_loss.discriminator(real_logits, fake_logits)
                d_scaled = self.d_optimizer.scale_loss(d_loss)
            self._update(self.d_optimizer, d_tape, d_scaled, self.discriminator)
            g_loss = self.adversarial_loss.generator(self.discriminator(fake, training=True))
            g_scaled = self.g_optimizer.scale_loss(g_loss)
        self._update(self.g_optimizer, g_tape, g_scaled, self.generator)
        if self.ema_generator is not None:
            for average, weight in zip(self.ema_generator.weights, self.generator.weights, strict=True):
                average.assign(weight + self.ema * (average - weight))
        values = {
            "d_loss": d_loss,
            "g_loss": g_loss,
            "d_real": ops.mean(ops.sigmoid(real_logits)),
            "d_fake": ops.mean(ops.sigmoid(fake_logits)),
        }
        for name, value in values.items():
            self.trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    @staticmethod
    def _update(optimizer, tape, loss, model):
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    def sample(self, count, seed=0, batch_size=250):
        """Makes pictures.

        The k-th picture of a seed depends on seed and k alone, not on count.

        Args:
            count: Pictures.
            seed: Of the noise.
            batch_size: Pictures at a time; does not change them beyond float rounding.

        Returns:
            uint8 `(count, height, width, channels)`.
        """
        return sample(self.sampler, count, seed, batch_size)

    def get_config(self):
        return {
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "ema": self.ema,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        parts = {
            part: keras.saving.deserialize_keras_object(config[part])
            for part in ("generator", "discriminator")
        }
        return cls(**config | parts)


def sample(generator, count, seed=0, batch_size=250):
    """`AdversarialModel.sample` of a generator alone."""
    noise = np.random.default_rng(seed).standard_normal((count, generator.latent_dim), "float32")
    pictures = [
        unscale(generator(noise[start : start + batch_size], training=False), generator.pixel_range)
        for start in range(0, count, batch_size)
    ]
    return np.concatenate(pictures)
