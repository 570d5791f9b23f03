"""Scaling between images and patches: one formula for cutting out, pasting back, NumPy and graphs.

A window is int (top, left, height, width), in pixels of its image.
"""

import numpy as np

from keras_fracture.errors import SynthesisError

SMALLEST = 3  # pixels a side: a smaller window is all border, where blending leaves the image as it is
_LOBES = 3


def cut(image, window, size):
    """Cuts a window out and scales it to a square.

    Args:
        image: uint8 `(height, width, channels)`.
        window: int `(4,)`.
        size: Side of the square in pixels.

    Returns:
        uint8 `(size, size, channels)`.

    Raises:
        SynthesisError: The image is not uint8, the window does not lie in it, or `size` is not positive.
    """
    check_levels(image)
    check_size(size)
    top, left, height, width = check_window(window, image.shape)
    return to_levels(resize(image[top : top + height, left : left + width], size, size))


def resize(image, height, width):
    """Scales with Lanczos's kernel of three lobes, antialiased as in Pillow.

    Args:
        image: Array `(h, w, channels)`.
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        float64 `(height, width, channels)`, not rounded; it may overshoot the image's range a little.
    """
    down, across = _matrix(image.shape[0], height), _matrix(image.shape[1], width)
    return np.einsum("ys,stc,xt->yxc", down, image, across, optimize=True)


def _matrix(count, length):
    positions = (np.arange(length) + 0.5) * (count / length) - 0.5
    return interpolation(np, positions, count, max(count / length, 1.0))


def interpolation(xp, positions, count, scale):
    """Matrix of the weights with which samples on a line make up the values between them.

    Args:
        xp: `numpy`, or `keras.ops` for graphs.
        positions: float64 `(..., m)`, where values are wanted; sample k lies at k.
        count: Number of samples.
        scale: How much wider than one sample the kernel is, 1 or more; a number, or an array that broadcasts
            with `(..., m, count)`.

    Returns:
        float64 `(..., m, count)`; rows sum to 1.
    """
    away = (positions[..., None] - xp.arange(count, dtype="float64")) / scale
    middle = xp.abs(away) < 1e-9
    angle = np.pi * xp.where(middle, 1.0, away)
    kernel = xp.sin(angle) * xp.sin(angle / _LOBES) * _LOBES / (angle * angle)
    kernel = xp.where(middle, 1.0, xp.where(xp.abs(away) < _LOBES, kernel, 0.0))
    return kernel / xp.sum(kernel, axis=-1, keepdims=True)


def to_levels(values):
    """Rounds and clips to uint8 grey levels."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def check_window(window, shape):
    """The window as four ints.

    Raises:
        SynthesisError: It does not lie in an image of `shape`, or is smaller than 3 x 3 pixels.
    """
    top, left, height, width = (int(value) for value in window)
    inside = top >= 0 and left >= 0 and top + height <= shape[0] and left + width <= shape[1]
    if not inside or min(height, width) < SMALLEST:
        raise SynthesisError(
            f"A window (top, left, height, width) must lie in its image of {shape[0]} x {shape[1]} pixels and "
            f"be {SMALLEST} x {SMALLEST} or more. Received: {(top, left, height, width)}"
        )
    return top, left, height, width


def check_windows(windows, images):
    """Windows as an array `(n, 4)`, one an image.

    Raises:
        SynthesisError: Other numbers of windows than images, or images that are no uint8 stack.
    """
    check_images(images)
    windows = np.asarray(windows)
    if windows.shape != (len(images), 4):
        raise SynthesisError(f"Give one window an image, {(len(images), 4)}. Received: {windows.shape}")
    return windows


def check_images(images):
    """Raises `SynthesisError` unless images are uint8 `(n, height, width, channels)`, one or more."""
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
        raise SynthesisError(
            "Images must be a uint8 array (n, height, width, channels), one or more. "
            f"Received: {images.dtype} {images.shape}"
        )


def check_levels(*images):
    """Raises `SynthesisError` unless images are uint8: floats from 0 to 1 would be rounded to black."""
    for image in images:
        if image.dtype != np.uint8:
            raise SynthesisError(
                "Images and patches must be uint8, from 0 to 255: scale and round those of a generator first. "
                f"Received: {image.dtype}"
            )


def check_size(size):
    """Raises `SynthesisError` unless `size` is a positive whole number."""
    if size != int(size) or size < 1:
        raise SynthesisError(f"The side of patches must be 1 pixel or more. Received: {size}")
