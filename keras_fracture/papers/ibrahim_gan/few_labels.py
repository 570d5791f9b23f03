"""Few labels among many images: a GAN that saw all images without labels, and a classifier of a few labels."""

import functools

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from keras_fracture.data import Augmentation
from keras_fracture.evaluation.predicting import predictor, probabilities
from keras_fracture.experiment.runs import load_or_compute
from keras_fracture.models.preprocessing import scale
from keras_fracture.papers.ibrahim_gan.gans import draw, drawn_from, train_dcgan
from keras_fracture.papers.ibrahim_gan.learning_curve import (
    BASELINE,
    Curve,
    build_network,
    create_network,
    train_network,
)
from keras_fracture.progress import Bar

START, FEATURES, SYNTHETIC = "start from the discriminator", "discriminator features", "synthetic"
ARMS = (BASELINE, START, FEATURES, SYNTHETIC)
# Radford et al. 2016, Section 5.1: each layer's maps, max-pooled to a 4x4 grid. The linear classifier on top is weakly
# regularised there; with as few labels as here strongly.
_GRID = 4
_REGULARISATION = 1e-3
_UNLABELLED = 4000  # generated images that the classifier of few labels labels


def study(config, run, sets):
    """Trains the unlabelled GAN, then all arms at every number of labels; returns a `learning_curve.Curve`."""
    network = build_network(config, run.strategy)
    gans = [train_gan(config, run, sets["train"], number) for number in range(config.gans)]
    outcomes = {(size, arm): [] for size in config.few_labels for arm in ARMS}
    known = {}
    jobs = [(size, number) for size in config.few_labels for number in range(config.seeds)]
    for size, number in Bar(jobs, "classifiers of few labels", unit=" runs"):
        gan = gans[number % config.gans]
        for arm in ARMS:
            outcomes[size, arm].append(train_arm(config, run, network, arm, size, number, gan, sets, known))
    outcomes = {key: np.stack(each) for key, each in outcomes.items()}
    train, seeds = sets["train"], range(config.seed, config.seed + config.seeds)
    drawn = {
        size: drawn_from(train, [_rows(train, size, seed) for seed in seeds]) for size in config.few_labels
    }
    return Curve(sets, config.few_labels, ARMS, outcomes, {None: gans[0][0]}, drawn=drawn)


def _rows(train, size, seed):
    """Those whose labels are known: of as many X-rays as there are, as somebody would label them."""
    return draw(train, size, seed, one_a_source=True)


def train_gan(config, run, train, number):
    """The GAN that sees no labels, and its discriminator's weights, see `gans.train_dcgan`."""
    folder = run.folder / "few_labels" / f"gan-{number}"
    return train_dcgan(config, run, train.images, None, _UNLABELLED, config.seed + number, folder)


def train_arm(config, run, network, arm, size, number, gan, sets, known):
    """Trains one arm on `size` labels, unless a run that was cut off has; returns its probabilities on the test split.

    Args:
        config: The `Config`.
        run: An `experiment.runs.Run`.
        network: `learning_curve.build_network`'s.
        arm: One of `ARMS`.
        size: Number of labels.
        number: Of the seed, from 0.
        gan: What `train_gan` gives for this seed.
        sets: Split name to `Split`.
        known: A dict that keeps features from one call to the next.
    """
    fit = functools.partial(_train_arm, config, network, arm, size, number, *gan, sets, known)
    path = run.folder / "few_labels" / f"{size}" / f"{arm.replace(' ', '')}-{number}.npz"
    return load_or_compute(path, fit)["probabilities"]


def _train_arm(config, network, arm, size, number, gan, weights, sets, known):
    """Trains one arm on `size` labels; returns its probabilities on the test split."""
    seed = config.seed + number
    rows = _rows(sets["train"], size, seed)
    few = sets["train"].take(rows)
    augment = Augmentation(seed=seed, value_range=network.pixel_range)
    fit = functools.partial(train_network, config, network, seed=seed, augment=augment)
    images = {name: sets[name].images for name in ("train", "validation", "test")}
    images["generated"] = gan.images[0]

    def of_network(start, wanted):
        fit((few.images, few.labels), start=start)
        predict = predictor(network)
        return {name: predict(images[name]) for name in wanted}

    def of_features():
        key = number % config.gans
        if key not in known:
            known[key] = {name: features(config, weights, own) for name, own in images.items()}
        linear = make_pipeline(StandardScaler(), LogisticRegression(C=_REGULARISATION, max_iter=1000))
        linear.fit(known[key]["train"][rows], few.labels)
        return {name: linear.predict_proba(own)[:, 1] for name, own in known[key].items()}

    if arm == BASELINE:
        return {"probabilities": of_network(None, ["test"])["test"]}
    if arm == START:
        return {"probabilities": of_network(weights, ["test"])["test"]}
    if arm == FEATURES:
        return {"probabilities": of_features()["test"]}
    labellers = of_network(weights, ["validation", "generated"]), of_features()
    best = max(labellers, key=lambda own: roc_auc_score(sets["validation"].labels, own["validation"]))
    # Every label counts as much as the generated images that were labelled by it.
    often = max(1, len(images["generated"]) // size)
    real = [np.repeat(part, often, axis=0) for part in (few.images, few.labels)]
    fit(real, synthetic=(images["generated"], best["generated"]))
    return {"probabilities": probabilities(network, images["test"])}


def features(config, weights, images, batch_size=250):
    """What a discriminator sees in images: every layer's maps, the largest values of a 4x4 grid.

    Args:
        config: The `Config`.
        weights: Of a discriminator without classes.
        images: uint8 `(n, size, size, 1)`.
        batch_size: Images at a time.

    Returns:
        float32 `(n, d)`.
    """
    network = create_network(config)
    network.set_weights(weights)
    return np.concatenate(
        [
            _pooled(network, scale(images[first : first + batch_size], network.pixel_range))
            for first in range(0, len(images), batch_size)
        ]
    )


def _pooled(network, batch):
    pooled = []
    for layer in network.main.layers[:-1]:
        batch = layer(batch, training=False)
        if layer.name.startswith("leaky_relu"):
            maps = np.asarray(batch, "float32")
            cell = maps.shape[1] // _GRID
            blocks = maps.reshape(len(maps), _GRID, cell, _GRID, cell, maps.shape[-1])
            pooled.append(blocks.max((2, 4)).reshape(len(maps), -1))
    return np.concatenate(pooled, axis=1)
