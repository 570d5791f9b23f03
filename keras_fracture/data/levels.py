"""Pixel values of any depth to 8-bit grey levels: one rule for files and arrays; `serving.graph` keeps it as well."""

import math
from typing import NamedTuple

import numpy as np

from keras_fracture.errors import DataError, ImageError

DEPTHS = (8, 10, 12, 14, 16)  # bits that detectors and converters use


class Levels(NamedTuple):
    """A grey image, uint8 `(height, width)`, and how many bits its values really used."""

    image: np.ndarray
    bits: int


def checked_range(pixel_range, name="pixel_range"):
    """The range as it is, which all that scales or augments pixels passes.

    Raises:
        DataError: It is no two finite numbers, or not the lower one first: images would come out inverted.
    """
    try:
        low, high = map(float, pixel_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not -math.inf < low < high < math.inf:  # NaN is neither
        raise DataError(
            f"{name} must be (low, high), two finite numbers, the lower one first. Received: {pixel_range!r:.80}"
        )
    return pixel_range


def scaled(image, pixel_range):
    """Levels, a uint8 array, as float32 between `low` and `high` of a pixel range."""
    low, high = checked_range(pixel_range)
    return image.astype("float32") * np.float32((high - low) / 255.0) + np.float32(low)


def scaled_twice(least, most, pixel_range):
    """Whether images are all but black, as after two divisions by 255; those of one level alone are left."""
    low, high = pixel_range
    return least < most < low + (high - low) / 127


def to_levels(values, name="image", bits=None):
    """Brings grey values of any type to levels 0 to 255; uint8 is left as it is.

    Files of 16 bits often hold fewer: the smallest of `DEPTHS` that holds the greatest value is taken for the depth,
    and scaled to 8 bits. A 16-bit image that is darker than a sixteenth of its range cannot be told from one of
    12 bits, and is brightened as that would be.

    Args:
        values: Array `(height, width)`: whole numbers from 0 to 65535 of any type, floats from 0 to 1 (which are
            scaled), or truth values.
        name: What errors call it.
        bits: The depth, where the file itself says it; default finds it.

    Returns:
        `Levels(image, bits)`.

    Raises:
        ImageError: Another shape or type, NaN, infinity, a negative value, one over 65535, or floats that are
            neither from 0 to 1 nor whole numbers.
    """
    values = np.asarray(values)
    if values.ndim != 2 or not values.size:
        raise ImageError(f"{name} must be grey, (height, width). Received: the shape {values.shape}")
    if values.dtype == np.uint8:
        return Levels(values, 8)
    if values.dtype == bool:
        return Levels(values * np.uint8(255), 8)
    if values.dtype.kind not in "iuf":
        raise ImageError(f"{name} must hold real numbers. Received: {values.dtype}")
    least, most = values.min(), values.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        raise ImageError(f"{name} must hold finite numbers: replace the others. Received: NaN or infinity")
    if least < 0:
        raise ImageError(
            f"{name} must hold no negative value (Hounsfield units?): apply a window first. Received: {least:g}"
        )
    if values.dtype.kind == "f" and most <= 1:
        return Levels(np.rint(values * np.float64(255)).astype(np.uint8), 8)
    if most > 65535 or (values.dtype.kind == "f" and (values != np.floor(values)).any()):
        raise ImageError(
            f"{name} must hold floats from 0 to 1 or whole numbers from 0 to 65535: scale or round it. "
            f"Received: {values.dtype} up to {most:g}"
        )
    bits = bits or _bits(int(most), values.dtype)
    full = 2**bits - 1
    return Levels(((values.astype(np.int64) * 510 + full) // (2 * full)).astype(np.uint8), bits)


def _bits(most, dtype):
    bits = next(depth for depth in DEPTHS if most < 2**depth)
    # A signed type has a bit less for its values.
    return bits if dtype.kind == "f" else min(bits, np.iinfo(dtype).bits - (dtype.kind == "i"))


def on_black(values, alpha):
    """Composites whole numbers of any depth on black; `alpha` is uint8, 255 where they are opaque."""
    return ((values.astype(np.int64) * alpha + 127) // 255).astype(values.dtype)


def looks_inverted(image):
    """Whether bones seem dark on a bright ground (DICOM's MONOCHROME1), where models want them bright on a dark one.

    Three of the four corners are brighter than the middle, and there is no black ground in the middle, which a white
    frame round an upright image leaves. Measured: no image of the phantom or Kaggle's set, 0.1 % of FracAtlas's and
    BTXRD's; of the same inverted 98, 98, 44 and 85 %.

    Args:
        image: uint8 `(height, width)`.
    """
    step = max(1, min(image.shape) // 256)
    image = image[::step, ::step]
    height, width = image.shape
    edge = max(1, min(height, width) // 8)
    ends = slice(edge), slice(-edge, None)
    corners = sorted(np.median(image[rows, columns]) for rows in ends for columns in ends)
    middle = image[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return bool(corners[1] > middle.mean() + 16 and np.percentile(middle, 25) > 64)
