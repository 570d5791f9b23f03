"""Methodologies 3 and 4 of the paper: CLAHE, fit and pad, then ResNets with focal loss."""

import functools
import logging

import keras

from keras_fracture import models, training
from keras_fracture.data import Preprocess
from keras_fracture.papers import classifier

_LOG = logging.getLogger(__name__)


def run(config, run):
    """See `papers.classifier.run`."""
    return classifier.run(config, run, METHOD)


def preprocess(config):
    """Grey, CLAHE 2.0 on 8 x 8 tiles, Lanczos to fit, black padding (Methodologies 3)."""
    return Preprocess(size=config.image_size, clahe=(2.0, 8), jpeg=config.jpeg)


def build_model(config, name, train):
    """A ResNet whose first stage has `width` channels, 64 in the paper; or the network of the variant `imagenet`."""
    shape = {"num_classes": 2, "image_size": config.image_size}
    if name.startswith("resnet"):
        shape["width"] = config.width
    if name.startswith("resnet") or config.starts_from_model:  # else ImageNet weights want the network's own
        shape |= classifier.normalisation(config, name)
    return models.create(name, **shape)


def optimizer(config, steps):
    """SGD with momentum (Methodologies 4); AdamW in the variant `imagenet`."""
    warmup = _warmup_steps(config.warmup, steps)
    if config.optimizer == "adamw":
        return training.adamw(config.learning_rate, steps, weight_decay=config.weight_decay, warmup=warmup)
    return training.sgd(config.learning_rate, steps, momentum=0.9, warmup=warmup)


@functools.cache  # said once, not for each seed
def _warmup_steps(share, steps):
    if 0 < share * steps < 1:
        _LOG.warning(
            "warmup is less than a step, so that it changes nothing: take a larger share or more epochs. Received: "
            "warmup %g of %d steps",
            share, steps,
        )  # fmt: skip
    return int(share * steps)


def loss(config):
    """Focal cross-entropy (Methodologies 4)."""
    return keras.losses.CategoricalFocalCrossentropy(
        config.alpha, config.gamma, from_logits=True, label_smoothing=config.smoothing
    )


METHOD = classifier.Method(preprocess, optimizer, loss, build_model)
