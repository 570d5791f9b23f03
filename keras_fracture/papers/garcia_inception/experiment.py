"""The images doubled by flipping, then a small Inception net trained by Adam; or what the author's code does."""

import dataclasses

import keras
import numpy as np

from keras_fracture import models, training
from keras_fracture.data import Preprocess
from keras_fracture.experiment.splits import concatenate, synthetic
from keras_fracture.models.preprocessing import UNIT, scale
from keras_fracture.papers import classifier
from keras_fracture.papers.garcia_inception.config import NETWORKS

# Of all training images, as the paper and the author's code have them.
_AUTHORS = {"mean": 0.2184, "std": 0.2088}


def run(config, run):
    """See `papers.classifier.run`."""
    return classifier.run(config, run, METHOD)


def preprocess(config):
    """The whole image, fitted into a grey square; the copies are 224 x 224 already."""
    resize = "bilinear" if config.as_published else "lanczos"
    return Preprocess(size=config.image_size, resize=resize, jpeg=config.jpeg)


def prepare_splits(config, sets, policy):
    """Doubles what is trained on by flipping; under `paper` the validation tenth is drawn after that."""
    enlarged = doubled if config.doubled else lambda split: split
    if policy != "paper":
        return sets | {"train": enlarged(sets["train"])}
    images = enlarged(concatenate(sets["train"], sets["validation"]))
    made = synthetic(config, images.table)  # of own X-rays: for training alone
    order = np.random.default_rng(config.seed).permutation(np.flatnonzero(~made))
    cut = len(order) - max(1, len(order) // 10)  # 15,954 of 17,726, as PyTorch's `random_split` rounds
    return sets | {
        "train": images.take(np.concatenate([order[:cut], np.flatnonzero(made)])),
        "validation": images.take(order[cut:]),
    }


def doubled(split):
    """A split and its mirror images."""
    mirrored = dataclasses.replace(split, images=split.images[:, :, ::-1])
    return concatenate(split, mirrored)


def build_model(config, name, train):
    """The net, which normalises by mean and standard deviation of the training images, the author's, or its start's."""
    # Counted, not summed: a float32 sum over 10^9 pixels is off in the second digit.
    levels = sum(np.bincount(image.ravel(), minlength=256) for image in train.images) / train.images.size
    values = scale(np.arange(256, dtype=np.uint8), UNIT).astype(float)
    mean = float(levels @ values)
    std = float(np.sqrt(levels @ (values - mean) ** 2))
    own = _AUTHORS if config.as_published and config.data == type(config).data else {"mean": mean, "std": std}
    start = {"initializer": "pytorch"} if config.as_published else {}
    known = own | classifier.normalisation(config, name) | start
    return models.create(
        "inception_net", num_classes=2, image_size=config.image_size, **NETWORKS[name], **known
    )


def optimizer(config, steps):
    """Adam; with `cosine_decay` its learning rate falls."""
    epsilon = 1e-8 if config.as_published else 1e-7  # PyTorch's, Keras's
    if config.cosine_decay:
        return training.adam(config.learning_rate, steps, epsilon=epsilon)
    return keras.optimizers.Adam(config.learning_rate, epsilon=epsilon)


def loss(config):
    """Cross-entropy."""
    return keras.losses.CategoricalCrossentropy(from_logits=True)


METHOD = classifier.Method(preprocess, optimizer, loss, build_model, prepare_splits)
