"""The pieces that trainings of classifiers are put together from; losses are Keras's own."""

import keras
import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from keras_fracture.errors import ModelError, TrainingError
from keras_fracture.models.compiling import for_logits
from keras_fracture.models.copying import copied_whole
from keras_fracture.models.freezing import frozen_whole, keeps_frozen
from keras_fracture.models.registry import by_own_policy, in_own_range, of_own_weights


def sgd(learning_rate, steps, momentum=0.9, warmup=0):
    """SGD with momentum whose learning rate follows half a cosine down to 0.

    Args:
        learning_rate: The highest one.
        steps: Steps of the whole training, all epochs together; behind them nothing is learnt.
        momentum: Of the running gradient.
        warmup: Steps of linear growth from 0 to `learning_rate` before the cosine; they count among `steps`.
    """
    return keras.optimizers.SGD(_half_cosine(learning_rate, steps, warmup), momentum=momentum)


def adamw(learning_rate, steps, weight_decay=0.01, warmup=0):
    """AdamW whose learning rate follows half a cosine down to 0.

    Args:
        learning_rate: The highest one.
        steps: As in `sgd`.
        weight_decay: Decoupled, of kernels alone: biases and normalisation are left alone.
        warmup: As in `sgd`.
    """
    optimizer = keras.optimizers.AdamW(_half_cosine(learning_rate, steps, warmup), weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def adam(learning_rate, steps, warmup=0, epsilon=1e-7):
    """Adam whose learning rate follows half a cosine down to 0.

    Args:
        learning_rate: The highest one.
        steps: As in `sgd`.
        warmup: As in `sgd`.
        epsilon: Keras's; PyTorch's is 1e-8.
    """
    return keras.optimizers.Adam(_half_cosine(learning_rate, steps, warmup), epsilon=epsilon)


def _half_cosine(learning_rate, steps, warmup):
    if not 0 <= warmup < steps:
        raise TrainingError(f"warmup must be at least 0 and below steps. Received: {warmup}, {steps}")
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=learning_rate, warmup_steps=warmup
    )


def add_l2(model, weight_decay):
    """Adds `weight_decay / 2` times the squared kernels to a model's loss: PyTorch's `weight_decay` on kernels.

    Biases and normalisation are left alone. Call it before `compile`. Files do not hold it: call it again on what
    `keras.saving.load_model` gives, before that trains on, or there is no penalty any more.

    Args:
        model: A built model.
        weight_decay: Factor; 0 changes nothing.
    """
    for variable in model.trainable_variables if weight_decay else ():
        if variable.name == "kernel":
            variable.regularizer = keras.regularizers.L2(weight_decay / 2)


@for_logits
@copied_whole
@keeps_frozen
@of_own_weights
@in_own_range
@by_own_policy
@keras.saving.register_keras_serializable("keras_fracture")
class WithBodyPart(keras.Model):
    """A classifier that learns to tell body parts beside findings, from the same features.

    Only for training, where a few hundred findings teach little: the features have to keep the anatomy. Train
    this, then use `classifier`. Takes what the classifier takes; gives a dict of its logits `finding` and of
    logits `body_part` `(batch, parts)`, each with a loss of its own in `compile`.

    Args:
        classifier: A built model with `features` and `classify`.
        parts: How many body parts there are.
    """

    def __init__(self, classifier, parts, **kwargs):
        super().__init__(**kwargs)
        self.classifier, self.parts = classifier, parts
        self.pool = keras.layers.GlobalAveragePooling2D(name="pool")
        self.head = keras.layers.Dense(parts, dtype="float32", name="head")
        side = classifier.image_size
        maps = classifier.features(keras.ops.zeros((1, side, side, classifier.channels)))
        self.head.build((None, maps.shape[-1]))
        self.built = True

    def call(self, images, training=False):
        maps = self.classifier.features(images, training=training)
        logits = self.classifier.classify(maps, training=training)
        return {"finding": logits, "body_part": self.head(self.pool(maps))}

    @property
    def pixel_range(self):
        """`(low, high)` of the images it is trained on."""
        return self.classifier.pixel_range

    def get_config(self):
        return super().get_config() | {
            "classifier": keras.saving.serialize_keras_object(self.classifier),
            "parts": self.parts,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"classifier": keras.saving.deserialize_keras_object(config["classifier"])})


@for_logits
@copied_whole
@keeps_frozen
@of_own_weights
@in_own_range
@by_own_policy
@keras.saving.register_keras_serializable("keras_fracture")
class WithTeacher(keras.Model):
    """A classifier that also learns to give the last maps of a trained network, its teacher, for the same images.

    Only for training, where a few hundred findings teach little: each position of the teacher's maps is a target of
    its own. A 1x1 convolution turns the classifier's maps into as many channels as the teacher's have; what is added
    to the loss is the share of the maps' variance within the batch that it leaves unexplained, times `weight`, and
    the history has it as `teacher_loss`. Train this, then use `classifier`. Takes what the classifier takes, and gives
    its logits. The teacher stays as it is. With several replicas each takes the variance of its own part of the batch,
    so that weights differ a little from those of one device.

    Source: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", section 2.2, here with the last layer as the hint
    and in one stage.

    Args:
        classifier: A built model with `features` and `classify`.
        teacher: A built model with `features`, of images of the same size, channels and pixel range.
        weight: Factor of the added loss.

    Raises:
        ModelError: The teacher takes other images, or its maps have another height or width.
    """

    def __init__(self, classifier, teacher, weight=1.0, **kwargs):
        super().__init__(**kwargs)
        taken = [(one.image_size, one.channels, one.pixel_range) for one in (classifier, teacher)]
        if taken[0] != taken[1]:
            raise ModelError(
                "A teacher must take what the classifier takes: image size, channels and pixel range "
                f"{taken[0]}. Received: {taken[1]}"
            )
        self.classifier, self.teacher, self.weight = classifier, teacher, float(weight)
        teacher.trainable = False
        frozen_whole(teacher)  # where it was frozen and a part of it not
        image = keras.ops.zeros((1, classifier.image_size, classifier.image_size, classifier.channels))
        ours, theirs = classifier.features(image), teacher.features(image)
        if ours.shape[1:3] != theirs.shape[1:3]:
            raise ModelError(
                f"A teacher's last maps must be of the classifier's size, {ours.shape[1:3]}. "
                f"Received: {theirs.shape[1:3]}"
            )
        self.projection = keras.layers.Conv2D(theirs.shape[-1], 1, name="projection")
        self.projection.build(ours.shape)
        self.unexplained = keras.metrics.Mean("teacher_loss")
        self.built = True

    def call(self, images, training=False):
        maps = self.classifier.features(images, training=training)
        theirs = keras.ops.stop_gradient(self.teacher.features(images, training=False))
        ours, theirs = (keras.ops.cast(one, "float32") for one in (self.projection(maps), theirs))
        variance = keras.ops.mean(keras.ops.var(theirs, axis=(0, 1, 2)))
        share = keras.ops.mean((ours - theirs) ** 2) / keras.ops.maximum(variance, 1e-6)
        self.add_loss(self.weight * share)
        self.unexplained.update_state(share)
        return self.classifier.classify(maps, training=training)

    @property
    def pixel_range(self):
        """`(low, high)` of the images it is trained on."""
        return self.classifier.pixel_range

    def get_config(self):
        both = {name: getattr(self, name) for name in ("classifier", "teacher")}
        return (
            super().get_config()
            | {"weight": self.weight}
            | {name: keras.saving.serialize_keras_object(one) for name, one in both.items()}
        )

    @classmethod
    def from_config(cls, config):
        both = {
            name: keras.saving.deserialize_keras_object(config[name]) for name in ("classifier", "teacher")
        }
        return cls(**config | both)


def class_weights(labels):
    """Weights for `fit` that let every class count alike: images / (classes * images of the class).

    Args:
        labels: 0 or 1 an image, both present.

    Raises:
        TrainingError: There is one class alone, or labels are not one number an image, or others than 0 and 1 (or of
            more classes, whole numbers from 0 without a gap).
    """
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise TrainingError(
            f"Class weights need labels (n,), one number an image: of one-hot rows take labels.argmax(1). "
            f"Received: {labels.shape}"
        )
    classes = np.unique(labels)
    if len(classes) < 2:
        raise TrainingError(f"Class weights need both classes. Received: labels {classes.tolist()}")
    if not np.array_equal(classes, np.arange(len(classes))):
        raise TrainingError(
            "Class weights need labels 0 and 1, or of more classes 0, 1, 2 and so on with an image each: number yours "
            "so; of a class without an image write the dict of weights yourself. "
            f"Received: labels {classes[:9].tolist()}"
        )
    values = compute_class_weight("balanced", classes=classes, y=labels)
    return dict(zip(classes.tolist(), values.tolist(), strict=True))
