"""Which part of an image speaks for a finding, in units of the finding's probability."""

import numpy as np
from PIL import Image

from keras_fracture.data import decoding


def occlusion(predict, data, finding, grid=7, side=512):
    """`occlusion_effect` over its highest.

    Args:
        predict: As in `occlusion_effect`, and so are all below.
        data: Bytes.
        finding: Index.
        grid: Squares a side.
        side: Pixels.

    Returns:
        The image, uint8 `(height, width, 1)`, and its heat, float32 `(height, width)`: 0 to 1, all 0 where no
        square speaks for a finding.

    Raises:
        ImageError: `data` is no image.
    """
    image, effect = occlusion_effect(predict, data, finding, grid, side)
    return image, effect / max(float(effect.max()), 1e-12)


def occlusion_effect(predict, data, finding, grid=7, side=512):
    """How much less probable a finding is with a square of the image greyed out: by predictions alone, as of servers.

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
        The image, uint8 `(height, width, 1)`, and the fall of the probability, float32 `(height, width)`: 0 to 1, 0
        where it does not fall.

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
            asked[-1][square(row, grid, len(image)), square(column, grid, image.shape[1])] = image.mean()
    findings = predict([decoding.encode_png(each) for each in asked])[:, finding]
    drop = np.maximum(findings[0] - findings[1:], 0).reshape(grid, grid).astype(np.float32)
    return image[..., None], np.asarray(Image.fromarray(drop).resize(shrunk.size, Image.Resampling.BILINEAR))


def gradcam_effect(network, classifier, data, finding):
    """Grad-CAM over what a network is shown of an image, its highest being the finding's probability.

    So heats of several images have one scale: where a finding is improbable, nothing is hot. Within an image it is
    `evaluation.gradcam`.

    Args:
        network: The classifier as a Keras model, of `models.load`.
        classifier: The same model's `predicting.Classifier`.
        data: The image file's bytes.
        finding: Index of the finding among the SavedModel's classes.

    Returns:
        The image, uint8 `(height, width, 1)`, and its heat, float32 `(height, width)`, 0 to 1.

    Raises:
        ImageError: `data` is no image.
        EvaluationError: The network is none that Grad-CAM can be had of.
    """
    from keras_fracture.evaluation.gradcam import (
        gradcam,  # imports TensorFlow, as a client of servers need not
    )
    from keras_fracture.models.preprocessing import scale

    image = classifier.prepare(data)
    order = getattr(network, "classes", None)  # of `models.load`, which puts the finding last
    logit = order.index(classifier.classes[finding]) if order else finding
    (heat,) = gradcam(network, scale(image[None], network.pixel_range), logit)
    return image[..., :1], heat * classifier.predict([data])[0, finding]


def square(number, grid, length):
    """The pixels of a side that a square covers: its cell and half of each neighbour."""
    start, stop = (round((number + shift) * length / grid) for shift in (-0.5, 1.5))
    return slice(max(start, 0), max(stop, start + 1))
