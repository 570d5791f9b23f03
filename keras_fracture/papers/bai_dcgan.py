"""Fractured X-rays drawn by a DCGAN: the `bai_dcgan` paper, and whether what comes out is new."""

import dataclasses
import functools
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pandas as pd

from keras_fracture import evaluation, files, models, training
from keras_fracture.data import Preprocess
from keras_fracture.errors import FractureError
from keras_fracture.evaluation.utility import utility
from keras_fracture.papers.recipe import Recipe, as_grey, export_if_missing, joined, load_or_compute

CONDITIONS = (None, "label", "body_part")


@dataclasses.dataclass(frozen=True)
class BaiDCGAN(Recipe):
    """A DCGAN on images with a finding, judged by more than its loss.

        keras-fracture reproduce bai_dcgan                                     # quick: half the width
        keras-fracture reproduce bai_dcgan --profile paper --epochs 60
        keras-fracture reproduce bai_dcgan --profile paper --epochs 60 --variant modern

    Source: Bai, "Bone fractured X-ray data generation based on DCGAN". Reported: both losses at some epochs
    (`REPORTED`), no distance to the real images; ours: results/bai_dcgan.json. Under the `paper` policy the GAN
    learns from all 4,480 fractured training images, as in the paper. They are rotated copies of 112 X-rays.

    The variant `modern` is the paper's own wish list (classes, better optimisation) and what small data call for:
    DiffAugment, a weight average, DCGAN's own learning rate, one class per label.

    Attributes:
        policy: Split policy.
        variant: "paper" or "modern", see `VARIANTS`.
        seeds: How many GANs are trained.
        epochs: Passes over the training images.
        steps: Steps an epoch; None is a pass.
        batch_size: Images a step.
        image_size: Side of the images: 32, 64 or 128.
        channels: 3 as in the paper, or 1: the images are grey.
        width: Channels of the networks' widest maps; 64 is the paper's.
        activation: Of the discriminator, "silu" as in the paper or "leaky_relu".
        loss: Name of a loss, see `training.losses`.
        g_learning_rate: Adam's learning rate for the generator.
        d_learning_rate: The same for the discriminator.
        fresh_noise: Whether the generator is updated on noise of its own; the paper draws twice.
        augment: Whether the discriminator sees images through DiffAugment.
        ema: Decay of the generator's weight average that makes the images, or None.
        condition: What images are classed by: "label" (then healthy images are learnt too), "body_part", None.
        images: Images generated for the report.
        judged: Epochs between looks at distances and copies during training.
        neighbours: Of precision, recall, density and coverage. More than the 40 copies that the Kaggle set has of
            each X-ray: with fewer, every image's neighbours are its own copies.
        extractor: Of features, see `evaluation.features.extractor`.
    """

    key = "bai_dcgan"
    title = "Bone fractured X-ray data generation based on DCGAN (Bai)"
    # Losses by epoch, as the text gives them; a pair is a range.
    REPORTED: ClassVar = {
        "g_loss": [(1, 3.1071), ((2, 100), (1.2, 2.9)), ((100, 900), (1.5, 2.2)), (900, 1.9012)],
        "d_loss": [(1, 1.6084), ((210, 900), (0.84, 0.84)), (900, 0.8281)],
    }
    PROFILES: ClassVar = {
        "smoke": {
            "data": "phantom", "epochs": 2, "steps": 2, "image_size": 32, "channels": 1, "width": 8,
            "images": 64, "judged": 1, "neighbours": 5,
        },
        "quick": {"epochs": 30, "width": 32},
        "paper": {},
    }  # fmt: skip
    VARIANTS: ClassVar = {
        "paper": {},
        "modern": {
            "g_learning_rate": 2e-4, "d_learning_rate": 2e-4, "augment": True, "ema": 0.995,
            "condition": "label",
        },
    }  # fmt: skip

    data: str = "kaggle_fracture"
    policy: str = "paper"
    variant: str = "paper"
    seeds: int = 1
    epochs: int = 900
    steps: int | None = None
    batch_size: int = 32
    image_size: int = 64
    channels: int = 3
    width: int = 64
    activation: str = "silu"
    loss: str = "non_saturating"
    g_learning_rate: float = 2e-3
    d_learning_rate: float = 2e-3
    fresh_noise: bool = True
    augment: bool = False
    ema: float | None = None
    condition: str | None = None
    images: int = 2000
    judged: int = 5
    neighbours: int = 50
    extractor: str = "xray"

    def __post_init__(self):
        super().__post_init__()
        if self.condition not in CONDITIONS:
            raise FractureError(f"condition must be label, body_part or None. Received: {self.condition!r}")

    @property
    def preprocess(self):
        """The shorter side to `image_size`, then the middle square (Section 3.1)."""
        return Preprocess(size=self.image_size, crop=True)

    @property
    def split_policies(self):
        """See `Recipe.split_policies`."""
        return (self.policy,)

    def run(self, out, data_dir=None):
        """See `Recipe.run`."""
        out = Path(out)
        sets = self.prepare_splits(self.labelled(self.preprocess, self.policy, data_dir))
        evaluation.check_sources(np.concatenate(_sources(sets)))  # now, and not after hours of training
        extractor = evaluation.extractor(self.extractor)
        trained = [self.train(number, sets, extractor, out / f"run-{number}") for number in range(self.seeds)]
        judged = [
            self.judge(sets, one.made["finding"], extractor, self.seed + number)
            for number, one in enumerate(trained)
        ]
        useful = self.utility(sets, trained[0].made)
        from keras_fracture.report import bai_dcgan

        return bai_dcgan.write(self, sets, trained, judged, useful, out)

    def prepare_splits(self, sets):
        """Under the paper's policy the validation images, drawn from its training set, are trained on too."""
        if self.policy != "paper":
            return sets
        return sets | {"train": joined(sets["train"], sets["validation"])}

    def shown(self, train):
        """What the GAN learns from: images, their classes or None, and the names of the classes or None."""
        if self.condition == "label":
            return train.images, train.labels, ["healthy", "finding"]
        chosen = train.labels == 1
        if self.condition is None:
            return train.images[chosen], None, None
        names, codes = np.unique(train.table["body_part"][chosen], return_inverse=True)
        if len(names) < 2:
            raise FractureError(
                f"{self.data} does not tell body parts: choose condition label or none. Received: {names[0]}"
            )
        return train.images[chosen], codes, names.tolist()

    def train(self, number, sets, extractor, folder):
        """Trains one GAN, or takes up where a killed run stopped; returns what `Trained` holds."""
        seed = self.seed + number
        images, classes, names = self.shown(sets["train"])
        gan = self.build_gan(seed, names)

        def stream(first):
            return training.make_train_dataset(
                images,
                classes,
                batch_size=self.batch_size,
                seed=seed,
                first_epoch=first,
                steps=self.steps,
                pixel_range=gan.generator.pixel_range,
                channels=self.channels,
            )

        history = training.fit(
            gan,
            stream,
            self.epochs,
            folder,
            callbacks=[
                training.SampleGrid(folder / "samples", every=max(1, self.epochs // 30), seed=self.seed),
                Judge(self, sets, classes, extractor, seed),
                training.Progress(f"DCGAN, {self.variant}, seed {seed}", self.epochs),
            ],
            verbose=0,
        )
        if not (folder / "generator.keras").exists():
            with files.writing(folder / "generator.keras") as beside:
                gan.sampler.save(beside)
        export_if_missing(gan.sampler, folder / "saved_model", metadata={"classes": names})
        made = load_or_compute(folder / "generated.npz", lambda: self.draw(gan, classes, seed))
        return Trained(gan.sampler, history, made, names)

    def build_gan(self, seed, names):
        """Generator and discriminator, compiled."""
        keras.utils.set_random_seed(seed)
        shape = {"image_size": self.image_size, "channels": self.channels, "width": self.width,
                 "num_classes": names and len(names)}  # fmt: skip
        with training.distribution.scope():
            gan = training.AdversarialModel(
                models.create("dcgan_generator", **shape),
                models.create("dcgan_discriminator", activation=self.activation, **shape),
                ema=self.ema,
                seed=seed,
                augment=training.DiffAugment(seed=seed) if self.augment else None,
                fresh_noise=self.fresh_noise,
            )
            gan.compile(
                training.Adam(self.d_learning_rate, beta_1=0.5),
                training.Adam(self.g_learning_rate, beta_1=0.5),
                training.losses.get(self.loss),
            )
        return gan

    def draw(self, gan, classes, seed):
        """Generated images with a finding, and healthy ones where the GAN knows them.

        Returns:
            A dict of `finding`, and maybe `healthy`, to uint8 `(images, size, size, 1)`.
        """
        labels = {"finding": None}
        if self.condition == "label":
            labels = {name: np.full(self.images, label) for label, name in enumerate(("healthy", "finding"))}
        elif classes is not None:
            labels["finding"] = np.random.default_rng(seed).choice(classes, self.images)
        return {
            name: as_grey(gan.sample(self.images, seed=seed, labels=wanted))
            for name, wanted in labels.items()
        }

    def judge(self, sets, made, extractor, seed):
        """Distances and near copies of one GAN's images; also the `evaluation.NearCopies` themselves."""
        train = sets["train"]
        real, sources = train.of(1), train.sources[train.labels == 1]
        scores = evaluation.compare(real, made, extractor, sources=sources, k=self.neighbours, seed=seed)
        search = copies(sets, extractor)
        near = {"pixels": search.by_pixels(made), "features": search.by_features(made)}
        return scores | {f"copies_{kind}": one.summary() for kind, one in near.items()}, near

    def utility(self, sets, made):
        """Classifiers trained or tested on generated images; on real healthy ones where the GAN draws none."""

        def labelled(healthy, findings):
            return np.concatenate([healthy, findings]), np.repeat((0, 1), (len(healthy), len(findings)))

        train, test = sets["train"], sets["test"]
        return utility(
            (train.images, train.labels),
            (test.images, test.labels, test.sources),
            labelled(made.get("healthy", train.of(0)), made["finding"]),
            synthetic_test=labelled(made.get("healthy", test.of(0)), made["finding"]),
            epochs=min(20, self.epochs),
            seed=self.seed,
        )


@dataclasses.dataclass(frozen=True)
class Trained:
    """One GAN after training: its generator, history, generated images, and names of classes or None."""

    generator: keras.Model
    history: pd.DataFrame
    made: dict
    names: list | None


class Judge(keras.callbacks.Callback):
    """Adds `kid` and `near_copies`, the share of images close to a training image, to some epochs' logs.

    Args:
        recipe: The recipe.
        sets: Its splits.
        classes: Classes of the training images, or None.
        extractor: An `evaluation.Extractor`.
        seed: Of the generated images, always the same.
    """

    def __init__(self, recipe, sets, classes, extractor, seed):
        super().__init__()
        self.recipe, self.sets, self.classes = recipe, sets, classes
        self.extractor, self.seed = extractor, seed

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.recipe.judged and epoch + 1 != self.recipe.epochs:
            return
        recipe = dataclasses.replace(self.recipe, images=min(1000, self.recipe.images))
        made = recipe.draw(self.model, self.classes, self.seed)["finding"]
        real = evaluation.extract(self.sets["train"].of(1), self.extractor, cached=True)
        logs["kid"], _ = evaluation.kid(real, evaluation.extract(made, self.extractor), subsets=20)
        logs["near_copies"] = self.search.by_features(made).share

    @functools.cached_property
    def search(self):
        """See `copies`."""
        return copies(self.sets, self.extractor)


def copies(sets, extractor):
    """`evaluation.Copies` of the images with a finding that the GAN has learnt from."""
    train_sources, held_out_sources = _sources(sets)
    return evaluation.Copies(
        sets["train"].of(1),
        sets["test"].of(1),
        train_sources=train_sources,
        held_out_sources=held_out_sources,
        extractor=extractor,
    )


def _sources(sets):
    """Sources of images with a finding: those trained on, and those held out."""
    return [sets[name].sources[sets[name].labels == 1] for name in ("train", "test")]
