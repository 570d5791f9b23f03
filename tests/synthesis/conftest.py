from types import SimpleNamespace

import numpy as np
import pytest

from keras_fracture.data import decoding, phantom


def of_label(records, label):
    """Images of one label, half of them padded at the sides as fit-and-pad does with tall images."""
    images, boxes, parts = [], [], []
    for number, record in enumerate(r for r in records if r["label"] == label):
        image, lesions = record["image"][..., 0], record["boxes"]
        if number % 2:
            # A tall strip of the image that still holds its box: x from 12 to 84 of 96 pixels.
            image = image[:, 12:84]
            shifted = (lesions[:, [1, 3]] * 96 - 12) / 72
            lesions = np.stack([lesions[:, 0], shifted[:, 0], lesions[:, 2], shifted[:, 1]], 1).clip(0, 1)
        images.append(decoding.fit_and_pad(image, 96)[..., None])
        boxes.append(decoding.fit_boxes(lesions, *image.shape))
        parts.append(record["body_part"])
    return SimpleNamespace(images=np.stack(images), boxes=boxes, parts=np.array(parts))


@pytest.fixture(scope="session")
def radiographs():
    """Drawn X-rays of 96 x 96 pixels: `sick` and `well`, each with images, boxes and parts."""
    records = phantom.records(seed=4, sources=40, size=96)[:]
    return SimpleNamespace(sick=of_label(records, 1), well=of_label(records, 0))
