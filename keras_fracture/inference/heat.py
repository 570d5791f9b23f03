"""Which part of an image speaks for a finding, by predictions alone: for served models, which give no gradient."""

import numpy as np
from PIL import Image

from keras_fracture.data import decoding


def occlusion(predict, data, finding, grid=7, side=512):
    """Heat over an image: how much less probable a finding is with a square of it greyed out.

    Zeiler and Fergus, *Visualizing and Understanding Convolutional Networks*, ECCV 2014, section 4.2. Squares are two
    cells wide, so that they overlap; they take the image's mean level. The image is shrunk first, so that little
    is sent; its probability may then differ a little from the whole image's.

    Args:
        predict: Function of n contents of image files to probabilities `(n, classes)`;
            `predicting.Classifier.predict` or `client.Client.predict`.
        data: The image file's bytes.
        finding: Index of the finding among the classes.
        grid: Squares a side; `grid * grid + 1` images are asked for.
        side: Longest side in pixels after shrinking.

    Returns:
        The image, uint8 `(height, width, 1)`, and its heat, float32 `(height, width)`: 0 to 1, all 0 where no
        square speaks for a finding.

    Raises:
        ImageError: `data` is no image.
    """
    shrunk = Image.fromarray(decoding.decode(data).image)
    shrunk.thumbnail((side, side), Image.Resampling.LANCZOS)
    image = np.asarray(shrunk)
    asked = [image]
    for row in range(grid):
        for column in range(grid):
            asked.append(image.copy())
            asked[-1][_square(row, grid, len(image)), _square(column, grid, image.shape[1])] = image.mean()
    findings = predict([decoding.encode_png(each) for each in asked])[:, finding]
    drop = np.maximum(findings[0] - findings[1:], 0).reshape(grid, grid).astype(np.float32)
    heat = np.asarray(Image.fromarray(drop).resize(shrunk.size, Image.Resampling.BILINEAR))
    return image[..., None], heat / max(float(heat.max()), 1e-12)


def _square(number, grid, length):
    """The pixels of a side that a square covers: its cell and half of each neighbour."""
    start, stop = (round((number + shift) * length / grid) for shift in (-0.5, 1.5))
    return slice(max(start, 0), max(stop, start + 1))
