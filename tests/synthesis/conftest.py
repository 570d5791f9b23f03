from types import SimpleNamespace

import numpy as np
import pytest

from keras_fracture.data import images, phantom


def of_label(records, label):
    """Pictures of one label, half of them padded at the sides as fit-and-pad does with tall pictures."""
    pictures, boxes, parts = [], [], []
    for number, record in enumerate(r for r in records if r["label"] == label):
        picture, found = record["image"][..., 0], record["boxes"]
        if number % 2:
            # A tall strip of the picture that still holds its box: x from 12 to 84 of 96 pixels.
            picture = picture[:, 12:84]
            shifted = (found[:, [1, 3]] * 96 - 12) / 72
            found = np.stack([found[:, 0], shifted[:, 0], found[:, 2], shifted[:, 1]], 1).clip(0, 1)
        pictures.append(images.fit_and_pad(picture, 96)[..., None])
        boxes.append(images.fit_boxes(found, *picture.shape))
        parts.append(record["body_part"])
    return SimpleNamespace(pictures=np.stack(pictures), boxes=boxes, parts=np.array(parts))


@pytest.fixture(scope="session")
def radiographs():
    """Drawn X-rays of 96 x 96 pixels: `sick` and `well`, each with pictures, boxes and parts."""
    records = phantom.records(seed=4, sources=40, size=96)[:]
    return SimpleNamespace(sick=of_label(records, 1), well=of_label(records, 0))
