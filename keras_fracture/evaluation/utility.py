"""What generated images are good for: classifiers trained on them, tested on real ones, and the reverse."""

import keras
import numpy as np

from keras_fracture import evaluation, models, training
from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import Predictions
from keras_fracture.evaluation.features import check_images
from keras_fracture.evaluation.predicting import probabilities
from keras_fracture.training.distribution import ONE_DEVICE

ARMS = ("trtr", "tstr", "trts")  # trained on, tested on: real or synthetic
# Steps of the compact CNN that run in one go, see `ibrahim_gan`.
_BLOCK = 8


def utility(
    real_train, real_test, synthetic, *, synthetic_test=None, build=None, epochs=20, batch_size=32, seeds=3,
    seed=0, strategy=ONE_DEVICE,
):  # fmt: skip
    """Scores of classifiers that were trained or tested on generated images.

    Source: Esteban, Hyland and Rätsch 2017, "Real-valued (Medical) Time Series Generation with Recurrent
    Conditional GANs", Section 4.1. Both trainings get equally many images of each class, drawn at random from
    the larger set, and the same steps, so that `tstr` falls short of `trtr` by what the images lack, not by
    their number. Where one class is real, it may also fall short by their style, which tells the classes apart there
    and not among real images.

    Args:
        real_train: (images, labels): uint8 `(n, side, side, 1 or 3)`, and 0 or 1 each.
        real_test: (images, labels, sources) of other sources.
        synthetic: (images, labels), generated from `real_train` alone; both classes. Where a generator knows
            findings only, healthy images of `real_train` join its own.
        synthetic_test: (images, labels) that `trts` tests on, None for `synthetic`; with healthy images that
            are real, they must not be those of `real_train`, and (images, labels, sources) says which X-rays they are.
        build: Function that returns a built model, not compiled, with one logit; None builds `compact_cnn`.
        epochs: Of each training.
        batch_size: Images a step.
        seeds: Trainings an arm.
        seed: First seed.
        strategy: A `training.distribution.Distribution` to train under.

    Returns:
        A dict of each of `ARMS` to a dict of `accuracy` and `auc`, each a dict of `value`, `low`, `high`: means over
        seeds with 95 % intervals over sources and seeds. Without sources generated images count as one each.

    Raises:
        EvaluationError: Images of different shapes, a class that is missing, or a test set with fewer than two
            sources of a class.
    """
    synthetic_test = synthetic_test or synthetic
    sets = {"real_train": real_train, "real_test": real_test, "synthetic": synthetic,
            "synthetic_test": synthetic_test}  # fmt: skip
    for name, (images, labels, *_) in sets.items():
        check_images(images, name)
        if len(labels) != len(images) or set(np.unique(labels)) != {0, 1}:
            raise EvaluationError(
                f"{name} needs a label for each image, and both classes. "
                f"Received: {len(images)} images, {len(labels)} labels {np.unique(labels).tolist()}"
            )
    if len({images.shape[1:] for images, *_ in sets.values()}) > 1:
        shapes = ", ".join(f"{name} {images.shape}" for name, (images, *_) in sets.items())
        raise EvaluationError(f"All images must have one shape. Received: {shapes}")
    made = (
        synthetic_test if len(synthetic_test) == 3 else (*synthetic_test, np.arange(len(synthetic_test[0])))
    )
    tests = {"real": real_test, "synthetic": made}
    collected = {arm: [] for arm in ARMS}
    for run in range(seed, seed + seeds):
        real, made = _equally_many(real_train, synthetic, run)
        taught = small_classifier(*real, epochs, run, batch_size, build, strategy)
        collected["trtr"].append(probabilities(taught, real_test[0]))
        collected["trts"].append(probabilities(taught, synthetic_test[0]))
        taught = small_classifier(*made, epochs, run, batch_size, build, strategy)
        collected["tstr"].append(probabilities(taught, real_test[0]))
    scores = {}
    for arm in ARMS:
        _, labels, sources = tests["synthetic" if arm == "trts" else "real"]
        scores[arm] = evaluation.scores(Predictions(np.asarray(labels), sources, np.stack(collected[arm])))
    return scores


def _equally_many(first, second, seed):
    """Both sets cut to the smaller number of images in each class."""
    generator = np.random.default_rng(seed)
    chosen = [[], []]
    for label in (0, 1):
        members = [np.flatnonzero(np.asarray(labels) == label) for _, labels in (first, second)]
        count = min(map(len, members))
        for rows, candidates in zip(chosen, members, strict=True):
            rows.append(np.sort(generator.choice(candidates, count, replace=False)))
    rows_of_sets = [np.concatenate(rows) for rows in chosen]
    return [
        (images[rows], np.asarray(labels)[rows])
        for (images, labels), rows in zip((first, second), rows_of_sets, strict=True)
    ]


def small_classifier(images, labels, epochs, seed, batch_size=32, build=None, strategy=ONE_DEVICE):
    """A `compact_cnn`, or what `build` returns, after `epochs` epochs; images and labels as in `utility`."""
    keras.utils.set_random_seed(seed)
    _, side, _, channels = images.shape
    with strategy.scope():
        model = build() if build else models.create("compact_cnn", image_size=side, channels=channels)
        model.compile(
            keras.optimizers.Adam(1e-3),
            keras.losses.BinaryCrossentropy(from_logits=True),
            steps_per_execution=_BLOCK,
        )
    training.fit_briefly(model, images, labels, epochs, batch_size=batch_size, seed=seed)
    return model
