"""What classifiers learn beside whether there is a finding: body parts, or where boxes lie."""

import dataclasses

import numpy as np

from keras_fracture import training


def targets(config, split, sets):
    """One-hot labels `(n, 2)`, followed by what is learnt beside them.

    That are one-hot body parts; or with `box_weight` whether boxes of the image's finding are known, as they are where
    there is no finding.
    """
    labels, beside = one_hot(split.labels), np.empty((len(split.labels), 0), "float32")
    if config.body_parts:
        beside = split.table["body_part"].to_numpy()[:, None] == body_parts(sets)
    elif config.box_weight:
        beside = [
            [label == 0 or len(boxes) > 0] for label, boxes in zip(split.labels, split.boxes, strict=True)
        ]
    return np.concatenate([labels, np.asarray(beside, "float32")], axis=1)


def split_targets(config, dataset, trained):
    """The targets of a dataset by the outputs of what is trained."""
    if config.box_weight:
        return training.split_masks(dataset, trained)
    if not config.body_parts:
        return dataset
    return dataset.map(lambda images, both: (images, {"finding": both[:, :2], "body_part": both[:, 2:]}))


def one_hot(labels):
    """Labels 0 or 1 as float32 `(n, 2)`."""
    return np.eye(2, dtype="float32")[labels]


def body_parts(sets):
    """Names of the body parts that are trained on, in order."""
    return np.unique(sets["train"].table["body_part"].to_numpy().astype(str))


def with_masks(split):
    """A `Split` whose images have their boxes as one more channel, see `training.with_masks`."""
    return dataclasses.replace(split, images=training.with_masks(split.images, split.boxes))
