"""The generators: the poster's dense GAN a class, and one DCGAN that knows the classes or sees no labels at all."""

import dataclasses

import keras
import numpy as np
import pandas as pd

from keras_fracture import evaluation, models, training
from keras_fracture.errors import FractureError
from keras_fracture.experiment.runs import export_if_missing, load_or_compute
from keras_fracture.experiment.splits import as_grey
from keras_fracture.training.distribution import ONE_DEVICE

CLASSES = ("healthy", "finding")
_GRIDS = 24  # grids of samples over a training
_EPOCHS = 24  # parts that a DCGAN's training is cut into, each with a backup and a row of its history
# What the answer calls images good enough to ask the question with, fixed beforehand.
GOOD_DISTANCE = 8  # times the distance that two halves of the real images may reach, at most
GOOD_COVERAGE = 0.5  # of the real images' own, at least


@dataclasses.dataclass(frozen=True)
class TrainedGAN:
    """A generator's images, and how its training went.

    Attributes:
        images: The synthetic images of each class, healthy first: uint8 `(n, size, size, 1)`.
        history: A `pandas.DataFrame`, a row an epoch; of the poster's, those of both classes, with a column `label`.
        folder: Where `samples` and `saved_model` lie.
    """

    images: tuple
    history: pd.DataFrame
    folder: object


def train_poster(config, run, train, number, folder):
    """The poster's GANs, one a class, of the training split; returns a `TrainedGAN`."""
    parts = [train_dense(config, run, train, label, number, folder) for label in (0, 1)]
    history = pd.concat([history.assign(label=label) for label, (_, history) in enumerate(parts)])
    return TrainedGAN(tuple(images for images, _ in parts), history, folder / "gan")


def train_dense(config, run, train, label, number, folder):
    """The poster's GAN of one class; returns its images and the history of its training."""
    folder = folder / "gan" / f"{CLASSES[label]}-{number}"
    seed = config.seed + 1000 * number + label

    def train_and_sample():
        gan = build_dense(config, seed, run.strategy)
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

        grids = training.SampleGrid(folder / "samples", every=max(1, config.gan_epochs // _GRIDS))
        bar = training.Progress(
            f"poster's GAN, {folder.parents[1].name}, {CLASSES[label]}", config.gan_epochs
        )
        training.fit(gan, stream, config.gan_epochs, folder, callbacks=[grids, bar], verbose=0)
        facts = {"learnt_from": _learnt_from(config, folder.parents[1].name)}
        export_if_missing(gan.sampler, folder / "saved_model", metadata=facts)
        return {"images": as_grey(gan.sample(config.synthetic_per_class, seed=seed))}

    images = load_or_compute(folder / "synthetic.npz", train_and_sample)["images"]
    return images, pd.read_csv(folder / "history.csv")


def _learnt_from(config, policy):
    """What `judge` holds the generator's images against, see `inference.origins.Origin`."""
    return {"data": config.data_title, "policy": policy, "splits": "train", "crop": False}


def build_dense(config, seed, strategy=ONE_DEVICE):
    """The poster's generator and discriminator, compiled."""
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


def train_dcgan(config, run, images, labels, count, seed, folder):
    """One DCGAN of some images.

    Args:
        config: The `Config`.
        run: An `experiment.runs.Run`.
        images: uint8 `(n, size, size, 1)`, all that it sees.
        labels: int `(n,)` for a GAN that knows the classes, or None.
        count: Synthetic images of each class; without labels of all together.
        seed: Of its weights, its noise and the order of images.
        folder: For its training, its images and its SavedModel; `weights` holds the discriminator's.

    Returns:
        `TrainedGAN`, and the weights of its discriminator: a list of arrays.
    """

    def train_and_sample():
        gan = build_dcgan(config, seed, labels is not None, run.strategy)
        wanted = config.modern_steps
        if config.modern_passes:
            wanted = min(wanted, config.modern_passes * -(-len(images) // config.batch_size))
        steps = max(1, wanted // _EPOCHS)
        epochs = max(1, wanted // steps)

        def stream(first):
            return training.make_train_dataset(
                images,
                labels,
                batch_size=config.batch_size,
                seed=seed,
                first_epoch=first,
                steps=steps,
                pixel_range=gan.generator.pixel_range,
            )

        grids = training.SampleGrid(folder / "samples", every=max(1, epochs // _GRIDS))
        bar = training.Progress(f"DCGAN, {folder.parent.name}, {folder.name}", epochs)
        training.fit(gan, stream, epochs, folder, callbacks=[grids, bar], verbose=0)
        classes = list(CLASSES) if labels is not None else None
        facts = {"classes": classes, "learnt_from": _learnt_from(config, config.policies[0])}
        export_if_missing(gan.sampler, folder / "saved_model", metadata=facts)
        weights = {f"weight{k:02d}": array for k, array in enumerate(gan.discriminator.get_weights())}
        if labels is None:
            return {"images": gan.sample(count, seed=seed), **weights}
        wanted = np.repeat((0, 1), count)
        return {"images": gan.sample(2 * count, seed=seed, labels=wanted), **weights}

    stored = load_or_compute(folder / "synthetic.npz", train_and_sample)
    made = stored.pop("images")
    parts = (made[:count], made[count:]) if labels is not None else (made,)
    return TrainedGAN(parts, pd.read_csv(folder / "history.csv"), folder), [stored[k] for k in sorted(stored)]


def build_dcgan(config, seed, conditional, strategy=ONE_DEVICE):
    """The DCGAN's generator and discriminator, compiled."""
    keras.utils.set_random_seed(seed)
    shape = {"image_size": config.image_size, "channels": 1, "width": config.modern_width,
             "num_classes": 2 if conditional else None}  # fmt: skip
    with strategy.scope():
        gan = training.AdversarialModel(
            models.create("dcgan_generator", **shape),
            models.create("dcgan_discriminator", activation="leaky_relu", **shape),
            ema=config.modern_ema,
            seed=seed,
            augment=training.DiffAugment(seed=seed),
            fresh_noise=True,
            auxiliary=config.auxiliary if conditional else 0.0,
        )
        gan.compile(
            g_optimizer=training.Adam(config.modern_learning_rate, beta_1=0.5),
            d_optimizer=training.Adam(config.modern_learning_rate, beta_1=0.5),
        )
    return gan


def quality(config, sets, gan):
    """How near a generator's images come to the training images, with both classes in the real images' shares.

    Args:
        config: The `Config`.
        sets: Split name to `Split`.
        gan: A `TrainedGAN`.

    Returns:
        A dict of `kid`, `coverage`, `recall` and `near_copies`, each with `value` and `real_vs_real`, of
        `good_enough`, and of `nearest`: int `(n,)`, the training image nearest to each of the images `shown`.
    """
    train, test = sets["train"], sets["test"]
    extractor = evaluation.extractor(config.extractor)
    shares = [float((train.labels == label).mean()) for label in (0, 1)]
    count = min(1000, *(int(len(made) / share) for made, share in zip(gan.images, shares, strict=True)))
    fake = np.concatenate(
        [made[: max(1, round(count * share))] for made, share in zip(gan.images, shares, strict=True)]
    )
    k = max(1, min(5, len(fake) - 1, len(train.labels) // 3))
    scores = evaluation.compare(train.images, fake, extractor, sources=train.sources, k=k, seed=config.seed)
    result = {name: scores[name] for name in ("kid", "coverage", "recall")}
    search = evaluation.Copies(
        train.images,
        test.images,
        train_sources=train.sources,
        held_out_sources=test.sources,
        extractor=extractor,
    )
    result["near_copies"] = search.by_features(fake).summary()
    shown = np.concatenate([made[:6] for made in gan.images])
    nearest = search.by_features(shown).indices
    return result | {"good_enough": good_enough(result), "shown": shown, "nearest": nearest}


def reference(kid):
    """The distance that two halves of the real images may reach: mean and two standard deviations over splits.

    Without what copies of one X-ray add to it, which a generator does not owe.
    """
    return max(kid["real_vs_real"] - kid.get("copies", 0), 0) + 2 * kid["real_vs_real_std"]


def good_enough(scores):
    """Whether images are good enough to ask whether they help: near to the real ones, and of their variety."""
    kid, coverage = scores["kid"], scores["coverage"]
    near = kid["value"] <= GOOD_DISTANCE * reference(kid)
    return bool(near and coverage["value"] >= GOOD_COVERAGE * coverage["real_vs_real"])


def draw(split, count, seed, one_a_source=False):
    """Rows of a few images: half of each class, whole X-rays in random order, no more than half a class of one X-ray.

    Args:
        split: The training `Split`.
        count: Images, an even number.
        seed: Of the order; of one seed the larger counts hold the rows of the smaller ones, but where an X-ray has
            so many copies that it has to be cut.
        one_a_source: Take a second image of an X-ray only after one of each other: as somebody would label them.

    Returns:
        Sorted int `(count,)`.

    Raises:
        FractureError: A class has fewer images than half of `count`, or they are all of one X-ray.
    """
    rows, wanted = [], count // 2
    for label in (0, 1):
        own = np.flatnonzero(split.labels == label)
        if len(own) < wanted:
            raise FractureError(
                f"{count} real images are {wanted} of each class: the training split has fewer. Choose smaller "
                f"sizes and few_labels. Received: {len(own)} images of class {CLASSES[label]}"
            )
        names, codes = np.unique(split.sources[own], return_inverse=True)
        if len(names) < 2:
            raise FractureError(
                f"Images of class {CLASSES[label]} must be of two X-rays or more. Received: {names[0]} alone"
            )
        place = np.random.default_rng([seed, label]).permutation(len(names))[codes]
        turn = _turn(codes)
        later = turn if one_a_source else turn >= max(1, wanted // 2)
        rows.append(own[np.lexsort((own, place, later))][:wanted])
    return np.sort(np.concatenate(rows))


def drawn_from(split, draws):
    """What some images of a split are drawn from, a dict.

    Args:
        split: The training `Split`.
        draws: Rows, int `(n,)` each, of one draw or of several of the same size.

    Returns:
        `real_sources`, how many X-rays (patients, limbs) the images show, of several draws the fewest; and
        `real_findings`, how many of the images have a finding.
    """
    return {
        "real_sources": min(len(set(split.sources[rows])) for rows in draws),
        "real_findings": int(split.labels[draws[0]].sum()),
    }


def _turn(codes):
    """How many images of the same X-ray come before each."""
    return pd.Series(codes).groupby(codes).cumcount().to_numpy()
