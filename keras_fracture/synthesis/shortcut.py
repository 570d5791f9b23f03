"""Whether painting leaves marks that a classifier could learn instead of findings."""

import numpy as np

from keras_fracture.errors import SynthesisError
from keras_fracture.synthesis.resampling import check_size, check_window, check_windows, resize, to_levels


def border(images, windows, size, width=0.15):
    """Rings across the borders of windows, with nothing of what lies further in.

    A classifier that tells rings of painted images from rings of the same images before, better than by
    chance, has found the seam. Hold some source X-rays back to test it on.

    Args:
        images: uint8 `(n, height, width, channels)`.
        windows: int `(n, 4)`, top, left, height, width in pixels, one an image.
        size: Side of the rings' patches in pixels.
        width: How far the ring reaches outwards, and inwards, as a share of the window's side, above 0
            and below 0.5.

    Returns:
        uint8 `(n, size, size, channels)`, black inside the ring, and outside of the image.

    Raises:
        SynthesisError: A window does not lie in its image, `size` is not positive, or `width` not allowed.
    """
    check_size(size)
    windows = check_windows(windows, images)
    if not 0 < width < 0.5:
        raise SynthesisError(f"The ring's width must be above 0 and below 0.5. Received: {width}")
    return np.stack(
        [_ring(image, window, size, width) for image, window in zip(images, windows, strict=True)]
    )


def _ring(image, window, size, width):
    top, left, height, across = check_window(window, image.shape)
    far = [max(1, round(width * side)) for side in (height, across)]
    ring = np.pad(image, ((far[0], far[0]), (far[1], far[1]), (0, 0)))
    ring = ring[top : top + height + 2 * far[0], left : left + across + 2 * far[1]].copy()
    # Blanked before it is scaled: no kernel carries anything of the inside over.
    ring[2 * far[0] : -2 * far[0], 2 * far[1] : -2 * far[1]] = 0
    return to_levels(resize(ring, size, size))
