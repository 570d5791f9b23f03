"""The poster, left to right: a GAN a class, synthetic X-rays, four ways to train the same compact CNN."""

import dataclasses
import functools
import itertools

import keras
import numpy as np
import scipy

from keras_fracture import evaluation, models, training
from keras_fracture.data import Augmentation, Preprocess
from keras_fracture.evaluation import Predictions
from keras_fracture.evaluation.baselines import Baselines
from keras_fracture.experiment import ahead
from keras_fracture.experiment.baselines import fit_baselines
from keras_fracture.experiment.runs import export_if_missing, load_or_compute
from keras_fracture.experiment.splits import check_real, load_splits, seen_by_training
from keras_fracture.models.preprocessing import UNIT, scale
from keras_fracture.papers.ibrahim_gan import few_labels, learning_curve
from keras_fracture.papers.ibrahim_gan.gans import quality, train_dense, train_poster
from keras_fracture.papers.ibrahim_gan.learning_curve import sizes_of
from keras_fracture.progress import Bar
from keras_fracture.serving.metadata import thresholded
from keras_fracture.training.distribution import ONE_DEVICE

ARMS = {
    "original": "original",
    "classic": "original + classic augmentation",
    "synthetic": "original + synthetic",
    "warm_start": "original after warm start on synthetic",
}
# Steps of the compact CNN that run in one go: each is so short that starting it costs as much. An epoch is
# rounded up to whole blocks.
_BLOCK = 8


@dataclasses.dataclass(frozen=True)
class Results:
    """What came out.

    Attributes:
        poster: Split policy to `Comparison`; empty where the variant leaves the poster's study out.
        curve: `learning_curve.Curve` of the modern study, or None.
        few_labels: `learning_curve.Curve` of few labels among many images, or None.
    """

    poster: dict
    curve: learning_curve.Curve | None
    few_labels: learning_curve.Curve | None


def run(config, run):
    """Carries out the studies of the variant.

    Args:
        config: A `Config`.
        run: An `experiment.runs.Run`.

    Returns:
        `Results`.
    """
    sets = {
        policy: load_splits(config, preprocess(config), policy, run.data_dir) for policy in config.policies
    }
    first = next(iter(sets.values()))
    check_real(config, first)
    for own in sets.values() if "poster" in config.studies else [first]:  # that images will be held against
        evaluation.check_sources(np.concatenate([own["train"].sources, own["test"].sources]))
    if "modern" in config.studies:  # what cannot be drawn is said now, and not after the first GAN
        learning_curve.check(config, first["train"])
    train_ahead(config, run, first["train"])
    poster = {}
    if "poster" in config.studies:
        poster = {policy: compare(config, run, policy, own) for policy, own in sets.items()}
    curve = learning_curve.study(config, run, first) if "modern" in config.studies else None
    few = few_labels.study(config, run, first) if "few_labels" in config.studies else None
    return Results(poster, curve, few)


def compare(config, run, policy, sets):
    """The poster's four arms under one split policy, a `Comparison`."""
    classifier = build_classifier(config, run.strategy)
    folder = run.folder / policy
    gans = [train_poster(config, run, sets["train"], number, folder) for number in range(config.gans)]
    baselines = fit_baselines(config, sets, run.data_dir, threshold=0.5)
    outcomes = {arm: [] for arm in ARMS}
    jobs = [(arm, seed) for seed in range(config.seeds) for arm in ARMS]
    for arm, seed in Bar(jobs, f"poster's classifiers, {policy}", unit=" runs"):
        gan = gans[seed % config.gans]
        outcomes[arm].append(train_arm(config, classifier, arm, seed, sets, gan, folder / "classifiers"))
    return Comparison(sets, gans, quality(config, sets, gans[0]), outcomes, baselines)


def train_ahead(config, run, train):
    """Has workers train all GANs, then all classifiers; `train` is the training split of the modern study."""
    numbers, seeds, sizes = range(config.gans), range(config.seeds), sizes_of(config, train)
    gans = {
        "poster": itertools.product(config.policies, (0, 1), numbers),
        "modern": itertools.product(sizes, numbers),
        "few_labels": itertools.product(numbers),
    }
    arms = {
        "poster": itertools.product(config.policies, ARMS, seeds),
        "modern": itertools.product(sizes, range(len(learning_curve.arms_of(config))), seeds),
        "few_labels": itertools.product(config.few_labels, few_labels.ARMS, seeds),
    }
    for function, jobs in ((_train_gan, gans), (_train_arm, arms)):
        ahead.train(config, run, function, [(study, *job) for study in config.studies for job in jobs[study]])


def _train_gan(config, run, job):
    """One GAN, by a worker."""
    match job:
        case "poster", policy, label, number:
            train_dense(config, run, _sets(config, run, policy)["train"], label, number, run.folder / policy)
        case "modern", size, number:
            learning_curve.train_gan(
                config, run, _sets(config, run, config.policies[0])["train"], size, number
            )
        case "few_labels", number:
            few_labels.train_gan(config, run, _sets(config, run, config.policies[0])["train"], number)


def _train_arm(config, run, job):
    """One classifier, by a worker."""
    study, what, arm, seed = job
    number = seed % config.gans
    if study == "poster":
        sets, folder = _sets(config, run, what), run.folder / what
        gan = train_poster(config, run, sets["train"], number, folder)
        train_arm(config, _network(config, study), arm, seed, sets, gan, folder / "classifiers")
        return
    sets, network = _sets(config, run, config.policies[0]), _network(config, study)
    if study == "modern":
        gan = learning_curve.train_gan(config, run, sets["train"], what, number)
        arm = learning_curve.arms_of(config)[arm]
        learning_curve.train_arm(config, run, network, arm, seed, what, gan, sets)
    else:
        gan = few_labels.train_gan(config, run, sets["train"], number)
        few_labels.train_arm(config, run, network, arm, what, seed, gan, sets, {})


@functools.lru_cache(maxsize=1)
def _sets(config, run, policy):
    return load_splits(config, preprocess(config), policy, run.data_dir)


@functools.lru_cache(maxsize=3)
def _network(config, study):
    """The compiled classifier of a study."""
    return build_classifier(config) if study == "poster" else learning_curve.build_network(config)


def train_arm(config, classifier, arm, number, sets, gan, folder):
    """`train_classifier` on the images of a `gans.TrainedGAN`, unless a run that was cut off has done that."""
    train = functools.partial(train_classifier, config, classifier, arm, number, sets, gan.images, folder)
    return load_or_compute(folder / f"{arm}-{number}.npz", train)


def preprocess(config):
    """The whole image, fitted into a small grey square."""
    return Preprocess(size=config.image_size)


def build_classifier(config, strategy=ONE_DEVICE):
    """The compact CNN that all arms train, one after the other."""
    with strategy.scope():
        model = models.create("compact_cnn", image_size=config.image_size)
        model.compile(
            keras.optimizers.Adam(1e-3),
            keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)],
            steps_per_execution=_BLOCK,
        )
    return model


def steps_of(config, arm, real):
    """Steps of `train_classifier` on `real` images: arms get equal epochs, and so the more steps the more images."""
    made = 2 * config.synthetic_per_class
    trainings = {"synthetic": [real + made], "warm_start": [made, real]}.get(arm, [real])
    passes = [images // min(config.batch_size, images) for images in trainings]
    return config.epochs * sum(-(-steps // _BLOCK) * _BLOCK for steps in passes)


def train_classifier(config, model, arm, number, sets, synthetic, folder):
    """Trains one classifier of an arm anew; returns probabilities on the test split and the history.

    Args:
        config: The `Config`.
        model: `build_classifier`'s, whose weights are drawn again.
        arm: One of `ARMS`.
        number: Of the seed, from 0; the model of the first is exported.
        sets: Split name to `Split`.
        synthetic: Generated images of each class.
        folder: Of the exported model.
    """
    seed = config.seed + number
    training.reset_weights(model, seed)
    real = sets["train"].images, sets["train"].labels
    generated = np.concatenate(synthetic), np.repeat((0, 1), config.synthetic_per_class)
    fit = functools.partial(
        training.fit_briefly,
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=seed,
        validation=(sets["validation"].images, sets["validation"].labels),
    )
    if arm == "warm_start":
        fit(model, *generated)
    if arm == "synthetic":
        real = tuple(np.concatenate(pair) for pair in zip(real, generated, strict=True))
    history = fit(model, *real, augment=Augmentation(seed=seed) if arm == "classic" else None)
    if number == 0:
        metadata = {
            "classes": ["finding"],
            "finding": "finding",
            "threshold": thresholded(0.5, fixed=True),
            **seen_by_training(config.data, sets),
        }
        export_if_missing(
            model, folder / arm / "saved_model", preprocess=preprocess(config), metadata=metadata
        )
    logits = keras.ops.convert_to_numpy(model(scale(sets["test"].images, UNIT)))[:, 0]
    return {"probabilities": scipy.special.expit(logits.astype(float)), **history}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What came out under one split policy.

    Attributes:
        sets: Split name to `Split`.
        gans: A `gans.TrainedGAN` for each GAN number.
        quality: Of the first, see `gans.quality`.
        outcomes: Arm to a list of dicts, one a seed, as `train_classifier` returns them.
        baselines: `evaluation.baselines.Baselines` on the same test images.
    """

    sets: dict
    gans: list
    quality: dict
    outcomes: dict
    baselines: Baselines

    def predictions(self, arm):
        """`evaluation.Predictions` of one arm on the test split."""
        test = self.sets["test"]
        probabilities = np.stack([outcome["probabilities"] for outcome in self.outcomes[arm]])
        return Predictions(test.labels, test.sources, probabilities)

    def saved_model_scores(self, arm):
        """Metrics of one arm's SavedModel, which is the first seed's, each with an interval."""
        return evaluation.scores(self.predictions(arm).of_run(0))

    def scores(self, arm):
        """Metrics of one arm and its gains over the original arm, each with an interval.

        `validation_accuracy` is that of the last epoch, its `low` and `high` those of the seeds.
        """
        scores = evaluation.scores(self.predictions(arm))
        last = [float(outcome["val_accuracy"][-1]) for outcome in self.outcomes[arm]]
        scores["validation_accuracy"] = {"value": float(np.mean(last)), "low": min(last), "high": max(last)}
        if arm != "original":
            gains = evaluation.gains(self.predictions(arm), self.predictions("original"))
            scores |= {f"{metric}_gain": gain for metric, gain in gains.items()}
        return scores
