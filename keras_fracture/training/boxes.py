"""Boxes as a second target of a classifier: where a finding lies, beside whether there is one."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from keras_fracture.data import Augmentation
from keras_fracture.data.pipeline import grey_to
from keras_fracture.errors import DataError
from keras_fracture.models.compiling import for_logits
from keras_fracture.models.copying import copied_whole
from keras_fracture.models.freezing import keeps_frozen
from keras_fracture.models.registry import by_own_policy, in_own_range, of_own_weights

_UNKNOWN = -1.0  # of the cells of an image whose finding nobody has marked
_PRIOR = 0.01  # share of cells on a finding that training starts from


@for_logits
@copied_whole
@keeps_frozen
@of_own_weights
@in_own_range
@by_own_policy
@keras.saving.register_keras_serializable("keras_fracture")
class WithBoxes(keras.Model):
    """A classifier that learns to tell where findings lie beside whether there are any, from the same last maps.

    Only for training, where a few hundred findings teach little and most of each image is not the finding: a box says
    which part is. A 1x1 convolution gives a logit for each position of the last maps, a cell. Train this, then use
    `classifier`. Takes what the classifier takes; gives a dict of its logits `finding` and of logits `boxes` `(batch,
    rows, columns)`, with `BoxLoss` for these in `compile`.

    Args:
        classifier: A built model with `features` and `classify`.
    """

    def __init__(self, classifier, **kwargs):
        super().__init__(**kwargs)
        self.classifier = classifier
        side = classifier.image_size
        maps = classifier.features(keras.ops.zeros((1, side, side, classifier.channels)))
        self.cells = tuple(maps.shape[1:3])
        # As RetinaNet begins, or the many cells beside findings outweigh all else in the first steps.
        rare = keras.initializers.Constant(math.log(_PRIOR / (1 - _PRIOR)))
        self.head = keras.layers.Conv2D(1, 1, bias_initializer=rare, dtype="float32", name="head")
        self.head.build(maps.shape)
        self.built = True

    def call(self, images, training=False):
        maps = self.classifier.features(images, training=training)
        logits = self.classifier.classify(maps, training=training)
        return {"finding": logits, "boxes": self.head(maps)[..., 0]}

    @property
    def pixel_range(self):
        """`(low, high)` of the images it is trained on."""
        return self.classifier.pixel_range

    def get_config(self):
        return super().get_config() | {"classifier": keras.saving.serialize_keras_object(self.classifier)}

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"classifier": keras.saving.deserialize_keras_object(config["classifier"])})


@keras.saving.register_keras_serializable("keras_fracture")
class BoxLoss(keras.losses.Loss):
    """Cross-entropy of all cells of a batch, divided by how many of them lie on findings.

    Cells of targets below 0 are left out. With several replicas each divides by its own number. Given is a number an
    image, whose mean over the batch is that.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", section 4.1, for what it is divided by.
    """

    def call(self, y_true, y_pred):
        y_true, y_pred = (keras.ops.cast(one, "float32") for one in (y_true, y_pred))
        known = keras.ops.cast(y_true >= 0, "float32")
        targets = y_true * known
        each = keras.ops.softplus(y_pred) - targets * y_pred
        own = keras.ops.sum(each * known, axis=(1, 2))
        images = keras.ops.cast(keras.ops.shape(own)[0], "float32")
        return own * images / keras.ops.maximum(keras.ops.sum(targets), 1.0)


def with_masks(images, boxes):
    """Images, and where boxes lie in them as one more channel: uint8, 255 on a box, no box less than a pixel.

    Args:
        images: uint8 `(n, height, width, channels)`.
        boxes: n arrays `(k, 4)` of ymin, xmin, ymax, xmax as fractions of the image.

    Raises:
        DataError: A box has its sides in another order.
    """
    height, width = images.shape[1:3]
    masks = np.zeros((*images.shape[:3], 1), np.uint8)
    for mask, own in zip(masks, boxes, strict=True):
        for top, left, bottom, right in np.reshape(own, (-1, 4)):
            if not (top <= bottom and left <= right):  # NaN is neither
                raise DataError(f"Boxes are (ymin, xmin, ymax, xmax). Received: {[top, left, bottom, right]}")
            rows, columns = (
                slice(min(max(math.floor(low * side), 0), side - 1), max(math.ceil(high * side), 1))
                for low, high, side in ((top, bottom, height), (left, right, width))
            )
            mask[rows, columns] = 255
    return np.concatenate([images, masks], axis=3)


@dataclasses.dataclass(frozen=True)
class AugmentWithMasks:
    """An augmentation of what `with_masks` gives, by which masks move as their images do.

    Attributes:
        augmentation: Of the images.
    """

    augmentation: Augmentation

    def within(self, pixel_range):
        """As `Augmentation.within`, of the images and of the masks beside them."""
        return dataclasses.replace(self, augmentation=self.augmentation.within(pixel_range))

    def __call__(self, both, positions):
        low, high = self.augmentation.value_range
        masks = (both[..., -1:] - low) / (high - low)
        images, masks = self.augmentation.with_masks(both[..., :-1], masks, positions)
        return tf.concat([images, low + masks * (high - low)], axis=3)


def split_masks(dataset, model):
    """A dataset of batches that a model trains on from one of images with masks.

    Args:
        dataset: Of images float32 `(batch, height, width, c + 1)` as from `with_masks`, scaled to the model's pixel
            range; and of targets `(batch, classes + 1)`, the last of them 1 where boxes are known, or that there are
            none.
        model: A `WithBoxes`.
    """
    (low, high), cells, channels = model.pixel_range, model.cells, model.classifier.channels

    def split(both, targets):
        images, masks = both[..., :-1], (both[..., -1:] - low) / (high - low)
        known = targets[:, -1][:, None, None] > 0
        boxes = tf.where(known, in_cells(masks, cells), _UNKNOWN)
        return grey_to(images, channels), {"finding": targets[:, :-1], "boxes": boxes}

    return dataset.map(split)


def in_cells(masks, cells):
    """The highest value of masks `(batch, height, width, 1)` in each of `cells`: `(batch, rows, columns)`."""
    steps = [-(-side // count) for side, count in zip(masks.shape[1:3], cells, strict=True)]
    whole = [step * count for step, count in zip(steps, cells, strict=True)]
    if whole != list(masks.shape[1:3]):
        masks = tf.image.resize(masks, whole, "nearest")
    return tf.nn.max_pool2d(masks, steps, steps, "VALID")[..., 0]
