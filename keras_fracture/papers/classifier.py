"""How every classifier paper is carried out, top to bottom: train, choose a threshold, test, export."""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable

import keras
import numpy as np

from keras_fracture import evaluation, models, training
from keras_fracture.data import Augmentation, batches
from keras_fracture.errors import FractureError
from keras_fracture.evaluation import Predictions
from keras_fracture.evaluation.baselines import Baselines
from keras_fracture.evaluation.predicting import predictor
from keras_fracture.experiment import ahead
from keras_fracture.experiment.baselines import fit_baselines
from keras_fracture.experiment.runs import export_if_missing, load_or_compute
from keras_fracture.experiment.splits import load_records, load_splits, seen_by_training
from keras_fracture.papers.targets import body_parts, split_targets, targets, with_masks
from keras_fracture.papers.teaching import (
    check_pretrained,
    load_pretrained,
    load_teacher,
    normalisation_of,
    seen_before,
)
from keras_fracture.serving.metadata import thresholded

_EVALUATED = ("validation", "test")
_JPEG = b"\xff\xd8"  # how such a file begins
_LOG = logging.getLogger(__name__)


def build_model(config, name, train):
    """An architecture with two logits for the images of a `Split`, not compiled."""
    return models.create(name, num_classes=2, image_size=config.image_size, **normalisation(config, name))


def normalisation(config, name):
    """`mean` and `std` of the model: what the weights of `pretrained` were trained with, where that is known."""
    known = normalisation_of(config, name)
    return dict(zip(("mean", "std"), known, strict=True)) if known else {}


def keep_splits(config, sets, policy):
    """The splits as they come."""
    return sets


@dataclasses.dataclass(frozen=True)
class Method:
    """What one classifier paper does in its own way.

    Attributes:
        preprocess: Function of the configuration that returns a `data.Preprocess`.
        optimizer: Function of the configuration and the number of all steps.
        loss: Function of the configuration that returns a loss on two logits.
        build_model: Function of the configuration, an architecture's name and the training `Split`.
        prepare_splits: Function of the configuration, the splits and the split policy that returns the splits as the
            paper trains on them.
    """

    preprocess: Callable
    optimizer: Callable
    loss: Callable
    build_model: Callable = build_model
    prepare_splits: Callable = keep_splits


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """One architecture after training.

    Attributes:
        model: Of the first seed; with `ensemble` that of all.
        histories: A `pandas.DataFrame` a seed.
        probabilities: Split name to probabilities `(seeds, n)`; with `ensemble` `(1, n)`.
        thresholds: Of each seed, or of the ensemble, from which probability on an image counts as a finding.
        exported: Split name to probabilities `(n,)` of the SavedModel by itself: without `ensemble` of the first seed,
            and of images as they come even where `flips` averages over them and their mirror images.
        exported_threshold: The SavedModel's.
    """

    model: keras.Model
    histories: list
    probabilities: dict
    thresholds: tuple
    exported: dict
    exported_threshold: float


@dataclasses.dataclass(frozen=True)
class PolicyResult:
    """What came out under one split policy.

    Attributes:
        sets: Split name to `Split`, as the paper trains on them.
        trained: Architecture name to `TrainedModel`.
        baselines: `evaluation.baselines.Baselines` on the same test images, fitted on the splits as they come.
    """

    sets: dict
    trained: dict
    baselines: Baselines

    def predictions(self, name, split="test"):
        """`evaluation.Predictions` of one architecture on one split."""
        trained, images = self.trained[name], self.sets[split]
        return Predictions(
            images.labels, images.sources, trained.probabilities[split], np.array(trained.thresholds)
        )

    def exported(self, name, split="test"):
        """`evaluation.Predictions` of one architecture's SavedModel by itself on one split."""
        trained, images = self.trained[name], self.sets[split]
        return Predictions(
            images.labels, images.sources, trained.exported[split][None], trained.exported_threshold
        )


def run(config, run, method):
    """Trains all architectures under each split policy.

    Args:
        config: A `ClassifierConfig`.
        run: An `experiment.runs.Run`.
        method: The paper's `Method`.

    Returns:
        A dict of split policy to `PolicyResult`.
    """
    check_images(config, run)
    ahead.train(
        config,
        run,
        functools.partial(_train_job, method),
        list(itertools.product(config.policies, config.models, range(config.seeds))),
    )
    results = {}
    for policy in config.policies:
        sets = load_splits(config, method.preprocess(config), policy, run.data_dir)
        together = 1 if config.ensemble else config.seeds
        # Before: where a paper deals out mirror images, trees would be validated on files that they have learnt.
        baselines = fit_baselines(config, sets, run.data_dir, config.threshold, together)
        sets = method.prepare_splits(config, sets, policy)
        if config.pretrained and len(config.models) > 1:
            # What does not fit the last one should be said now, not after hours of training the others.
            for name in config.models:
                start_model(config, method, name, sets["train"])
        trained = {
            name: train_seeds(config, run, method, name, sets, run.folder / policy / name)
            for name in config.models
        }
        results[policy] = PolicyResult(sets, trained, baselines)
    return results


def check_images(config, run):
    """Warns of settings that change nothing with the images of a run, before anything is trained.

    Raises:
        FractureError: Body parts are to be learnt, though the variant does not, and there is one alone; or boxes,
            and there are none.
    """
    looked_at = config.body_parts or config.box_weight or config.jpeg == "reduced"
    for policy in config.policies if looked_at else ():
        records = load_records(config, policy, run.data_dir)
        if config.box_weight:
            _check_boxes(config, records["train"].table, policy)
        parts = body_parts(records) if config.body_parts else ()
        if config.body_parts and len(parts) < 2:
            if not type(config).VARIANTS[config.variant].get("body_parts", type(config).body_parts):
                raise FractureError(
                    f"body_parts of {config.key} needs training images of several body parts: leave it out. "
                    f"Received: {', '.join(parts) or 'none'} alone"
                )
            _LOG.warning(
                "all training images of the %s split show one body part, so that body_parts teaches nothing and is "
                "left out. Received: %s", policy, parts[0],
            )  # fmt: skip
        if config.jpeg == "reduced" and not any(map(_holds_jpeg, records.values())):
            _LOG.warning(
                "no image of %s is a JPEG file, so that jpeg=reduced changes nothing", config.data_title
            )


def _check_boxes(config, table, policy):
    findings = table[table["label"] == 1]
    marked = sum(len(boxes) > 0 for boxes in findings["boxes"])
    if not marked:
        raise FractureError(
            f"box_weight of {config.key} needs training images with boxes: leave it out. Received: "
            f"{config.data_title}, {len(findings):,} findings of the {policy} split without one"
        )
    if marked < len(findings):
        _LOG.warning(
            "of %s of %s findings of the %s split no box is known: what lies where in these images is not learnt",
            f"{len(findings) - marked:,}", f"{len(findings):,}", policy,
        )  # fmt: skip


def _holds_jpeg(records):
    encoded = records.raw(["image"]).as_numpy_iterator()
    return any(record["image"].startswith(_JPEG) for record in encoded)


def _train_job(method, config, run, job):
    """One training, by a worker."""
    policy, name, number = job
    sets = _sets(method, config, run, policy)
    train_model(config, run, method, name, number, sets, run.folder / policy / name / f"run-{number}")


@functools.lru_cache(maxsize=1)
def _sets(method, config, run, policy):
    sets = load_splits(config, method.preprocess(config), policy, run.data_dir)
    return method.prepare_splits(config, sets, policy)


def train_seeds(config, run, method, name, sets, folder):
    """Trains one architecture on all seeds; returns a `TrainedModel`."""
    seeds = [
        train_model(config, run, method, name, number, sets, folder / f"run-{number}")
        for number in range(config.seeds)
    ]
    model, exported = seeds[0]["model"], seeds[0]["exported"]
    by_split = {split: np.stack([one["probabilities"][split] for one in seeds]) for split in _EVALUATED}
    if config.ensemble:
        model = models.Ensemble([one["model"] for one in seeds], flips=config.flips)
        by_split = {split: rows.mean(axis=0, keepdims=True) for split, rows in by_split.items()}
        exported = {split: rows[0] for split, rows in by_split.items()}
        export_model(config, method, model, sets, exported["validation"], folder / "ensemble")
    thresholds = tuple(_threshold(config, sets, row) for row in by_split["validation"])
    return TrainedModel(
        model,
        [one["history"] for one in seeds],
        by_split,
        thresholds,
        exported,
        _threshold(config, sets, exported["validation"]),
    )


def _threshold(config, sets, probabilities):
    """The configuration's, or the best one for a model's probabilities of validation images."""
    if config.threshold is not None:
        return config.threshold
    return evaluation.best_threshold(sets["validation"].labels, probabilities)


def train_model(config, run, method, name, number, sets, folder):
    """Trains one model, or goes on where a killed run stopped; returns a dict of model, history, probabilities."""
    config = as_trained(config, sets)
    seed = config.seed + number
    keras.utils.set_random_seed(seed)
    steps = config.epochs * (len(sets["train"].labels) // min(config.batch_size, len(sets["train"].labels)))
    check_pretrained(config, method.preprocess(config), sets)
    with run.strategy.scope():
        model = start_model(config, method, name, sets["train"], number)
        teacher = load_teacher(config, method.preprocess(config), sets, number) if config.teacher else None
        trained = compile_model(config, method, model, sets, steps, teacher)
    history = fit(config, trained, model, sets, seed, folder)
    predict = predictor(model)
    by_split = exported = load_or_compute(
        folder / "probabilities.npz",
        lambda: {split: predict(sets[split].images, flips=config.flips) for split in _EVALUATED},
    )
    if number == 0 and not config.ensemble:
        if config.flips:  # the SavedModel sees each image once
            exported = load_or_compute(
                folder / "probabilities-exported.npz",
                lambda: {split: predict(sets[split].images) for split in _EVALUATED},
            )
        export_model(config, method, model, sets, (exported or by_split)["validation"], folder)
    return {"model": model, "history": history, "probabilities": by_split, "exported": exported}


def as_trained(config, sets):
    """The configuration without body parts where there is one alone, as of own X-rays that name none."""
    several = len(body_parts(sets)) > 1
    return dataclasses.replace(config, body_parts=config.body_parts and several)


def export_model(config, method, model, sets, probabilities, folder):
    """Writes `folder/saved_model`, unless it is there; its threshold is that of its `probabilities` of validation."""
    preprocess = dataclasses.replace(method.preprocess(config), channels=model.channels)
    threshold = thresholded(_threshold(config, sets, probabilities), config.threshold is not None)
    metadata = {"classes": ["healthy", "finding"], "finding": "finding", "threshold": threshold}
    metadata |= seen_by_training(config.data, sets, **seen_before(config))
    export_if_missing(model, folder / "saved_model", preprocess=preprocess, metadata=metadata)


def start_model(config, method, name, train, number=0):
    """A model with the weights of `pretrained` where there are any, and L2 in its loss."""
    model = method.build_model(config, name, train)
    if config.pretrained:
        load_pretrained(config, model, name, number)
    training.add_l2(model, config.l2)
    return model


def compile_model(config, method, model, sets, steps, teacher=None):
    """What `fit` trains, compiled: the model, or the model with a teacher or a head for body parts."""
    accuracy = keras.metrics.CategoricalAccuracy("accuracy")
    if config.box_weight:
        with_boxes = training.WithBoxes(model)
        with_boxes.compile(
            method.optimizer(config, steps),
            {"finding": method.loss(config), "boxes": training.BoxLoss()},
            loss_weights={"finding": 1.0, "boxes": config.box_weight},
            metrics={"finding": [accuracy]},
        )
        return with_boxes
    if not config.body_parts:
        trained = training.WithTeacher(model, teacher, config.teacher_weight) if teacher else model
        trained.compile(method.optimizer(config, steps), method.loss(config), metrics=[accuracy])
        return trained
    with_parts = training.WithBodyPart(model, len(body_parts(sets)))
    with_parts.compile(
        method.optimizer(config, steps),
        {
            "finding": method.loss(config),
            "body_part": keras.losses.CategoricalCrossentropy(from_logits=True),
        },
        metrics={"finding": [accuracy]},
    )
    return with_parts


def fit(config, trained, model, sets, seed, folder):
    """Trains on the training split, with the validation split after each epoch; returns the history."""
    train, validation = sets["train"], sets["validation"]
    augment = Augmentation(seed=seed, value_range=model.pixel_range) if config.augment else None
    channels = model.channels
    if config.box_weight:  # masks travel as one more channel
        train, validation, channels = with_masks(train), with_masks(validation), None
        augment = augment and training.AugmentWithMasks(augment)

    def stream(first):
        dataset, steps = training.make_train_dataset(
            train.images,
            targets(config, train, sets),
            batch_size=config.batch_size,
            seed=seed,
            first_epoch=first,
            pixel_range=model.pixel_range,
            augment=augment,
            channels=channels,
        )
        return split_targets(config, dataset, trained), steps

    validation_data = batches(
        (validation.images, targets(config, validation, sets)),
        len(validation.labels),
        64,
        pixel_range=model.pixel_range,
        channels=channels,
    )
    return training.fit(
        trained,
        stream,
        config.epochs,
        folder,
        callbacks=[training.Progress(f"{folder.parent.name}, {folder.parents[1].name}", config.epochs)],
        validation_data=split_targets(config, validation_data, trained),
        patience=config.patience,
        class_weight=training.class_weights(train.labels) if config.balanced else None,
        verbose=0,
    ).rename(columns=lambda column: column.replace("finding_accuracy", "accuracy"))
