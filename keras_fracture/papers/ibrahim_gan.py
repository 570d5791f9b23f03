"""Do synthetic X-rays help a classifier? The `ibrahim_gan` poster, with leaks looked for."""

import dataclasses
import functools
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pandas as pd
import scipy
from tqdm import tqdm

from keras_fracture import evaluation, models, training
from keras_fracture.data import Augmentation, Preprocess
from keras_fracture.evaluation import Predictions
from keras_fracture.models.preprocessing import UNIT, scale
from keras_fracture.papers.recipe import Recipe, as_grey, export_if_missing, load_or_compute, seen_by_training

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


@dataclasses.dataclass(frozen=True)
class IbrahimGAN(Recipe):
    """One GAN per class, then four ways to train a compact CNN.

        keras-fracture reproduce ibrahim_gan                                        # embedded data
        keras-fracture reproduce ibrahim_gan --data kaggle_fracture --profile quick

    Source: Ibrahim and Bukhari, "Leveraging GANs for Improved Medical Image Classification". Reported accuracy
    of the four arms: 92, 87, 91 and 93 %; ours: results/ibrahim_gan.json. The poster states neither optimizer
    nor learning rates: Adam, 2e-4 with beta 0.5 for the GAN and 1e-3 for the classifier.

    Attributes:
        policies: Split policies, each carried out in full.
        gans: GANs a class; seed k uses GAN k modulo `gans`.
        gan_epochs: Epochs of each GAN.
        gan_steps: Steps a GAN epoch; None is a pass over the class.
        gan_width: Factor on the generator's channel counts; 1 is the poster's.
        discriminator_width: The same of the discriminator; None is `gan_width`.
        gan_channels: 3 as the poster, or 1: the images are grey.
        gan_learning_rate: Adam's learning rate for both nets.
        gan_ema: Decay of the generator's weight average that makes the images; None makes them without.
        synthetic: Synthetic images a class.
        epochs: Epochs of each classifier.
        batch_size: Of GAN and classifier.
        image_size: Side of all images in pixels.
    """

    key = "ibrahim_gan"
    title = "Leveraging GANs for Improved Medical Image Classification (Ibrahim, Bukhari)"
    REPORTED: ClassVar = {"original": 0.92, "classic": 0.87, "synthetic": 0.91, "warm_start": 0.93}
    PROFILES: ClassVar = {
        "smoke": {
            "seeds": 2, "gan_epochs": 1, "gan_steps": 2, "gan_width": 1 / 16, "gan_channels": 1,
            "synthetic": 64, "epochs": 1,
        },
        # A tenth of the steps at five times the rate; the average keeps that from showing.
        "quick": {
            "seeds": 3, "gan_epochs": 8, "gan_steps": 40, "gan_width": 1 / 8, "discriminator_width": 1 / 2,
            "gan_channels": 1, "gan_learning_rate": 1e-3, "gan_ema": 0.98, "synthetic": 1000,
        },
        "paper": {"seeds": 5, "gans": 5},
    }  # fmt: skip

    policies: tuple = ("grouped", "paper")
    gans: int = 1
    gan_epochs: int = 100
    gan_steps: int | None = None
    gan_width: float = 1.0
    discriminator_width: float | None = None
    gan_channels: int = 3
    gan_learning_rate: float = 2e-4
    gan_ema: float | None = None
    synthetic: int = 10_500
    epochs: int = 20
    batch_size: int = 32
    image_size: int = 64

    @property
    def preprocess(self):
        """The whole image, fitted into a small grey square."""
        return Preprocess(size=self.image_size)

    @property
    def split_policies(self):
        """See `Recipe.split_policies`."""
        return self.policies

    def run(self, out, data_dir=None):
        """See `Recipe.run`."""
        out = Path(out)
        results = {policy: self.compare(policy, out / policy, data_dir) for policy in self.policies}
        from keras_fracture.report import ibrahim_gan

        return ibrahim_gan.write(self, results, out)

    def compare(self, policy, out, data_dir=None):
        """All arms and seeds under one split policy."""
        sets = self.labelled(self.preprocess, policy, data_dir)
        gans = [
            [self.train_gan(sets["train"], label, number, out) for label in (0, 1)]
            for number in range(self.gans)
        ]
        outcomes = {arm: [] for arm in ARMS}
        jobs = [(arm, run) for run in range(self.seeds) for arm in ARMS]
        for arm, run in tqdm(jobs, f"classifiers, {policy}", unit=" runs"):
            made = gans[run % self.gans]
            outcomes[arm].append(
                load_or_compute(
                    out / "classifiers" / f"{arm}-{run}.npz",
                    lambda arm=arm, run=run, made=made: self.train_classifier(arm, run, sets, made, out),
                )
            )
        return Comparison(sets, gans, outcomes)

    def train_gan(self, train, label, number, out):
        """Trains one GAN on one class of the training split; returns its history and images."""
        folder = out / "gan" / f"{CLASSES[label]}-{number}"
        seed = self.seed + 1000 * number + label
        kept = folder / "synthetic.npz"

        def make():
            gan = self.build_gan(seed)
            real = np.repeat(train.of(label), self.gan_channels, axis=3)

            def stream(first):
                return training.make_train_dataset(
                    real,
                    batch_size=self.batch_size,
                    seed=seed,
                    first_epoch=first,
                    steps=self.gan_steps,
                    pixel_range=gan.generator.pixel_range,
                )

            grids = training.SampleGrid(folder / "samples", every=max(1, self.gan_epochs // 4))
            bar = training.Progress(f"GAN, {out.name}, {CLASSES[label]}", self.gan_epochs)
            training.fit(gan, stream, self.gan_epochs, folder, callbacks=[grids, bar], verbose=0)
            export_if_missing(gan.sampler, folder / "saved_model")
            return {"images": as_grey(gan.sample(self.synthetic, seed=seed))}

        images = load_or_compute(kept, make)["images"]
        return {"history": pd.read_csv(folder / "history.csv"), "images": images}

    def build_gan(self, seed):
        """Generator and discriminator, compiled."""
        keras.utils.set_random_seed(seed)
        shape = {"image_size": self.image_size, "channels": self.gan_channels}
        width = self.discriminator_width or self.gan_width
        with training.distribution.scope():
            gan = training.AdversarialModel(
                models.create("dense_gan_generator", width=self.gan_width, **shape),
                models.create("dense_gan_discriminator", width=width, **shape),
                ema=self.gan_ema,
                seed=seed,
            )
            gan.compile(*(training.Adam(self.gan_learning_rate, beta_1=0.5) for _ in range(2)))
        return gan

    @functools.cached_property
    def classifier(self):
        """The compact CNN that all arms train, one after the other."""
        with training.distribution.scope():
            model = models.create("compact_cnn", image_size=self.image_size)
            model.compile(
                keras.optimizers.Adam(1e-3),
                keras.losses.BinaryCrossentropy(from_logits=True),
                metrics=[keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)],
                steps_per_execution=_BLOCK,
            )
        return model

    def train_classifier(self, arm, run, sets, gans, out):
        """Trains one classifier; returns probabilities on the test split and the history."""
        seed = self.seed + run
        model = self.classifier
        training.reset_weights(model, seed)
        real = sets["train"].images, sets["train"].labels
        made = np.concatenate([gan["images"] for gan in gans]), np.repeat((0, 1), self.synthetic)
        fit = functools.partial(
            training.fit_briefly,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            validation=(sets["validation"].images, sets["validation"].labels),
        )
        if arm == "warm_start":
            fit(model, *made)
        if arm == "synthetic":
            real = tuple(np.concatenate(pair) for pair in zip(real, made, strict=True))
        augment = Augmentation(seed=seed) if arm == "classic" else None
        history = fit(model, *real, augment=augment)
        if run == 0:
            facts = {
                "classes": ["finding"],
                "finding": "finding",
                "threshold": {"value": 0.5, "chosen": "fixed beforehand"},
                **seen_by_training(self.data, sets),
            }
            export_if_missing(
                model, out / "classifiers" / arm / "saved_model", preprocess=self.preprocess, metadata=facts
            )
        logits = keras.ops.convert_to_numpy(model(scale(sets["test"].images, UNIT)))[:, 0]
        return {"probabilities": scipy.special.expit(logits.astype(float)), **history}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What came out under one split policy.

    Attributes:
        sets: Split name to `recipe.Split`.
        gans: For each GAN number, a pair (healthy, finding) of dicts with `history` and `images`.
        outcomes: Arm to a list of dicts, one a seed.
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
        found = evaluation.scores(self.predictions(arm))
        last = [float(outcome["val_accuracy"][-1]) for outcome in self.outcomes[arm]]
        found["validation_accuracy"] = {"value": float(np.mean(last)), "low": min(last), "high": max(last)}
        if arm != "original":
            better = evaluation.gains(self.predictions(arm), self.predictions("original"))
            found |= {f"{metric}_gain": value for metric, value in better.items()}
        return found
