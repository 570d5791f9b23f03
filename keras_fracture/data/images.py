"""What a classifier is given of an image: the same in training, in `predict` and beside other runtimes.

Needs no TensorFlow.
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from keras_fracture.data import decoding, levels
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.errors import DataError


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """What happens to every image once, before the cache.

    Attributes:
        size: Side of the square that comes out, in pixels.
        clahe: Clip limit and tiles a side, or None.
        crop: Fill the square and crop (resize-and-crop) instead of fitting and padding with black.
        channels: 1, or 3 for grey repeated.
        invert: Turn black and white, first of all: for images whose bones are dark (DICOM's MONOCHROME1).
        resize: "lanczos", or "bilinear" as torchvision's `Resize`; both with antialiasing.
        jpeg: "full", or "reduced": JPEG files are decoded at 1/2, 1/4 or 1/8 of their size, as little as leaves twice
            the pixels a side that `size` needs. Sooner, but pixels are others; for what that does to the AUC see
            BENCHMARKS.md.
    """

    size: int = 224
    clahe: tuple | None = None
    crop: bool = False
    channels: int = 1
    invert: bool = False
    resize: str = "lanczos"
    jpeg: str = "full"

    def __post_init__(self):
        if self.size < 1 or self.channels not in (1, 3):
            raise DataError(f"size must be positive and channels 1 or 3. Received: {self}")
        if not isinstance(self.invert, bool):
            raise DataError(f"invert must be True or False. Received: {self}")
        if self.resize not in decoding.RESIZING:
            raise DataError(
                f"resize must be one of {', '.join(decoding.RESIZING)}. Received: {self.resize!r}"
            )
        if self.jpeg not in ("full", "reduced"):
            raise DataError(f"jpeg must be full or reduced. Received: {self.jpeg!r}")
        if self.clahe and not _is_clahe(*self.clahe):
            raise DataError(f"clahe must be a clip limit and a number of tiles. Received: {self.clahe}")

    def decode(self, data, name="image"):
        """Returns the grey image `(height, width)`, uint8, of a file's bytes, see `decoding.decode`."""
        return decoding.decode(data, name, self.reduction if self.jpeg == "reduced" else None).image

    def reduction(self, height, width):
        """By how many times fewer pixels a side a JPEG file of that size is decoded: 8, 4, 2 or 1."""
        side = min(height, width) if self.crop else max(height, width)
        return next((times for times in (8, 4, 2) if side >= 2 * times * self.size), 1)

    def __call__(self, image):
        """Returns uint8 `(size, size, channels)` for a grey image `(height, width)`.

        Values are levels in uint8; of any other type they are brought to these by `levels.to_levels`, which may raise
        `ImageError`.
        """
        image = levels.to_levels(image).image
        image = 255 - image if self.invert else image
        if self.clahe:
            image = decoding.clahe(image, *self.clahe)
        image = (decoding.resize_and_crop if self.crop else decoding.fit_and_pad)(
            image, self.size, self.resize
        )
        image = image[..., None]
        return image if self.channels == 1 else np.repeat(image, self.channels, axis=2)


def prepare(contents, preprocess, pixel_range, names=None):
    """Image files as an exported classifier takes them, several at a time on a processor of several cores.

    Args:
        contents: Bytes of JPEG, PNG, DICOM or other image files, see `decoding.decode`.
        preprocess: A `Preprocess`; `serving.metadata.preparation` reads it and the next from an exported model.
        pixel_range: `(low, high)` that pixels are scaled to.
        names: What errors call the files.

    Returns:
        float32 `(n, size, size, channels)`.

    Raises:
        DataError: A DICOM file, and pydicom is not installed.
        ImageError: One of them is no image that can be read.
    """
    names = names or ["image"] * len(contents)

    def prepared(data, name):
        return levels.scaled(preprocess(preprocess.decode(data, name)), pixel_range)

    pairs = list(zip(contents, names, strict=True))
    threads = min(len(pairs), os.cpu_count() or 1)
    if threads < 2:
        return np.array([prepared(*pair) for pair in pairs])
    with one_opencv_thread, ThreadPoolExecutor(threads) as pool:
        return np.array(list(pool.map(prepared, *zip(*pairs, strict=True))))


def _is_clahe(clip_limit=None, tiles=None, *more):
    return (
        isinstance(clip_limit, int | float)
        and clip_limit >= 0
        and type(tiles) is int
        and tiles > 0
        and not more
    )
