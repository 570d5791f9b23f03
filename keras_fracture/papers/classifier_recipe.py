"""How every classifier paper is carried out, top to bottom: train, choose a threshold, test, explain, export."""

import abc
import dataclasses
from pathlib import Path

import keras
import numpy as np

from keras_fracture import evaluation, models, training
from keras_fracture.data import Augmentation, batches
from keras_fracture.errors import FractureError
from keras_fracture.evaluation import Predictions
from keras_fracture.evaluation.predicting import probabilities as predict_probabilities
from keras_fracture.interop.convert import classes_in, load_weights
from keras_fracture.models.preprocessing import IMAGENET
from keras_fracture.papers.recipe import Recipe, export_if_missing, load_or_compute, seen_by_training

_IMAGENET_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class ClassifierRecipe(Recipe, abc.ABC):
    """A recipe that trains classifiers with two logits. Subclasses say `preprocess`, `optimizer` and `loss`.

    Attributes:
        policies: Split policies, each carried out in full.
        models: Names of architectures, each trained `seeds` times.
        variant: "paper" for the paper's own recipe; others are named in `VARIANTS`.
        epochs: Of each training.
        batch_size: Images a step.
        image_size: Side of the images in pixels.
        learning_rate: Highest learning rate.
        augment: Whether training images are changed a little (flip, rotation, zoom, shift, contrast).
        balanced: Whether both classes weigh alike in the loss.
        body_parts: Whether body parts are learnt beside findings, see `training.WithBodyPart`.
        weight_decay: L2 weight decay of the kernels.
        patience: Early stopping, see `training.fit`; off in the papers.
        threshold: Probability from which on an image counts as a finding; None chooses that of each seed on
            validation.
        flips: Whether a prediction averages over the image and its mirror image.
        pretrained: Weights to start from, a `.weights.h5` file or one of PyTorch's, see `interop.torch`; its head may
            differ.
    """

    REPORTED = {}
    VARIANTS = {"paper": {}}

    policies: tuple = ("grouped", "paper")
    models: tuple = ()
    variant: str = "paper"
    seeds: int = 1
    epochs: int = 10
    batch_size: int = 32
    image_size: int = 224
    learning_rate: float = 1e-3
    augment: bool = False
    balanced: bool = False
    body_parts: bool = False
    weight_decay: float = 0.0
    patience: int | None = None
    threshold: float | None = None
    flips: bool = False
    pretrained: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.balanced and self.body_parts:
            raise FractureError("balanced weighs the classes of one target: it does not go with body_parts")

    def build(self, name, train):
        """An architecture for the images of a `Split`, not compiled."""
        return models.create(name, num_classes=2, image_size=self.image_size, **self.normalisation)

    def started(self, name, train):
        """`build`, with the weights of `pretrained` where there are any."""
        model = self.build(name, train)
        if self.pretrained:
            load_weights(model, self.pretrained, any_head=True)
        return model

    @property
    def normalisation(self):
        """`mean` and `std` of the model: ImageNet's where `pretrained` tells its 1,000 classes apart, else none."""
        imagenet = self.pretrained and classes_in(self.pretrained) == _IMAGENET_CLASSES
        return dict(zip(("mean", "std"), IMAGENET if imagenet else (0.0, 1.0), strict=True))

    @abc.abstractmethod
    def optimizer(self, steps):
        """The paper's optimizer for so many steps in all."""

    @abc.abstractmethod
    def loss(self):
        """The paper's loss on two logits."""

    def prepare_splits(self, sets, policy):
        """The splits as the paper trains on them; here as they come."""
        return sets

    @property
    def split_policies(self):
        """See `Recipe.split_policies`."""
        return self.policies

    def run(self, out, data_dir=None):
        """See `Recipe.run`."""
        out = Path(out)
        results = {}
        for policy in self.policies:
            sets = self.prepare_splits(self.labelled(self.preprocess, policy, data_dir), policy)
            results[policy] = PolicyResult(
                sets, {name: self.train_seeds(name, sets, out / policy / name) for name in self.models}
            )
        from keras_fracture.report import classifier

        return classifier.write(self, results, out, data_dir)

    def train_seeds(self, name, sets, folder):
        """Trains one architecture on all seeds; returns what `Trained` holds."""
        runs = [self.train(name, number, sets, folder / f"run-{number}") for number in range(self.seeds)]
        probabilities = {
            split: np.stack([run["probabilities"][split] for run in runs]) for split in ("validation", "test")
        }
        thresholds = tuple(
            evaluation.best_threshold(sets["validation"].labels, row)
            if self.threshold is None
            else self.threshold
            for row in probabilities["validation"]
        )
        return Trained(runs[0]["model"], [run["history"] for run in runs], probabilities, thresholds)

    def train(self, name, number, sets, folder):
        """Trains one model, or takes up where a killed run stopped; returns model, history, probabilities."""
        seed = self.seed + number
        keras.utils.set_random_seed(seed)
        train, validation = sets["train"], sets["validation"]
        steps = self.epochs * (len(train.labels) // min(self.batch_size, len(train.labels)))
        with training.distribution.scope():
            model = self.started(name, train)
            training.add_l2(model, self.weight_decay)
            training_model = self.training_model(model, sets)
            several = training_model is not model
            training_model.compile(
                self.optimizer(steps),
                {"finding": self.loss(), "body_part": _cross_entropy()} if several else self.loss(),
                metrics={"finding": [_accuracy()]} if several else [_accuracy()],
            )

        def stream(first):
            dataset, steps = training.make_train_dataset(
                train.images,
                self.targets(train, sets),
                batch_size=self.batch_size,
                seed=seed,
                first_epoch=first,
                pixel_range=model.pixel_range,
                augment=Augmentation(seed=seed, value_range=model.pixel_range) if self.augment else None,
                channels=model.channels,
            )
            return self.split_targets(dataset), steps

        history = training.fit(
            training_model,
            stream,
            self.epochs,
            folder,
            callbacks=[training.Progress(f"{name}, {folder.parent.parent.name}", self.epochs)],
            validation_data=self.split_targets(
                batches(
                    (validation.images, self.targets(validation, sets)),
                    len(validation.labels),
                    64,
                    pixel_range=model.pixel_range,
                    channels=model.channels,
                )
            ),
            patience=self.patience,
            class_weight=training.class_weights(train.labels) if self.balanced else None,
            verbose=0,
        ).rename(columns=lambda column: column.replace("finding_accuracy", "accuracy"))
        probabilities = load_or_compute(
            folder / "probabilities.npz",
            lambda: {
                split: predict_probabilities(model, sets[split].images, flips=self.flips)
                for split in ("validation", "test")
            },
        )
        if number == 0:
            preprocess = dataclasses.replace(self.preprocess, channels=model.channels)
            export_if_missing(
                model,
                folder / "saved_model",
                preprocess=preprocess,
                metadata={"classes": ["healthy", "finding"], "finding": "finding"}
                | seen_by_training(self.data, sets),
            )
        return {"model": model, "history": history, "probabilities": probabilities}

    def training_model(self, model, sets):
        """What `fit` trains: the model, or the model with a head for body parts."""
        return training.WithBodyPart(model, len(_parts(sets))) if self.body_parts else model

    def targets(self, split, sets):
        """One-hot labels `(n, 2)`, followed by one-hot body parts where they are learnt too."""
        labels = one_hot(split.labels)
        if not self.body_parts:
            return labels
        parts = split.table["body_part"].to_numpy()[:, None] == _parts(sets)
        return np.concatenate([labels, parts.astype("float32")], axis=1)

    def split_targets(self, dataset):
        """The targets of a dataset by the outputs of `training_model`."""
        if not self.body_parts:
            return dataset
        return dataset.map(lambda images, both: (images, {"finding": both[:, :2], "body_part": both[:, 2:]}))


@dataclasses.dataclass(frozen=True)
class Trained:
    """One architecture after training.

    Attributes:
        model: Of the first seed.
        histories: A `pandas.DataFrame` a seed.
        probabilities: Split name to probabilities `(seeds, n)`.
        thresholds: Of each seed, from which probability on an image counts as a finding.
    """

    model: keras.Model
    histories: list
    probabilities: dict
    thresholds: tuple


@dataclasses.dataclass(frozen=True)
class PolicyResult:
    """What came out under one split policy: the splits, and architecture name to `Trained`."""

    sets: dict
    trained: dict

    def predictions(self, name, split="test"):
        """`evaluation.Predictions` of one architecture on one split."""
        found, images = self.trained[name], self.sets[split]
        return Predictions(
            images.labels, images.sources, found.probabilities[split], np.array(found.thresholds)
        )


def one_hot(labels):
    """Labels 0 or 1 as float32 `(n, 2)`."""
    return np.eye(2, dtype="float32")[labels]


def _parts(sets):
    """Names of the body parts that are trained on, in order."""
    return np.unique(sets["train"].table["body_part"].to_numpy().astype(str))


def _cross_entropy():
    return keras.losses.CategoricalCrossentropy(from_logits=True)


def _accuracy():
    return keras.metrics.CategoricalAccuracy("accuracy")
