"""Section 3 of the paper: the images, the networks, their training; then whether what is generated is new."""

import dataclasses
import functools

import keras
import numpy as np
import pandas as pd

from keras_fracture import evaluation, models, training
from keras_fracture.data import Preprocess
from keras_fracture.errors import FractureError
from keras_fracture.evaluation.utility import utility
from keras_fracture.experiment import ahead
from keras_fracture.experiment.runs import export_if_missing, load_or_compute, save_if_missing
from keras_fracture.experiment.splits import as_grey, check_real, concatenate, load_splits
from keras_fracture.training.distribution import ONE_DEVICE


@dataclasses.dataclass(frozen=True)
class TrainedGAN:
    """One GAN after training.

    Attributes:
        generator: A `keras.Model`.
        history: A `pandas.DataFrame`, a row an epoch.
        generated: `finding`, and maybe `healthy`, to uint8 images `(n, size, size, 1)`.
    """

    generator: keras.Model
    history: pd.DataFrame
    generated: dict


@dataclasses.dataclass(frozen=True)
class Results:
    """What came out.

    Attributes:
        sets: Split name to `Split`.
        gans: A `TrainedGAN` a seed.
        scores: A dict a seed of metric to `value`, `real_vs_real` and more.
        near_copies: Of the first GAN: "pixels" and "features" to `evaluation.NearCopies`.
        utility: What a classifier learns from the first GAN's images, see `evaluation.utility`.
    """

    sets: dict
    gans: list
    scores: list
    near_copies: dict
    utility: dict


def run(config, run):
    """Trains the GANs and evaluates their images.

    Args:
        config: A `Config`.
        run: An `experiment.runs.Run`.

    Returns:
        `Results`.
    """
    sets = prepare_splits(config, load_splits(config, preprocess(config), config.policy, run.data_dir))
    check_real(config, sets)
    evaluation.check_sources(np.concatenate(_sources(sets)))  # now, and not after hours of training
    extractor = evaluation.extractor(config.extractor)
    ahead.train(config, run, _train_job, [(number,) for number in range(config.seeds)])
    gans = [train_gan(config, run, number, sets, extractor) for number in range(config.seeds)]
    evaluated = [
        evaluate(config, sets, gan.generated["finding"], extractor, config.seed + number)
        for number, gan in enumerate(gans)
    ]
    scores = [scores for scores, _ in evaluated]
    return Results(
        sets, gans, scores, evaluated[0][1], evaluate_utility(config, run, sets, gans[0].generated)
    )


def _train_job(config, run, job):
    """One GAN, by a worker."""
    sets = prepare_splits(config, load_splits(config, preprocess(config), config.policy, run.data_dir))
    train_gan(config, run, *job, sets, evaluation.extractor(config.extractor))


def preprocess(config):
    """The shorter side to `image_size`, then the middle square (Section 3.1)."""
    return Preprocess(size=config.image_size, crop=True)


def prepare_splits(config, sets):
    """Under the paper's policy the validation images, drawn from its training set, are trained on too."""
    if config.policy != "paper":
        return sets
    return sets | {"train": concatenate(sets["train"], sets["validation"])}


def learnt_from(config):
    """What `judge` holds the generator's images against, see `inference.origins.Origin`."""
    splits = "train+validation" if config.policy == "paper" else "train"
    return {"data": config.data_title, "policy": config.policy, "splits": splits, "crop": True}


def gan_training_data(config, train):
    """What the GAN learns from: images, their classes or None, and the names of the classes or None."""
    if config.condition == "label":
        return train.images, train.labels, ["healthy", "finding"]
    chosen = train.labels == 1
    if config.condition is None:
        return train.images[chosen], None, None
    names, codes = np.unique(train.table["body_part"][chosen], return_inverse=True)
    if len(names) < 2:
        raise FractureError(
            f"{config.data_title} does not tell body parts: choose condition label or none. Received: {names[0]}"
        )
    return train.images[chosen], codes, names.tolist()


def train_gan(config, run, number, sets, extractor):
    """Trains one GAN, or goes on where a killed run stopped; returns a `TrainedGAN`."""
    seed, folder = config.seed + number, run.folder / f"run-{number}"
    images, classes, names = gan_training_data(config, sets["train"])
    gan = build_gan(config, seed, names, run.strategy)

    def stream(first):
        return training.make_train_dataset(
            images,
            classes,
            batch_size=config.batch_size,
            seed=seed,
            first_epoch=first,
            steps=config.steps,
            pixel_range=gan.generator.pixel_range,
            channels=config.channels,
        )

    history = training.fit(
        gan,
        stream,
        config.epochs,
        folder,
        callbacks=[
            training.SampleGrid(folder / "samples", every=max(1, config.epochs // 30), seed=config.seed),
            GANMetrics(config, sets, classes, extractor, seed),
            training.Progress(f"DCGAN, {config.variant}, seed {seed}", config.epochs),
        ],
        verbose=0,
    )
    save_if_missing(gan.sampler, folder / "generator.keras")
    facts = {"classes": names, "learnt_from": learnt_from(config)}
    export_if_missing(gan.sampler, folder / "saved_model", metadata=facts)
    generated = load_or_compute(
        folder / "generated.npz", lambda: generate(config, gan, classes, config.generated_images, seed)
    )
    return TrainedGAN(gan.sampler, history, generated)


def build_gan(config, seed, names, strategy=ONE_DEVICE):
    """Generator and discriminator, compiled (Sections 3.2 and 3.3)."""
    keras.utils.set_random_seed(seed)
    shape = {"image_size": config.image_size, "channels": config.channels, "width": config.width,
             "num_classes": names and len(names)}  # fmt: skip
    with strategy.scope():
        gan = training.AdversarialModel(
            models.create("dcgan_generator", **shape),
            models.create(
                "dcgan_discriminator", activation=config.activation, dropout=config.dropout, **shape
            ),
            ema=config.ema,
            seed=seed,
            augment=training.DiffAugment(seed=seed) if config.augment else None,
            fresh_noise=config.fresh_noise,
        )
        gan.compile(
            g_optimizer=training.Adam(config.g_learning_rate, beta_1=0.5),
            d_optimizer=training.Adam(config.d_learning_rate, beta_1=0.5),
            loss=training.losses.get(config.loss),
        )
    return gan


def generate(config, gan, classes, count, seed):
    """Generated images with a finding, and healthy ones where the GAN knows them.

    Returns:
        A dict of `finding`, and maybe `healthy`, to uint8 `(count, size, size, 1)`.
    """
    labels = {"finding": None}
    if config.condition == "label":
        labels = {name: np.full(count, label) for label, name in enumerate(("healthy", "finding"))}
    elif classes is not None:
        labels["finding"] = np.random.default_rng(seed).choice(classes, count)
    return {name: as_grey(gan.sample(count, seed=seed, labels=wanted)) for name, wanted in labels.items()}


def evaluate(config, sets, generated, extractor, seed):
    """Distances and near copies of one GAN's images; also the `evaluation.NearCopies` themselves."""
    train = sets["train"]
    real, sources = train.of(1), train.sources[train.labels == 1]
    scores = evaluation.compare(real, generated, extractor, sources=sources, k=config.neighbours, seed=seed)
    search = copies(sets, extractor)
    near = {"pixels": search.by_pixels(generated), "features": search.by_features(generated)}
    return scores | {f"copies_{kind}": one.summary() for kind, one in near.items()}, near


def watched_images(config):
    """How many generated images `GANMetrics` looks at."""
    return min(1000, config.generated_images)


def utility_epochs(config):
    """Of the classifiers of `evaluate_utility`: few where a run is to be short."""
    return min(20, config.epochs)


def evaluate_utility(config, run, sets, generated):
    """Classifiers trained or tested on generated images; on real healthy ones where the GAN draws none."""

    def labelled(healthy, findings):
        return np.concatenate([healthy, findings]), np.repeat((0, 1), (len(healthy), len(findings)))

    train, test = sets["train"], sets["test"]
    # Real healthy images are copies of few X-rays, of which intervals must know; each drawn image is one of its own.
    healthy = test.sources[test.labels == 0].astype(str)
    if "healthy" in generated:
        healthy = np.array([f"drawn healthy {number}" for number in range(len(generated["healthy"]))])
    drawn = np.array([f"drawn {number}" for number in range(len(generated["finding"]))])
    return utility(
        (train.images, train.labels),
        (test.images, test.labels, test.sources),
        labelled(generated.get("healthy", train.of(0)), generated["finding"]),
        synthetic_test=(
            *labelled(generated.get("healthy", test.of(0)), generated["finding"]),
            np.concatenate([healthy, drawn]),
        ),
        epochs=utility_epochs(config),
        seed=config.seed,
        strategy=run.strategy,
    )


class GANMetrics(keras.callbacks.Callback):
    """Adds `kid` and `near_copies`, the share of images close to a training image, to some epochs' logs.

    Args:
        config: The `Config`.
        sets: Its splits.
        classes: Classes of the training images, or None.
        extractor: An `evaluation.Extractor`.
        seed: Of the generated images, always the same.
    """

    def __init__(self, config, sets, classes, extractor, seed):
        super().__init__()
        self.config, self.sets, self.classes = config, sets, classes
        self.extractor, self.seed = extractor, seed

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.config.eval_every and epoch + 1 != self.config.epochs:
            return
        count = watched_images(self.config)
        generated = generate(self.config, self.model, self.classes, count, self.seed)["finding"]
        real = evaluation.extract(self.sets["train"].of(1), self.extractor, cached=True)
        logs["kid"], _ = evaluation.kid(real, evaluation.extract(generated, self.extractor), subsets=20)
        logs["near_copies"] = self.search.by_features(generated).share

    @functools.cached_property
    def search(self):
        """See `copies`; made at the first use."""
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
