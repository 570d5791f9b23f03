"""Several trained classifiers as one model."""

import dataclasses

import keras
from keras import ops

from keras_fracture.errors import ModelError
from keras_fracture.models.compiling import for_logits
from keras_fracture.models.copying import copied_whole
from keras_fracture.models.registry import architecture_of, in_own_range, of_own_weights

_MAY_DIFFER = (
    "name",
    "trainable",
    "frozen",
    "dtype",
    "mean",
    "std",
    "initializer",
)  # what the members may have each their own of


@for_logits
@copied_whole
@of_own_weights
@in_own_range
@keras.saving.register_keras_serializable("keras_fracture")
class Ensemble(keras.Model):
    """The mean of what several classifiers of one architecture say, of images and, if wanted, their mirror images.

    Averaged are probabilities; the output is their logarithm, so that its softmax is the mean. With a single class it
    is the logit of the mean. Predicting takes as long as with all members, once for each view, together.

    Input: float32 `(batch, image_size, image_size, channels)` in the members' `pixel_range`.
    Output: float32 logits `(batch, num_classes)`.

    What all members have of `models.load` alike, it has, too: `classes`, `finding` and `preprocess`. It has no
    `threshold`: that of a mean is another than its members'.

    Args:
        members: Classifiers with their top, alike but for their weights, names and `mean` and `std`.
        flips: Whether to average over each image and its mirror image, too.

    Raises:
        ModelError: No members, one of them twice, or members that are no classifiers or differ.
    """

    def __init__(self, members, flips=False, **kwargs):
        members = list(members)
        if not members:
            raise ModelError("An ensemble has at least one member. Received: none")
        for one in members:
            if not hasattr(one, "classify") or not getattr(one, "include_top", True):
                raise ModelError(
                    "Members of an ensemble must be classifiers with features and classify. "
                    f"Received: {type(one).__name__}"
                )
            if _shape_of(one) != _shape_of(members[0]):
                raise ModelError(
                    "Members of an ensemble must be alike but for their weights. "
                    f"Received: {_difference(members[0], one)}"
                )
        if len({id(one) for one in members}) < len(members):
            raise ModelError(
                "Members of an ensemble must be different models: the same one twice has one set of weights, which a "
                f"saved ensemble would have two of. Received: {len(members)} members, "
                f"{len({id(one) for one in members})} of them different"
            )
        orders = {one.classes for one in members if getattr(one, "classes", None)}  # of models.load
        # Of two, load puts the finding last, whatever both are called.
        others = len({tuple(map(str.casefold, order)) for order in orders}) > 1 and max(map(len, orders)) > 2
        if others or len(orders) > len({frozenset(order) for order in orders}):
            raise ModelError(
                "Members of an ensemble must have the same classes in one order: name them alike at export. "
                f"Received: {' beside '.join(map(', '.join, sorted(orders)))}"
            )
        prepared = {one.preprocess for one in members if getattr(one, "preprocess", None)}
        if len({dataclasses.replace(one, jpeg="full") for one in prepared}) > 1:
            raise ModelError(
                "Members of an ensemble must take images that are prepared alike. "
                f"Received: {' beside '.join(sorted(map(str, prepared)))}"
            )
        first = members[0]
        # What images are rounded to before the members see them: the global policy is not theirs.
        alike = len({one.dtype_policy.name for one in members}) == 1
        super().__init__(**{"dtype": first.dtype_policy if alike else "float32"} | kwargs)
        self.members, self.flips = members, bool(flips)
        self.num_classes, self.channels, self.image_size = first.num_classes, first.channels, first.image_size
        self.pixel_range, self.include_top = first.pixel_range, True
        for name in ("classes", "finding", "preprocess"):
            said = {getattr(one, name, None) for one in members}
            setattr(self, name, said.pop() if len(said) == 1 else None)
        self.build((None, self.image_size, self.image_size, self.channels))

    def build(self, input_shape):
        self.built = True  # the members are

    def features(self, images, training=None):
        """Returns the members' last maps side by side `(batch, height, width, views * members * channels)`.

        Those of mirror images are mirrored back, so that all lie on the image as it came.
        """
        maps = [one.features(images, training=training) for one in self.members]
        if self.flips:
            mirrored = ops.flip(images, axis=2)
            maps += [ops.flip(one.features(mirrored, training=training), axis=2) for one in self.members]
        return ops.concatenate(maps, axis=-1)

    def classify(self, maps, training=None):
        """Returns the logits of what `features` gave."""
        count = len(self.members)
        parts = ops.split(maps, count * (2 if self.flips else 1), axis=-1)
        logits = [
            self.members[number % count].classify(
                part if number < count else ops.flip(part, axis=2), training=training
            )
            for number, part in enumerate(parts)
        ]
        return _log_of_mean(ops.cast(ops.stack(logits), "float32"))

    def call(self, images, training=False):
        return self.classify(self.features(images, training), training)

    def get_config(self):
        members = [{"architecture": architecture_of(one), "config": one.get_config()} for one in self.members]
        return super().get_config() | {"members": members, "flips": self.flips}

    @classmethod
    def from_config(cls, config):
        """The ensemble with fresh weights; a `dtype` at the top is that of all members."""
        dtype = {"dtype": config["dtype"]} if isinstance(config.get("dtype"), str) else {}
        members = []
        for one in config["members"]:
            kind = keras.saving.get_registered_object(f"keras_fracture>{one['architecture']}")
            if kind is None:
                raise ModelError(f"This package has no such architecture. Received: {one['architecture']!r}")
            members.append(kind.from_config(one["config"] | dtype))
        return cls(**config | {"members": members})


def _log_of_mean(logits):
    """The logits of the mean probabilities: `(k, batch, classes)` to `(batch, classes)`."""
    if logits.shape[-1] == 1:  # probabilities of the finding, and of its absence
        finding = ops.logsumexp(ops.log_sigmoid(logits), axis=0)
        return finding - ops.logsumexp(ops.log_sigmoid(-logits), axis=0)
    return ops.logsumexp(ops.log_softmax(logits, axis=-1), axis=0) - ops.log(float(logits.shape[0]))


def _shape_of(model):
    kept = {name: value for name, value in model.get_config().items() if name not in _MAY_DIFFER}
    return {
        "architecture": architecture_of(model),
        "pixel_range": model.pixel_range and tuple(model.pixel_range),
    } | kept


def _difference(first, other):
    theirs = _shape_of(other)
    names = [name for name, value in _shape_of(first).items() if theirs.get(name) != value]
    return ", ".join(f"{name} {theirs.get(name)!r} beside {_shape_of(first)[name]!r}" for name in names)
