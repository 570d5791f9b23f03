"""Whether the images of a training lie in the pixel range that its model takes."""

import numpy as np
import tensorflow as tf

from keras_fracture.errors import TrainingError

_INSPECTED = 32  # images before a training starts; of fewer, bright ones alone may lie in half of the range


def check_training(data, pixel_range, classes=None):
    """Refuses training images that cannot be in a model's range, going by the first of them, and labels of no class.

    Such a training runs without a word, and what it gives is nonsense. Half of the range beyond either end is left to
    augmentation. Images of 0 to 1 lie within -1 to 1, too: they are known by having no pixel below 0, which the dark
    borders of X-rays have.

    Args:
        data: What `keras.Model.fit` takes: a `tf.data.Dataset` or arrays. Others, such as Python generators, of which
            the first images would be gone, are not looked into.
        pixel_range: `(low, high)`, the model's; None takes any.
        classes: How many classes the labels beside images in a dataset are of; None takes any labels.

    Raises:
        TrainingError: The images are in another range, or a label is no class.
    """
    if pixel_range is None:
        return
    low, high = pixel_range
    for images in _first_images(data, classes):
        least, most = float(images.min()), float(images.max())
        margin = (high - low) / 2
        halved = low < 0 <= least < most <= high  # 0 to 1 in place of -1 to 1
        if halved or least < low - margin or most > high + margin:
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


def _first_images(data, classes):
    """The first images of a training as arrays, one array for each input of images."""
    if hasattr(data, "shape"):
        batches = [[data[: 8 * _INSPECTED]]]
    elif isinstance(data, tf.data.Dataset):
        batches, count = [], 0
        total = int(data.cardinality())
        # The last batch is left: `data.batched` counts an epoch there.
        for element in data.take(min(_INSPECTED, total - 1) if total > 1 else _INSPECTED):
            batches.append([tensor for tensor in tf.nest.flatten(element) if len(tensor.shape) == 4])
            if classes is not None and isinstance(element, tuple) and len(element) > 1:
                check_classes(element[1], classes)
            count += len(batches[-1][0]) if batches[-1] else _INSPECTED
            if count >= _INSPECTED:
                break
    else:
        return []
    inputs = [
        np.concatenate([np.asarray(tensor, "float32") for tensor in tensors])
        for tensors in zip(*batches, strict=True)
    ]
    return [images for images in inputs if images.ndim == 4 and images.size]
