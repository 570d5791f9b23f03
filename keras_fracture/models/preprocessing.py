"""The pixel ranges models take, the check that an image is in the right one, and normalisation by mean and std."""

import numpy as np

from keras_fracture.errors import ModelError, TrainingError

UNIT = (0.0, 1.0)
SYMMETRIC = (-1.0, 1.0)
# Mean and standard deviation that ImageNet's images were normalised by, for torchvision's and most other weights.
_LOOKED_AT = 32  # images before a training starts; of fewer, bright ones alone may lie in half of the range
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def scale(images, pixel_range):
    """Maps 8-bit grey levels (0 to 255) onto a model's pixel range.

    Args:
        images: uint8 array or tensor.
        pixel_range: `(low, high)`, usually a model's `pixel_range`.

    Returns:
        `images` as float32 between `low` and `high`.

    Raises:
        ModelError: Another type: levels of 16 bits would leave the range, and floats that lie in it come out black.
    """
    low, high = pixel_range
    check_levels(images.dtype)
    if isinstance(images, np.ndarray):
        return images.astype("float32") * np.float32((high - low) / 255.0) + np.float32(low)
    from keras import ops

    scaled = ops.cast(images, "float32") * ((high - low) / 255.0)
    return (
        scaled + low if low else scaled
    )  # a pass over all pixels that adds nothing costs a fifth of an epoch


def check_levels(dtype):
    """Raises `ModelError` unless a type of pixels, NumPy's or a backend's, is uint8."""
    kind = getattr(dtype, "name", dtype)
    if kind != "uint8":
        raise ModelError(f"images must be 8-bit grey levels, uint8 (see data.Preprocess). Received: {kind}")


def unscale(images, pixel_range):
    """Maps a model's pixel range back to uint8 grey levels, rounding and clipping."""
    low, high = pixel_range
    levels = (np.asarray(images, "float32") - low) * (255.0 / (high - low))
    return np.clip(np.rint(levels), 0, 255).astype("uint8")


def checked_normalisation(mean, std, channels):
    """`mean` and `std` of a classifier, each a number or one number a channel.

    Returns:
        The two, sequences as tuples of floats.

    Raises:
        ModelError: Not finite, a `std` that is not above 0, or another number of channels.
    """
    found = []
    for name, value in (("mean", mean), ("std", std)):
        numbers = np.asarray(value, dtype=float)
        if numbers.shape not in ((), (channels,)) or not np.isfinite(numbers).all():
            raise ModelError(
                f"{name} must be a finite number, or {channels} of them, one a channel. Received: {value}"
            )
        found.append(tuple(numbers.tolist()) if numbers.ndim else value)
    if not (np.asarray(std) > 0).all():
        raise ModelError(f"std must be above 0. Received: {std}")
    return tuple(found)


def normalise(images, mean, std):
    """`(images - mean) / std`; a network does this itself, so that its numbers travel with it."""
    if np.all(np.equal(mean, 0)) and np.all(np.equal(std, 1)):
        return images
    if isinstance(mean, tuple) or isinstance(std, tuple):
        from keras import ops

        mean, std = (ops.convert_to_tensor(value, images.dtype) for value in (mean, std))
    return (images - mean) / std


def check_range(images, pixel_range, name="images"):
    """Raises `ModelError` if a batch cannot be in `pixel_range`: values outside it, or 8-bit levels."""
    low, high = pixel_range
    images = np.asarray(images)
    if not np.isfinite(images).all():
        raise ModelError(f"{name} must be finite numbers from {low} to {high}. Received: NaN or infinity")
    least, most = float(images.min()), float(images.max())
    if least < low - 1e-3 or most > high + 1e-3:
        raise ModelError(
            f"{name} must lie between {low} and {high} (see models.preprocessing.scale). "
            f"Received: values from {least:g} to {most:g}"
        )


def check_training(data, pixel_range):
    """Refuses training images that cannot be in a model's range, going by the first of them.

    Such a training runs without a word, and what it gives is nonsense. Half of the range beyond either end is left to
    augmentation. Images of 0 to 1 lie within -1 to 1, too: they are known by having no pixel below 0, which the dark
    borders of X-rays have.

    Args:
        data: What `keras.Model.fit` takes: a `tf.data.Dataset` or arrays. Others, such as Python generators, of which
            the first images would be gone, are not looked into.
        pixel_range: `(low, high)`, the model's; None takes any.

    Raises:
        TrainingError: The images are in another range.
    """
    if pixel_range is None:
        return
    low, high = pixel_range
    for images in _first_images(data):
        least, most = float(images.min()), float(images.max())
        margin = (high - low) / 2
        halved = low < 0 <= least < most <= high  # 0 to 1 in place of -1 to 1
        if halved or least < low - margin or most > high + margin:
            raise TrainingError(
                f"The images to train on must lie between {low:g} and {high:g}, with dark pixels near {low:g}: use "
                f"models.preprocessing.scale, or pixel_range=model.pixel_range where the batches are made. "
                f"Received: {len(images)} images from {least:g} to {most:g}"
            )


def _first_images(data):
    """The first images of a training as arrays, one array for each input of images."""
    import tensorflow as tf

    if hasattr(data, "shape"):
        found = [[data[: 8 * _LOOKED_AT]]]
    elif isinstance(data, tf.data.Dataset):
        found, count = [], 0
        known = int(data.cardinality())
        # The last batch is left: `data.batched` counts an epoch there.
        for element in data.take(min(_LOOKED_AT, known - 1) if known > 1 else _LOOKED_AT):
            found.append([one for one in tf.nest.flatten(element) if len(one.shape) == 4])
            count += len(found[-1][0]) if found[-1] else _LOOKED_AT
            if count >= _LOOKED_AT:
                break
    else:
        return []
    inputs = [
        np.concatenate([np.asarray(one, "float32") for one in parts]) for parts in zip(*found, strict=True)
    ]
    return [images for images in inputs if images.ndim == 4 and images.size]
