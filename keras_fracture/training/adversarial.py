"""One training loop for every GAN that starts from noise."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_fracture.errors import ModelError, TrainingError
from keras_fracture.models.copying import copied_whole
from keras_fracture.models.preprocessing import unscale
from keras_fracture.models.registry import in_own_range, of_own_weights
from keras_fracture.training import losses, replicas
from keras_fracture.training.two_optimizers import TwoOptimizers, unpacked


def average_of(network):
    """A copy of a network for the moving average of its weights; `follow` moves it."""
    average = type(network).from_config(network.get_config())
    average.set_weights(network.get_weights())
    average.trainable = False
    return average


def follow(average, network, decay):
    """Moves an average's weights by the share `1 - decay` of the way to the network's."""
    for averaged, weight in zip(average.weights, network.weights, strict=True):
        averaged.assign(weight + decay * (averaged - weight))


@copied_whole
@of_own_weights
@in_own_range
@keras.saving.register_keras_serializable("keras_fracture")
class AdversarialModel(TwoOptimizers):
    """Generator against discriminator, trained with `compile` and `fit`.

    A step draws one batch of noise, updates the discriminator on real and generated images, then the
    generator. `fit` takes batches of images in the generator's `pixel_range`, alone or as (images, labels).
    Networks with classes need the labels, int `(batch,)`; generated images get those of the real ones. Others
    do not use them.

    Args:
        generator: Maps `(batch, latent_dim)` noise, with classes also labels, to images.
        discriminator: Maps images, with classes also labels, to logits `(batch, 1)`.
        ema: Decay of an exponential moving average of the generator's weights, or None for no average.
        seed: Of the noise.
        augment: A `DiffAugment` or `AdaptiveAugment` that all images pass on their way to the discriminator,
            or None.
        fresh_noise: Whether the generator is updated on a second, fresh batch of noise, not on the images that the
            discriminator has just seen.
        r1: Weight of `losses.r1_penalty` in the discriminator's loss. Like Wasserstein's gradient penalty it is
            taken at the augmented images, with the discriminator in training mode.
        auxiliary: Weight of the class loss: the discriminator also learns to tell the classes of real images, the
            generator to make images whose class it tells (Odena et al. 2017, "Conditional Image Synthesis with
            Auxiliary Classifier GANs", Section 3). For networks with classes; 0 leaves it out.

    Raises:
        ModelError: `ema`, `r1` or `auxiliary` is out of range, or the networks differ in channels, size or classes.
    """

    def __init__(
        self, generator, discriminator, ema=None, seed=0, augment=None, fresh_noise=False, r1=0.0, auxiliary=0.0,
        **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        if ema is not None and not 0 < ema < 1:
            raise ModelError(f"ema must lie between 0 and 1. Received: {ema}")
        if r1 < 0:
            raise ModelError(f"r1 must be 0 or more. Received: {r1}")
        for name in ("channels", "image_size", "num_classes"):
            values = [getattr(network, name, None) for network in (generator, discriminator)]
            if values[0] != values[1]:
                raise ModelError(
                    f"Generator and discriminator must have the same {name}. "
                    f"Received: {values[0]} and {values[1]}"
                )
        if auxiliary < 0 or (auxiliary and not hasattr(discriminator, "call_with_classes")):
            raise ModelError(
                "auxiliary must be 0 or more, and 0 without a discriminator of classes, such as dcgan_discriminator. "
                f"Received: {auxiliary}, {type(discriminator).__name__}"
            )
        if auxiliary and generator.num_classes is None:
            raise ModelError(
                f"auxiliary needs networks with classes. Received: {auxiliary}, num_classes None"
            )
        self.generator, self.discriminator, self.ema, self.seed = generator, discriminator, ema, seed
        self.augment, self.fresh_noise, self.r1, self.auxiliary = augment, fresh_noise, r1, auxiliary
        self.noise = keras.random.SeedGenerator(seed)
        self.ema_generator = None if ema is None else average_of(generator)
        self.trackers = {name: keras.metrics.Mean(name) for name in ("d_loss", "g_loss", "d_real", "d_fake")}
        self.built = True

    def compile(self, *, g_optimizer, d_optimizer, loss=None, **kwargs):
        """Sets optimizers and loss, by keyword: two optimizers in the wrong order would train without a word.

        Args:
            g_optimizer: Of the generator; an object or a name, such as "adam".
            d_optimizer: Of the discriminator; likewise, and another one.
            loss: A `losses.AdversarialLoss`, or a name that `losses.get` knows; default `NonSaturating()`.
            **kwargs: As in `keras.Model.compile`, such as `jit_compile`; not metrics or weights of losses.

        Raises:
            TrainingError: The loss is none, see `losses.checked`; or the rest cannot be, see
                `TwoOptimizers.set_compiled`.
        """
        loss = losses.NonSaturating() if loss is None else losses.checked(loss)
        self.set_compiled(g_optimizer, d_optimizer, loss, **kwargs)

    def networks_of(self, name):
        return [self.generator if name == "g_optimizer" else self.discriminator]

    @property
    def metrics(self):
        return list(self.trackers.values())

    @property
    def pixel_range(self):
        """`(low, high)` of the images it is trained on; None where the generator says none."""
        return getattr(self.generator, "pixel_range", None)

    @property
    def label_classes(self):
        """How many classes the labels that it is trained on are of; None where it uses none."""
        return getattr(self.generator, "num_classes", None)

    @property
    def sampler(self):
        """The generator to make images with: the moving average where there is one."""
        return self.ema_generator or self.generator

    def call(self, noise, labels=None, training=False):
        return self.sampler(noise, *(() if labels is None else (labels,)), training=training)

    def train_step(self, data):
        real, labels = self._checked(data)
        given = () if labels is None else (labels,)
        augment = self.augment or (lambda images: images)
        weight = replicas.weight_of(ops.shape(real)[0])

        def generate():
            noise = replicas.drawn(
                lambda shape: keras.random.normal(shape, seed=self.noise),
                (ops.shape(real)[0], self.generator.latent_dim),
            )
            return self.generator(noise, *given, training=True)

        def discriminate(images):
            return self.discriminator(images, *given, training=True)

        def judge(images):
            """Logits, and how far the classes are mistaken."""
            if not self.auxiliary:
                return discriminate(images), 0.0
            logits, classes = self.discriminator.call_with_classes(images, *given, training=True)
            return logits, self.auxiliary * losses.class_loss(labels, classes)

        # The discriminator sees the images that the generator's loss is taken on, unless `fresh_noise`: one pass of the
        # generator a step.
        with tf.GradientTape() as g_tape:
            fake = generate()
            with tf.GradientTape() as d_tape:
                inputs = augment(real), augment(tf.stop_gradient(fake))
                (real_logits, mistaken), fake_logits = judge(inputs[0]), discriminate(inputs[1])
                d_loss = self.adversarial_loss.discriminator(real_logits, fake_logits) + mistaken
                if self.adversarial_loss.gradient_penalty:
                    penalty = losses.gradient_penalty(discriminate, *inputs, self.noise)
                    d_loss += self.adversarial_loss.gradient_penalty * penalty
                if self.r1:
                    d_loss += self.r1 * losses.r1_penalty(discriminate, inputs[0])
                d_scaled = self.d_optimizer.scale_loss(replicas.share_of(d_loss, weight))
            self._update(self.d_optimizer, d_tape, d_scaled, self.discriminator)
            fake = generate() if self.fresh_noise else fake
            fake_logits_again, mistaken = judge(augment(fake))
            g_loss = self.adversarial_loss.generator(fake_logits_again) + mistaken
            g_scaled = self.g_optimizer.scale_loss(replicas.share_of(g_loss, weight))
        self._update(self.g_optimizer, g_tape, g_scaled, self.generator)
        if self.augment is not None:
            self.augment.adapt(real_logits)
        if self.ema_generator is not None:
            follow(self.ema_generator, self.generator, self.ema)
        values = {
            "d_loss": d_loss,
            "g_loss": g_loss,
            "d_real": ops.mean(ops.sigmoid(real_logits)),
            "d_fake": ops.mean(ops.sigmoid(fake_logits)),
        }
        for name, value in values.items():
            replicas.track(self.trackers[name], value, weight)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def _checked(self, data):
        """Real images, and their labels where the networks have classes, else None."""
        real, labels = unpacked(data)
        if real.shape[-1] != self.discriminator.channels:
            raise TrainingError(
                f"The networks take images of {self.discriminator.channels} channels: see `channels` of "
                f"`make_train_dataset`. Received: {real.shape[-1]} channels"
            )
        if self.label_classes is None:
            return real, None
        if labels is None:
            raise TrainingError("Networks with classes are trained on (images, labels). Received: images")
        return real, ops.cast(labels, "int32")

    @staticmethod
    def _update(optimizer, tape, loss, model):
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    def sample(self, count, seed=0, batch_size=250, labels=None):
        """Makes images.

        The k-th image of a seed depends on seed, k and its label alone, not on count.

        Args:
            count: Images.
            seed: Of the noise.
            batch_size: Images at a time; does not change them beyond float rounding.
            labels: Int `(count,)` for a generator with classes; None takes the classes in turn.

        Returns:
            uint8 `(count, height, width, channels)`.

        Raises:
            ModelError: Not one label an image, a label is no class, or the generator has none.
        """
        return sample(self.sampler, count, seed, batch_size, labels)

    def get_config(self):
        return super().get_config() | {
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "ema": self.ema,
            "seed": self.seed,
            "augment": self.augment and keras.saving.serialize_keras_object(self.augment),
            "fresh_noise": self.fresh_noise,
            "r1": self.r1,
            "auxiliary": self.auxiliary,
        }

    @classmethod
    def from_config(cls, config):
        parts = {
            part: keras.saving.deserialize_keras_object(config[part])
            for part in ("generator", "discriminator", "augment")
        }
        return cls(**config | parts)


def sample(generator, count, seed=0, batch_size=250, labels=None):
    """`AdversarialModel.sample` of a generator alone."""
    noise = np.random.default_rng(seed).standard_normal((count, generator.latent_dim), "float32")
    inputs = [noise]
    classes = getattr(generator, "num_classes", None)
    if classes is None and labels is not None:
        raise ModelError("This generator has no classes: sample it without labels. Received: labels")
    if classes is not None:
        inputs.append(np.arange(count) % classes if labels is None else np.asarray(labels))
        if inputs[1].shape != (count,) or not np.isin(inputs[1], np.arange(classes)).all():
            raise ModelError(
                f"labels must be {count} numbers from 0 to {classes - 1}. "
                f"Received: shape {inputs[1].shape}, classes {np.unique(inputs[1])[:9].tolist()}"
            )
    images = [
        unscale(
            generator(*(array[start : start + batch_size] for array in inputs), training=False),
            generator.pixel_range,
        )
        for start in range(0, count, batch_size)
    ]
    return np.concatenate(images)
