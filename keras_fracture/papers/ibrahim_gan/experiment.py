"""The poster, left to right: a GAN a class, synthetic X-rays, four ways to train the same compact CNN."""

import dataclasses
import functools

import keras
import numpy as np
import pandas as pd
import scipy
from tqdm import tqdm

from keras_fracture import evaluation, models, training
from keras_fracture.data import Augmentation, Preprocess
from keras_fracture.evaluation import Predictions
from keras_fracture.experiment.runs import export_if_missing, load_or_compute
from keras_fracture.experiment.splits import as_grey, load_splits, seen_by_training
from keras_fracture.models.preprocessing import UNIT, scale
from keras_fracture.training.distribution import ONE_DEVICE

ARMS = {
    "original": "original",
    "classic": "original + classic augmentation",
    "synthetic": "original + synthetic",
    "warm_start": "original after warm start on synthetic",
}
CLASSES = ("healthy", "finding")
# Steps of the compact CNN that run in one go: each is so short that starting it costs as much. An epoch is
# rounded up to whole blocks.
_BLOCK = 8


def run(config, run):
    """Trains the GANs, then all arms, under each split policy.

    Args:
        config: A `Config`.
        run: An `experiment.runs.Run`.

    Returns:
        A dict of split policy to `Comparison`.
    """
    classifier = build_classifier(config, run.strategy)
    results = {}
    for policy in config.policies:
        folder = run.folder / policy
        sets = load_splits(config, preprocess(config), policy, run.data_dir)
        gans = [
            [train_gan(config, run, sets["train"], label, number, folder) for label in (0, 1)]
            for number in range(config.gans_per_class)
        ]
        outcomes = {arm: [] for arm in ARMS}
        jobs = [(arm, seed) for seed in range(config.seeds) for arm in ARMS]
        for arm, seed in tqdm(jobs, f"classifiers, {policy}", unit=" runs"):
            synthetic = [gan["images"] for gan in gans[seed % config.gans_per_class]]
            train = functools.partial(
                train_classifier, config, classifier, arm, seed, sets, synthetic, folder / "classifiers"
            )
            outcomes[arm].append(load_or_compute(folder / "classifiers" / f"{arm}-{seed}.npz", train))
        results[policy] = Comparison(sets, gans, outcomes)
    return results


def preprocess(config):
    """The whole image, fitted into a small grey square."""
    return Preprocess(size=config.image_size)


def train_gan(config, run, train, label, number, folder):
    """Trains one GAN on one class of the training split; returns its history and images."""
    folder = folder / "gan" / f"{CLASSES[label]}-{number}"
    seed = config.seed + 1000 * number + label

    def train_and_sample():
        gan = build_gan(config, seed, run.strategy)
        real = np.repeat(train.of(label), config.gan_channels, axis=3)

        def stream(first):
            return training.make_train_dataset(
                real,
                batch_size=config.batch_size,
                seed=seed,
                first_epoch=first,
                steps=config.gan_steps,
                pixel_range=gan.generator.pixel_range,
            )

        grids = training.SampleGrid(folder / "samples", every=max(1, config.gan_epochs // 4))
        bar = training.Progress(f"GAN, {folder.parents[1].name}, {CLASSES[label]}", config.gan_epochs)
        training.fit(gan, stream, config.gan_epochs, folder, callbacks=[grids, bar], verbose=0)
        export_if_missing(gan.sampler, folder / "saved_model")
        return {"images": as_grey(gan.sample(config.synthetic_per_class, seed=seed))}

    images = load_or_compute(folder / "synthetic.npz", train_and_sample)["images"]
    return {"history": pd.read_csv(folder / "history.csv"), "images": images}


def build_gan(config, seed, strategy=ONE_DEVICE):
    """Generator and discriminator, compiled."""
    keras.utils.set_random_seed(seed)
    shape = {"image_size": config.image_size, "channels": config.gan_channels}
    width = config.discriminator_width or config.gan_width
    with strategy.scope():
        gan = training.AdversarialModel(
            models.create("dense_gan_generator", width=config.gan_width, **shape),
            models.create("dense_gan_discriminator", width=width, **shape),
            ema=config.gan_ema,
            seed=seed,
        )
        gan.compile(
            g_optimizer=training.Adam(config.gan_learning_rate, beta_1=0.5),
            d_optimizer=training.Adam(config.gan_learning_rate, beta_1=0.5),
        )
    return gan


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
            "threshold": {"value": 0.5, "chosen": "fixed beforehand"},
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
        gans: For each GAN number, a pair (healthy, finding) of dicts with `history` and `images`.
        outcomes: Arm to a list of dicts, one a seed, as `train_classifier` returns them.
    """

    sets: dict
    gans: list
    outcomes: dict

    def predictions(self, arm):
        """`evaluation.Predictions` of one arm on the test split."""
        test = self.sets["test"]
        probabilities = np.stack([outcome["probabilities"] for outcome in self.outcomes[arm]])
        return Predictions(test.labels, test.sources, probabilities)

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
