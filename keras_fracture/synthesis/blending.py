"""Patches blended into images so that no edge shows.

Source: Gupta, Chopra and Ledig, "Generative Bone Lesions Synthesis for Data Augmentation in X-ray", Blending.
"""

import math
import numbers

import numpy as np

from keras_fracture.errors import SynthesisError
from keras_fracture.synthesis.resampling import (
    SMALLEST,
    check_levels,
    check_window,
    interpolation,
    resize,
    to_levels,
)


def weights(height, width, n):
    """How much of a patch is seen in each pixel: `cos(|i|^n pi/2) cos(|j|^n pi/2)`, i and j from -1 to 1.

    Args:
        height: Of the window, in pixels, 3 or more.
        width: Of the window, in pixels, 3 or more.
        n: Positive; the larger, the flatter in the middle and the steeper towards the border.

    Returns:
        float64 `(height, width)`: 1 in the centre, exactly 0 along the border.

    Raises:
        SynthesisError: `n` is not positive, or a side below 3 pixels.
    """
    n = _exponent(n)
    if min(height, width) < SMALLEST:
        raise SynthesisError(
            f"A window must be {SMALLEST} x {SMALLEST} or more. Received: {height} x {width}"
        )
    return np.outer(*(_line(np, np.arange(side, dtype=float), side, n) for side in (height, width)))


def mix(image, patch, window, n):
    """Blends a patch into an image; the result is not rounded yet.

    Args:
        image: Array `(height, width, channels)`.
        patch: Array `(size, size, channels)` of the same range; scaled to the window.
        window: int `(4,)`, top, left, height, width in pixels.
        n: As in `weights`.

    Returns:
        float32 `(height, width, channels)`: the image's own values outside the window and on its border.

    Raises:
        SynthesisError: The window does not lie in the image, channels differ, or `n` is not positive.
    """
    top, left, height, width = check_window(window, image.shape)
    if image.ndim != 3 or patch.ndim != 3 or patch.shape[-1] != image.shape[-1]:
        raise SynthesisError(
            "Image and patch must be (height, width, channels) with as many channels. "
            f"Received: {image.shape} and {patch.shape}"
        )
    seen = weights(height, width, n)[..., None]
    mixed = image.astype(np.float32)
    inside = np.s_[top : top + height, left : left + width]
    mixed[inside] = seen * resize(patch, height, width) + (1 - seen) * image[inside]
    return mixed


def blend(image, patch, window, n):
    """`mix` of uint8 arrays, rounded to uint8; outside the window not a bit changes.

    Raises:
        SynthesisError: Image or patch is not uint8, or as in `mix`.
    """
    check_levels(image, patch)
    return to_levels(mix(image, patch, window, n))


def blend_graph(images, patches, windows, n):
    """`mix` of a batch in Keras's operations, for graphs with windows known only at run time.

    The sums are float64, so that TensorFloat-32 does not cost digits. Windows are not checked.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        patches: Tensor `(batch, size, size, channels)` of the same range.
        windows: int tensor `(batch, 4)`, top, left, height, width in pixels.
        n: As in `weights`, a number.

    Returns:
        float32 `(batch, height, width, channels)`, not rounded.

    Raises:
        SynthesisError: `n` is not positive.
    """
    from keras import ops

    n = _exponent(n)
    _, height, width, _ = ops.shape(images)
    size = patches.shape[1]
    windows, images = ops.cast(windows, "float64"), ops.cast(images, "float64")
    down, rows = _lines(windows[:, 0:1], windows[:, 2:3], height, size, n)
    across, columns = _lines(windows[:, 1:2], windows[:, 3:4], width, size, n)
    pasted = ops.einsum("bys,bstc->bytc", down, ops.cast(patches, "float64"))
    pasted = ops.einsum("bxt,bytc->byxc", across, pasted)
    seen = rows[:, :, None, None] * columns[:, None, :, None]
    return ops.cast(seen * pasted + (1 - seen) * images, "float32")


def _lines(start, length, side, size, n):
    """For a batch of windows along one axis: the scaling matrix `(batch, side, size)` and weights `(batch, side)`."""
    from keras import ops

    after = ops.arange(side, dtype="float64")[None] - start
    inside = ops.clip(after, 0.0, length - 1)  # pixels outside have a weight of 0, but must be finite
    ratio = size / length
    scaling = interpolation(ops, (inside + 0.5) * ratio - 0.5, size, ops.maximum(ratio, 1.0)[..., None])
    return scaling, _line(ops, after, length, n)


def _line(xp, after, length, n):
    """cos(|i|^n pi/2) of pixels that lie `after` the start of a window; exactly 0 at its ends and beyond."""
    within = xp.logical_and(after > 0, after < length - 1)
    from_centre = xp.where(within, xp.abs(2 * after / (length - 1) - 1), 1.0)
    return xp.where(within, xp.cos(from_centre**n * (math.pi / 2)), 0.0)


def _exponent(n):
    if not (isinstance(n, numbers.Real) and not isinstance(n, bool) and 0 < n < math.inf):
        raise SynthesisError(f"The exponent n of blending must be a positive number. Received: {n!r}")
    return float(n)
