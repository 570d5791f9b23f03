"""The pixel ranges models take, the check that an image is in the right one, and normalisation by mean and std."""

import numpy as np

from keras_fracture.data import levels
from keras_fracture.errors import ModelError

UNIT = (0.0, 1.0)
SYMMETRIC = (-1.0, 1.0)
# Mean and standard deviation that ImageNet's images were normalised by, for torchvision's and most other weights.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LITE = (127 / 255, 128 / 255)  # the same of EfficientNet-Lite's weights, for all channels alike


def scale(images, pixel_range):
    """Maps 8-bit grey levels (0 to 255) onto a model's pixel range.

    Args:
        images: uint8 array or tensor.
        pixel_range: `(low, high)`, usually a model's `pixel_range`.

    Returns:
        `images` as float32 between `low` and `high`.

    Raises:
        ModelError: Another type: levels of 16 bits would leave the range, and floats that lie in it come out black.
        DataError: A range that is none, such as (1, 0).
    """
    check_levels(images.dtype)
    if isinstance(images, np.ndarray):
        return levels.scaled(images, pixel_range)
    from keras import ops

    low, high = levels.checked_range(pixel_range)
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
    low, high = levels.checked_range(pixel_range)
    grey = (np.asarray(images, "float32") - low) * (255.0 / (high - low))
    return np.clip(np.rint(grey), 0, 255).astype("uint8")


def checked_normalisation(mean, std, channels):
    """`mean` and `std` of a classifier, each a number or one number a channel.

    Returns:
        The two, sequences as tuples of floats.

    Raises:
        ModelError: Not finite, a `mean` that no pixels of 0 to 1 have, a `std` that is not above 0, or another number
            of channels.
    """
    normalisation = []
    for name, value in (("mean", mean), ("std", std)):
        numbers = np.asarray(value, dtype=float)
        if numbers.shape not in ((), (channels,)) or not np.isfinite(numbers).all():
            raise ModelError(
                f"{name} must be a finite number, or {channels} of them, one a channel. Received: {value}"
            )
        normalisation.append(tuple(numbers.tolist()) if numbers.ndim else value)
    low, high = UNIT  # of every network with such numbers
    if not ((np.asarray(mean) >= low) & (np.asarray(mean) <= high)).all():
        raise ModelError(
            f"mean must lie between {low:g} and {high:g}, as pixels do: divide numbers in grey levels by 255, and std "
            f"alike. Received: {mean}"
        )
    if not (np.asarray(std) > 0).all():
        raise ModelError(f"std must be above 0. Received: {std}")
    return tuple(normalisation)


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


def check_size(images, model):
    """Raises `ModelError` if a batch is not of the size that a model takes, where it takes one alone.

    Most networks answer for other sizes too, and far worse than for the one that they learnt.
    """
    size = getattr(model, "image_size", None)
    if size is not None and tuple(images.shape[1:3]) != (size, size):
        raise ModelError(
            f"images must be {size} x {size} pixels: prepare them as the model's are (of a model of models.load, by "
            f"its preprocess). Received: {tuple(images.shape)}"
        )
