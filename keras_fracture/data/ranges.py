"""Whether images lie in the pixel range of the model that they are given to, and its weights are numbers."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_fracture.data.levels import scaled_twice
from keras_fracture.errors import ModelError, TrainingError

_INSPECTED = 32  # images before a training starts; of fewer, bright ones alone may lie in half of the range

# Beyond the range by a twentieth of it lie up to 0.5 % of the pixels of any X-ray of the three real sets that was
# resized to 64, 224 or 512 pixels by Pillow's bicubic or Lanczos, and by far more those of a shifted one.
_SLACK, _OVERSHOOT = 0.05, 0.02
# NaN compares as neither below nor above any range.
_NOT_FINITE = "The images to {} must be finite numbers from {:g} to {:g}. Received: NaN or infinity"


def check_training(data, pixel_range, check_labels=None, check_size=None):
    """Refuses training images that cannot be in a model's range, going by the first of them, and labels beside them.

    Such a training runs without a word, and what it gives is nonsense. Half of the range beyond either end is left to
    augmentation. Images of 0 to 1 lie within -1 to 1, too: they are known by having no pixel below 0, which the dark
    borders of X-rays have. Images that were scaled twice lie within any range: they are known by being all but black.

    Args:
        data: What `keras.Model.fit` takes: a `tf.data.Dataset`, a `keras.utils.PyDataset` or arrays. Others, such as
            Python generators, of which the first images would be gone, are not looked into.
        pixel_range: `(low, high)`, the model's; None takes any.
        check_labels: Function that raises an error of labels that do not fit, called with those beside images in a
            dataset; None takes any labels.
        check_size: Function that warns or raises an error of images of another size than the model's, called with their
            shape and what they are there to do; None takes any.

    Raises:
        TrainingError: The images are in another range.
        ModelError: They are of a size that the model does not take.
    """
    for images, least, most in _extremes(data, pixel_range, check_labels):
        low, high = pixel_range
        if check_size is not None:
            check_size(images.shape, "train on")
        if not math.isfinite(least + most):
            raise TrainingError(_NOT_FINITE.format("train on", low, high))
        halved = low < 0 <= least < most <= high  # 0 to 1 in place of -1 to 1
        if halved or _outside(least, most, pixel_range) or scaled_twice(least, most, pixel_range):
            raise TrainingError(
                f"The images to train on must lie between {low:g} and {high:g}, with dark pixels near {low:g}: use "
                f"models.preprocessing.scale, or pixel_range=model.pixel_range where the batches are made. "
                f"Received: {len(images)} images from {least:g} to {most:g}"
            )


def check_classes(labels, classes):
    """Raises `TrainingError` unless all labels are whole numbers from 0 to `classes - 1`."""
    labels = np.asarray(labels)
    if not np.isin(labels, np.arange(classes)).all():
        raise TrainingError(
            f"labels must be whole numbers from 0 to {classes - 1}, one an image, of a model of {classes} classes. "
            f"Received: {np.unique(labels)[:9].tolist()}"
        )


def check_images(data, pixel_range, purpose, check_labels=None, check_size=None):
    """As `check_training`, of images that a model is asked or measured with; few ones may well have no dark pixel.

    Those are not augmented, so that hardly any pixel may lie outside: resizing by cubics or Lanczos overshoots beside
    edges, and images that were shifted, as by their mean, have their whole dark ground there.

    Args:
        data: As in `check_training`, and so is the next.
        pixel_range: `(low, high)`.
        purpose: What the images are there to do; to "train on" leaves half of the range to augmentation.
        check_labels: As in `check_training`, and so is the next.
        check_size: The same.

    Raises:
        ModelError: The images are in another range, or of a size that the model does not take.
    """
    for images, least, most in _extremes(data, pixel_range, check_labels):
        low, high = pixel_range
        if check_size is not None:
            check_size(images.shape, purpose)
        if not math.isfinite(least + most):
            raise ModelError(_NOT_FINITE.format(purpose, low, high))
        twice = len(images) > 1 and scaled_twice(least, most, pixel_range)
        shifted = purpose != "train on" and leaves(images, pixel_range)
        if twice or shifted or _outside(least, most, pixel_range):
            raise ModelError(
                f"The images to {purpose} must lie between {low:g} and {high:g}: use models.preprocessing.scale, or "
                f"pixel_range=model.pixel_range where the batches are made. "
                f"Received: {len(images)} images from {least:g} to {most:g}"
            )


def leaves(images, pixel_range):
    """Whether more pixels of an array lie outside a range than resizing puts there."""
    low, high = pixel_range
    slack = _SLACK * (high - low)
    return np.mean((images < low - slack) | (images > high + slack)) > _OVERSHOOT


def steps(given):
    """How many batches `keras.Model.fit` makes of its arguments, a dict; None where that is not known."""
    data = given.get("x")
    if isinstance(data, tf.data.Dataset):
        count = int(data.cardinality())
        return count if count > 0 else None
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches
    count = next((len(one) for one in tf.nest.flatten(data) if getattr(one, "shape", ())), 0)
    count = int(count * (1 - (given.get("validation_split") or 0)))
    return math.ceil(count / (given.get("batch_size") or 32)) or None


def _outside(least, most, pixel_range):
    low, high = pixel_range
    margin = (high - low) / 2
    return least < low - margin or most > high + margin


def _extremes(data, pixel_range, check_labels):
    """(images, lowest, highest pixel) of each input of images; nothing for a model that takes any."""
    for images in () if pixel_range is None else _first_images(data, check_labels):
        yield images, float(images.min()), float(images.max())


def _first_images(data, check_labels):
    """The first images as arrays, one array for each input of images."""
    if isinstance(data, tf.data.Dataset):
        batches = _first_batches(data.take, int(data.cardinality()), check_labels)
    elif isinstance(data, keras.utils.PyDataset):
        total = data.num_batches
        batches = _first_batches(
            lambda count: (data[number] for number in range(min(count, total or count))),
            total or 0,
            check_labels,
        )
    elif hasattr(data, "shape") or isinstance(data, list | tuple | dict):
        batches = [[one[: 8 * _INSPECTED] for one in _images_in(data)]]
    else:
        return []
    inputs = [
        np.concatenate([np.asarray(tensor, "float32") for tensor in tensors])
        for tensors in zip(*batches, strict=True)
    ]
    return [images for images in inputs if images.size]


def _first_batches(take, total, check_labels):
    """The images in the first batches, as lists of one tensor an input.

    Args:
        take: Function of a number to an iterable of that many batches.
        total: How many there are; 0 or less where that is not known.
        check_labels: As in `check_training`.
    """
    batches, count = [], 0
    # The last batch is left: `data.batched` counts an epoch there.
    for element in take(min(_INSPECTED, total - 1) if total > 1 else _INSPECTED):
        batches.append(_images_in(element))
        if check_labels is not None and isinstance(element, tuple) and len(element) == 2:  # without weights
            check_labels(element[1])
        count += len(batches[-1][0]) if batches[-1] else _INSPECTED
        if count >= _INSPECTED:
            break
    return batches


def _images_in(nested):
    """All that has four axes."""
    return [one for one in tf.nest.flatten(nested) if len(getattr(one, "shape", ())) == 4]


def not_finite(weights):
    """The path of the first weight that holds NaN or infinity, or None.

    A network may go on with finite numbers: on CPUs a ReLU that is fused into its convolution turns NaN to 0.
    """
    for weight in weights:
        if not np.isfinite(np.asarray(weight)).all():
            return getattr(weight, "path", weight.name)
    return None
