"""Findings painted into healthy images: cut out, translate, blend back."""

import numpy as np

from keras_fracture.errors import SynthesisError
from keras_fracture.synthesis.blending import blend
from keras_fracture.synthesis.resampling import check_windows, cut


def paint(images, windows, translate, n, size):
    """Paints into one window of each image what a translator makes of it.

    Source: Gupta, Chopra and Ledig, "Generative Bone Lesions Synthesis for Data Augmentation in X-ray".

    Args:
        images: uint8 `(n, height, width, channels)`.
        windows: int `(n, 4)`, top, left, height, width in pixels, one an image.
        translate: Function of uint8 patches `(n, size, size, channels)` to patches of the same shape and type.
        n: Exponent of the blending, see `blending.weights`.
        size: Side of the translator's patches in pixels.

    Returns:
        The blended images, and the translated patches before blending, both uint8.

    Raises:
        SynthesisError: A window does not lie in its image, `size` or `n` is not positive, or the translator
            gives something else than it was given.
    """
    windows = check_windows(windows, images)
    patches = np.stack([cut(image, window, size) for image, window in zip(images, windows, strict=True)])
    translated = np.asarray(translate(patches))
    if translated.shape != patches.shape or translated.dtype != np.uint8:
        raise SynthesisError(
            f"The translator must give uint8 patches {patches.shape}, as it got. "
            f"Received: {translated.dtype} {translated.shape}"
        )
    return _blended(images, translated, windows, n), translated


def copy_paste(images, windows, lesion_patches, n, seed):
    """The baseline without a translator: real lesions, blended in the same way.

    Args:
        images: uint8 `(n, height, width, channels)`.
        windows: int `(n, 4)`, top, left, height, width in pixels, one an image.
        lesion_patches: `Patches`, or uint8 `(k, size, size, channels)`, drawn from so that none comes more often
            than others by more than one.
        n: Exponent of the blending, see `blending.weights`.
        seed: Of the drawing.

    Returns:
        The blended images, uint8, and which patch each one got, int64 `(n,)`.

    Raises:
        SynthesisError: A window does not lie in its image, there is no patch, or `n` is not positive.
    """
    windows = check_windows(windows, images)
    patches = np.asarray(getattr(lesion_patches, "images", lesion_patches))
    if not len(patches):
        raise SynthesisError("There must be a lesion to paste. Received: no patches")
    rng = np.random.default_rng(seed)
    rounds = -(-len(images) // len(patches))
    chosen = np.concatenate([rng.permutation(len(patches)) for _ in range(rounds)])[: len(images)]
    return _blended(images, patches[chosen], windows, n), chosen


def _blended(images, patches, windows, n):
    return np.stack([blend(*each, n) for each in zip(images, patches, windows, strict=True)])
