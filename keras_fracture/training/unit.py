"""The training of the UNIT translator: two auto-encoders, two discriminators, one shared latent space."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_fracture.errors import ModelError, TrainingError
from keras_fracture.models.copying import copied_whole
from keras_fracture.models.preprocessing import scale, unscale
from keras_fracture.models.registry import in_own_range, of_own_weights
from keras_fracture.training import losses, replicas
from keras_fracture.training.adversarial import average_of, follow
from keras_fracture.training.optimizers import Adam
from keras_fracture.training.two_optimizers import TwoOptimizers, unpacked

WEIGHTS = {
    "nips2017": {"gan": 10.0, "reconstruction": 100.0, "kl": 0.1, "cycle": 100.0, "cycle_kl": 0.1},
    "munit": {"gan": 1.0, "reconstruction": 10.0, "kl": 0.01, "cycle": 10.0, "cycle_kl": 0.01},
}


def adam(preset, learning_rate=1e-4):
    """The Adam of a preset: `learning_rate` halved every 100,000 steps with "munit", betas 0.5 and 0.999."""
    if preset == "munit":
        learning_rate = keras.optimizers.schedules.ExponentialDecay(
            learning_rate, 100_000, 0.5, staircase=True
        )
    return Adam(learning_rate, 0.5, 0.999, epsilon=1e-8)


def adversarial_loss(preset):
    """Cross-entropy for "nips2017"; for "munit" least squares without the half, as the released code has it."""
    return losses.NonSaturating() if preset == "nips2017" else losses.LeastSquares(factor=1.0)


@copied_whole
@of_own_weights
@in_own_range
@keras.saving.register_keras_serializable("keras_fracture")
class UNITModel(TwoOptimizers):
    """A translator against a discriminator a domain, trained with `compile` and `fit`.

    Source: Liu, Breuel, Kautz, NIPS 2017, Section 3. The KL divergence of a Gaussian of unit variance from the
    standard normal is the mean of squared means here; its factor and the number of values are in `kl`. (The code
    released with that paper squares latents with their noise: on average 1 more, and the same gradient.)

    `fit` takes batches of pairs (healthy, lesion) of unpaired images, both float32
    `(batch, image_size, image_size, channels)` in -1 to 1, see `pairs_of`. A step draws noise once, updates both
    discriminators on real and translated images, then the translator against the discriminators so updated. The
    released code draws anew for the second half, which needs another pass of the translator.

    Every term is a sum over both domains; an adversarial one also over the discriminator's scales, of the mean
    over each map of logits. Metrics are the terms without their weights, and `d_loss` and `g_loss` with them:
    both hold `gan`, as in the released code.

    Args:
        translator: A `models.UNIT`.
        discriminator_a: A `models.UNITDiscriminator` of healthy images.
        discriminator_b: Of images with a lesion.
        gan: Weight of the adversarial terms. This and the four below are the translator's preset's where None.
        reconstruction: Of the mean absolute difference of an image and its way through its own domain.
        kl: Of the mean squared latent.
        cycle: Of the mean absolute difference of an image and its way through the other domain and back.
        cycle_kl: Of the mean squared latent of a translated image.
        weight_decay: L2, added to the gradients of all weights as PyTorch's Adam does it, not decoupled.
        noise: Standard deviation of the noise on latents.
        ema: Decay of an exponential moving average of the translator's weights, or None for no average.
        seed: Of the noise.

    Raises:
        ModelError: A number is out of range, or the networks differ in channels or size.
    """

    def __init__(
        self, translator, discriminator_a, discriminator_b, gan=None, reconstruction=None, kl=None, cycle=None,
        cycle_kl=None, weight_decay=1e-4, noise=1.0, ema=None, seed=0, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        given = {
            "gan": gan, "reconstruction": reconstruction, "kl": kl, "cycle": cycle, "cycle_kl": cycle_kl
        }  # fmt: skip
        given = {name: number for name, number in given.items() if number is not None}
        self.loss_weights = WEIGHTS[translator.preset] | given
        for name, number in (self.loss_weights | {"weight_decay": weight_decay, "noise": noise}).items():
            if number < 0:
                raise ModelError(f"{name} must be 0 or more. Received: {number}")
        if ema is not None and not 0 < ema < 1:
            raise ModelError(f"ema must lie between 0 and 1. Received: {ema}")
        for name in ("channels", "image_size"):
            values = {getattr(net, name) for net in (translator, discriminator_a, discriminator_b)}
            if len(values) > 1:
                raise ModelError(f"The networks must have the same {name}. Received: {sorted(values)}")
        self.translator, self.ema, self.seed = translator, ema, seed
        self.discriminator_a, self.discriminator_b = discriminator_a, discriminator_b
        self.weight_decay, self.noise = weight_decay, noise
        self.random = keras.random.SeedGenerator(seed)
        self.ema_translator = None if ema is None else average_of(translator)
        self.trackers = {
            name: keras.metrics.Mean(name) for name in ("d_loss", "g_loss", *WEIGHTS["nips2017"])
        }
        self.built = True

    def compile(self, *, g_optimizer=None, d_optimizer=None, loss=None, **kwargs):
        """Sets optimizers and loss, by keyword: two optimizers in the wrong order would train without a word.

        Args:
            g_optimizer: Of the translator; default `adam(preset)`.
            d_optimizer: Of both discriminators; default `adam(preset)`.
            loss: A `losses.AdversarialLoss` without gradient penalty, or a name that `losses.get` knows; default
                `adversarial_loss(preset)`.
            **kwargs: As in `keras.Model.compile`, such as `jit_compile`; not metrics or weights of losses.

        Raises:
            TrainingError: The loss needs a gradient penalty, or is none, see `losses.checked`; or the rest cannot be,
                see `TwoOptimizers.set_compiled`.
        """
        preset = self.translator.preset
        # Each scale's logits are a map.
        own = adversarial_loss(preset) if loss is None else losses.checked(loss, (2, 4, 4, 1))
        if own.gradient_penalty:
            raise TrainingError(f"UNIT is trained without gradient penalty. Received: {loss!r}")
        self.set_compiled(g_optimizer or adam(preset), d_optimizer or adam(preset), own, **kwargs)

    def networks_of(self, name):
        if name == "g_optimizer":
            return [self.translator]
        return [self.discriminator_a, self.discriminator_b]

    @property
    def metrics(self):
        return list(self.trackers.values())

    @property
    def pixel_range(self):
        """`(low, high)` of the images it is trained on."""
        return self.translator.pixel_range

    @property
    def sampler(self):
        """The translator to make images with: the moving average where there is one."""
        return self.ema_translator or self.translator

    def call(self, images, training=False):
        return self.sampler(images)

    def _discriminator_variables(self):
        return self.discriminator_a.trainable_variables + self.discriminator_b.trainable_variables

    def _noisy(self, latents):
        noise = replicas.drawn(
            lambda shape: keras.random.normal(shape, dtype=latents.dtype, seed=self.random),
            ops.shape(latents),
        )
        return latents + self.noise * noise

    def _translated(self, a, b):
        """Both images in the other's domain, and the terms of the loss that need no discriminator."""
        net = self.translator
        latent_a, latent_b = net.encode(a, "a"), net.encode(b, "b")
        latents = ops.concatenate([self._noisy(latent_a), self._noisy(latent_b)])
        (own_a, from_b), (from_a, own_b) = (ops.split(images, 2) for images in net.decode_both(latents))
        again_a, again_b = net.encode(from_a, "b"), net.encode(from_b, "a")
        back_a, back_b = net.decode(self._noisy(again_a), "a"), net.decode(self._noisy(again_b), "b")
        return (from_b, from_a), {
            "reconstruction": _apart(own_a, a) + _apart(own_b, b),
            "kl": _square(latent_a) + _square(latent_b),
            "cycle": _apart(back_a, a) + _apart(back_b, b),
            "cycle_kl": _square(again_a) + _square(again_b),
        }

    def train_step(self, data):
        real = self._checked(data)
        discriminators = self.discriminator_a, self.discriminator_b
        weights, weight = self.loss_weights, replicas.weight_of(ops.shape(real[0])[0])
        with tf.GradientTape() as g_tape:
            fake, terms = self._translated(*real)
            with tf.GradientTape() as d_tape:
                d_loss = weights["gan"] * sum(
                    self.adversarial_loss.discriminator(*ops.split(logits, 2))
                    for discriminator, *images in zip(discriminators, real, fake, strict=True)
                    for logits in discriminator(tf.stop_gradient(ops.concatenate(images)))
                )
                d_scaled = self.d_optimizer.scale_loss(replicas.share_of(d_loss, weight))
            self._update(self.d_optimizer, d_tape, d_scaled, self._discriminator_variables())
            terms["gan"] = sum(
                self.adversarial_loss.generator(logits)
                for discriminator, images in zip(discriminators, fake, strict=True)
                for logits in discriminator(images)
            )
            g_loss = sum(factor * terms[name] for name, factor in weights.items())
            g_scaled = self.g_optimizer.scale_loss(replicas.share_of(g_loss, weight))
        self._update(self.g_optimizer, g_tape, g_scaled, self.translator.trainable_variables)
        if self.ema_translator is not None:
            follow(self.ema_translator, self.translator, self.ema)
        for name, value in (terms | {"d_loss": d_loss, "g_loss": g_loss}).items():
            replicas.track(self.trackers[name], value, weight)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def _update(self, optimizer, tape, loss, weights):
        decay = replicas.share_of(optimizer.scale_loss(self.weight_decay))
        gradients = tape.gradient(loss, weights)
        if self.weight_decay:
            gradients = [
                gradient + decay * weight for gradient, weight in zip(gradients, weights, strict=True)
            ]
        optimizer.apply_gradients(zip(gradients, weights, strict=True))

    def _checked(self, data):
        net = self.translator
        shape = (net.image_size, net.image_size, net.channels)
        x, y = unpacked(data)
        data = x if y is None else (x, y)  # `train_on_batch` takes a pair, too
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise TrainingError("UNIT is trained on pairs (healthy, lesion), see pairs_of. Received: no pair")
        for images in data:
            if tuple(images.shape[1:]) != shape or images.shape[0] != data[0].shape[0]:
                raise TrainingError(
                    f"UNIT is trained on two batches of as many images {shape}. "
                    f"Received: {', '.join(str(tuple(each.shape)) for each in data)}"
                )
        return data

    def translate(self, images, source="a", target="b", batch_size=16):
        """Translates images, without noise and with the moving average where there is one.

        Args:
            images: uint8 `(n, image_size, image_size, channels)`.
            source: Their domain, "a" (healthy) or "b" (lesion).
            target: The domain to translate to.
            batch_size: Images at a time; does not change them beyond float rounding.

        Returns:
            uint8, of the same shape.

        Raises:
            ModelError: Images have another shape or dtype, or there is no such domain.
        """
        net, images = self.sampler, np.asarray(images)
        shape = (net.image_size, net.image_size, net.channels)
        if images.shape[1:] != shape or images.dtype != np.uint8:
            raise ModelError(
                f"images must be uint8 (n, {', '.join(map(str, shape))}). "
                f"Received: {images.dtype} {images.shape}"
            )
        made = np.empty_like(images)
        for start in range(0, len(images), batch_size):
            rows = slice(start, start + batch_size)
            made[rows] = unscale(
                net.translate(scale(images[rows], net.pixel_range), source, target), net.pixel_range
            )
        return made

    def get_config(self):
        nets = ("translator", "discriminator_a", "discriminator_b")
        return {
            **super().get_config(),
            **{name: keras.saving.serialize_keras_object(getattr(self, name)) for name in nets},
            **self.loss_weights,
            "weight_decay": self.weight_decay,
            "noise": self.noise,
            "ema": self.ema,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        nets = ("translator", "discriminator_a", "discriminator_b")
        return cls(**config | {name: keras.saving.deserialize_keras_object(config[name]) for name in nets})


def _apart(images, others):
    return ops.mean(ops.abs(images - others))


def _square(latents):
    return ops.mean(ops.square(ops.cast(latents, "float32")))
