"""How many real images do I have? Arms of one classifier at several numbers of real images, a GAN for each number."""

import dataclasses
import functools
import itertools
import logging

import keras
import numpy as np

from keras_fracture import evaluation, models, training
from keras_fracture.data import Augmentation
from keras_fracture.errors import FractureError
from keras_fracture.evaluation import Predictions
from keras_fracture.evaluation.bootstrap import Clusters
from keras_fracture.evaluation.predicting import probabilities
from keras_fracture.experiment.runs import load_or_compute
from keras_fracture.papers.ibrahim_gan.gans import CLASSES, draw, drawn_from, quality, train_dcgan
from keras_fracture.progress import Bar
from keras_fracture.training.distribution import ONE_DEVICE

BASELINE = "original"
# Steps of the classifier that run in one go: each is so short that starting it costs as much.
_BLOCK = 8
# Chosen on phantom: at 1e-3 a network from scratch learns nothing in the first 600 steps.
LEARNING_RATE = 4e-4
_RESAMPLES = 1000
_UNREAD = (
    0.05  # the largest share of resamples in which no number of images can be read: others would be a choice
)
_SPARE = 4  # times as many images are generated where some will not pass a filter
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Arm:
    """A way to train the classifier.

    Attributes:
        name: In words.
        classic: Whether images are turned, moved and mirrored while training.
        ratio: Synthetic images for each real one; 0 for none.
        least: Least probability that a classifier of the real images must give a synthetic image's class, or None.
        warm: Whether the first half of the steps sees synthetic images alone, the second the real ones.
    """

    name: str
    classic: bool = False
    ratio: float = 0.0
    least: float | None = None
    warm: bool = False


@dataclasses.dataclass(frozen=True)
class Curve:
    """What came out at each number of real images, or of labels.

    Attributes:
        sets: Split name to `Split`.
        sizes: Numbers of real images (labels), rising; the last of `study` is all of them.
        arms: Names.
        outcomes: (size, arm) to test probabilities, float `(seeds, n)`.
        gans: Size to the first `gans.TrainedGAN` there; the unlabelled one's size is None.
        quality: See `gans.quality`, of the GAN that saw all images; None without classes.
        seen: Size to the AUC with which a classifier of the real images tells generated findings from generated
            healthy images; empty without classes.
        drawn: Size to `gans.drawn_from` of the real images, or of those with labels.
    """

    sets: dict
    sizes: tuple
    arms: tuple
    outcomes: dict
    gans: dict
    quality: dict | None = None
    seen: dict = dataclasses.field(default_factory=dict)
    drawn: dict = dataclasses.field(default_factory=dict)

    def predictions(self, size, arm):
        """`evaluation.Predictions` on the test split."""
        test = self.sets["test"]
        return Predictions(test.labels, test.sources, self.outcomes[size, arm])

    def scores(self, size, arm):
        """AUC and accuracy, each with an interval."""
        return evaluation.scores(self.predictions(size, arm), resamples=_RESAMPLES)

    def gains(self, size, arm, baseline=BASELINE):
        """What an arm gains over another at the same size, with paired intervals."""
        ours, theirs = self.predictions(size, arm), self.predictions(size, baseline)
        return evaluation.gains(ours, theirs, resamples=_RESAMPLES)

    def equivalent(self, size, arm, baseline=BASELINE):
        """How many real images more would have taken the baseline's AUC to the arm's, with an interval.

        The baseline's AUC is read between sizes on a logarithmic axis, see `read_off`. A value at the last size, less
        this one, means "or more", one at the first "or fewer".

        Returns:
            A dict of `value`, `low` and `high`; None where the baseline does not rise around the size and from there
            to the arm's AUC, so that no number of images can be read, be it in more than one of 20 resamples.
        """
        test, runs = self.sets["test"], len(self.outcomes[size, arm])
        own = self.predictions(size, arm).statistic("auc")
        baselines = [self.predictions(each, baseline).statistic("auc") for each in self.sizes]

        def read(weights, chosen):
            curve = [one(weights, chosen) for one in baselines]
            images, rises = read_off(self.sizes, curve, size, own(weights, chosen))
            rising.append(rises)
            return images - size if rises else np.nan

        rising = []
        if np.isnan(read(np.ones(len(test.labels)), np.arange(runs))):
            return None
        found = Clusters(test.sources, test.labels).interval(read, runs, resamples=_RESAMPLES // 4)
        return found if np.mean(rising) > 1 - _UNREAD else None


def read_off(sizes, curve, size, level):
    """At how many images a curve, followed from one of its sizes, first reaches a level.

    Args:
        sizes: Numbers of images, rising.
        curve: A number for each.
        size: One of the sizes.
        level: What is to be reached: upwards of the size where it is above the curve there, else downwards.

    Returns:
        Images, on a logarithmic axis between sizes: the last, or the first, where the level is not reached. And whether
        the curve rises between all sizes on the way and to both sides of `size`: else several numbers would do.
    """
    here = sizes.index(size)
    if level == curve[here]:
        return float(size), True
    step = 1 if level > curve[here] else -1
    rising = all(low < high for low, high in itertools.pairwise(curve[max(here - 1, 0) : here + 2]))
    while 0 <= here + step < len(sizes):
        ends = sorted((here, here + step))
        low, high = (curve[end] for end in ends)
        rising = rising and low < high
        if (curve[here + step] - level) * step >= 0:
            return float(np.exp(np.interp(level, (low, high), np.log([sizes[end] for end in ends])))), rising
        here += step
    return float(sizes[here]), rising


def arms_of(config):
    """The arms of the curve, and those that the options `ratios` and `filters` add."""
    first, *others = config.ratios
    arms = [
        Arm(BASELINE),
        Arm("classic", classic=True),
        Arm("synthetic", ratio=first),
        Arm("classic + synthetic", classic=True, ratio=first),
        Arm("warm start", ratio=first, warm=True),
    ]
    arms += [Arm(f"classic + synthetic, {ratio:g} x", classic=True, ratio=ratio) for ratio in others]
    arms += [
        Arm(f"classic + synthetic, filtered at {least:g}", classic=True, ratio=first, least=least)
        for least in config.filters or ()
    ]
    return arms


def check(config, train):
    """Raises `FractureError` where images of a size or labels cannot be drawn, see `gans.draw`; warns of odd halves."""
    half, steps = _half(config), config.classifier_steps
    if 2 * half != steps:
        _LOG.warning(
            "the arm warm start trains in blocks of %d steps, so its halves differ: %d on synthetic and %d on real "
            "images. A classifier_steps that %d divides gives equal ones. Received: %d",
            _BLOCK, half, max(0, steps - half), 2 * _BLOCK, steps,
        )  # fmt: skip
    for count in (*config.sizes, *config.few_labels):
        draw(train, count, config.seed)
    if max(config.sizes) >= len(train.labels):
        raise FractureError(
            f"sizes are numbers of real images below all of the training split: that one comes last by itself. "
            f"Received: {max(config.sizes)} of {len(train.labels)}"
        )


def sizes_of(config, train):
    """Numbers of real images, the last of which is all of the training split."""
    return (*config.sizes, len(train.labels))


def study(config, run, sets):
    """Trains a GAN and all arms at every size; returns a `Curve`."""
    train, arms = sets["train"], arms_of(config)
    sizes = sizes_of(config, train)
    network = build_network(config, run.strategy)
    outcomes, gans, seen = {(size, arm.name): [] for size in sizes for arm in arms}, {}, {}
    for size in sizes:
        made = [train_gan(config, run, train, size, number) for number in range(config.gans)]
        gans[size] = made[0]
        jobs = [(arm, number) for number in range(config.seeds) for arm in arms]
        for arm, number in Bar(jobs, f"classifiers, {size} real images", unit=" runs"):
            gan = made[number % config.gans]
            stored = train_arm(config, run, network, arm, number, size, gan, sets)
            outcomes[size, arm.name].append(stored["probabilities"])
            if (arm.name, number) == ("classic", 0):
                seen[size] = evaluation.scores(_of_generated(stored["generated"]), ("auc",))["auc"]["value"]
    outcomes = {key: np.stack(each) for key, each in outcomes.items()}
    names = tuple(arm.name for arm in arms)
    drawn = {
        size: drawn_from(train, [_rows(train, size, config.seed + number) for number in range(config.gans)])
        for size in sizes
    }
    return Curve(sets, sizes, names, outcomes, gans, quality(config, sets, gans[sizes[-1]]), seen, drawn)


def _rows(train, size, seed):
    return np.arange(size) if size == len(train.labels) else draw(train, size, seed)


def _taken(train, size, seed):
    return train if size == len(train.labels) else train.take(_rows(train, size, seed))


def train_gan(config, run, train, size, number):
    """The class-conditional DCGAN of `size` real images, a `gans.TrainedGAN`."""
    seen = _taken(train, size, config.seed + number)
    most = max((seen.labels == label).sum() for label in (0, 1))
    count = max(500, round(most * max(config.ratios))) * (_SPARE if config.filters else 1)
    folder = run.folder / "modern" / f"{size}" / f"gan-{number}"
    return train_dcgan(config, run, seen.images, seen.labels, count, config.seed + number, folder)[0]


def _of_generated(rows):
    """`Predictions` of generated images, half of them healthy, from the probabilities of a classifier."""
    labels = np.repeat((0, 1), len(rows) // 2)
    return Predictions(labels, np.arange(len(rows)).astype(str), rows[None])


def train_arm(config, run, network, arm, number, size, gan, sets):
    """Trains one classifier, unless a run that was cut off has; returns a dict of arrays.

    Args:
        config: The `Config`.
        run: An `experiment.runs.Run`.
        network: `build_network`'s.
        arm: An `Arm`.
        number: Of the seed, from 0.
        size: Number of real images.
        gan: The `gans.TrainedGAN` of this size and seed.
        sets: Split name to `Split`.
    """
    real = _taken(sets["train"], size, config.seed + number % config.gans)
    fit = functools.partial(_train_arm, config, network, arm, number, real, gan, sets)
    name = f"{arm.name.replace(' ', '')}-{number}.npz"
    return load_or_compute(run.folder / "modern" / f"{size}" / name, fit)


def _train_arm(config, network, arm, number, real, gan, sets):
    """Trains one classifier; returns its probabilities on the test split, the classic arm's on generated images too."""
    seed = config.seed + number
    synthetic = None
    if arm.ratio:
        synthetic = chosen(config, network, arm, number, real, gan)
    augment = Augmentation(seed=seed, value_range=network.pixel_range) if arm.classic else None
    train_network(config, network, (real.images, real.labels), seed, synthetic, augment, arm.warm)
    stored = {"probabilities": probabilities(network, sets["test"].images)}
    if arm.name == "classic" and number == 0:
        few = np.concatenate([made[:500] for made in gan.images])
        stored["generated"] = probabilities(network, few)
    return stored


def chosen(config, network, arm, number, real, gan):
    """Synthetic images and their labels: `arm.ratio` times the real ones, in the real ones' shares of classes."""
    images, labels = [], []
    if arm.least is not None:
        augment = Augmentation(seed=config.seed + number, value_range=network.pixel_range)
        train_network(config, network, (real.images, real.labels), config.seed + number, None, augment)
    for label, made in enumerate(gan.images):
        wanted = max(1, round(arm.ratio * (real.labels == label).sum()))
        if arm.least is not None:
            finding = probabilities(network, made)
            made = made[(finding if label else 1 - finding) >= arm.least]
            if not len(made):
                raise FractureError(
                    f"No synthetic image of class {CLASSES[label]} passes the filter: choose smaller filters. "
                    f"Received: {arm.least:g} at {len(real.labels)} real images"
                )
            if len(made) < wanted:
                _LOG.warning(
                    "%d of %d synthetic images of class %s pass the filter %g at %d real images: others are missing",
                    len(made), wanted, CLASSES[label], arm.least, len(real.labels),
                )  # fmt: skip
        images.append(made[:wanted])
        labels.append(np.full(len(images[-1]), label))
    return np.concatenate(images), np.concatenate(labels)


def _half(config):
    """Steps of the warm start on synthetic images: half, in whole blocks. Beyond all steps the learning rate is 0."""
    return -(-(config.classifier_steps // 2) // _BLOCK) * _BLOCK


def create_network(config):
    """The network of the DCGAN's discriminator without classes, not compiled."""
    return models.create(
        "dcgan_discriminator",
        image_size=config.image_size,
        channels=1,
        width=config.modern_width,
        activation="leaky_relu",
    )


def build_network(config, strategy=ONE_DEVICE, learning_rate=LEARNING_RATE):
    """The classifier of the modern study: the network of the DCGAN's discriminator, one logit for a finding."""
    with strategy.scope():
        network = create_network(config)
        network.compile(
            keras.optimizers.Adam(
                keras.optimizers.schedules.CosineDecay(learning_rate, config.classifier_steps)
            ),
            keras.losses.BinaryCrossentropy(from_logits=True),
            steps_per_execution=_BLOCK,
        )
    return network


def train_network(config, network, real, seed, synthetic=None, augment=None, warm=False, start=None):
    """Trains the classifier anew, `classifier_steps` steps whatever it learns from.

    Args:
        config: The `Config`.
        network: `build_network`'s, whose weights are drawn again.
        real: (images, labels).
        seed: Of weights and order.
        synthetic: (images, labels) that join the real ones, or None.
        augment: A `data.Augmentation`, or None.
        warm: Whether synthetic images come first and alone, for half of the steps.
        start: Weights to start from, the last layer's left as drawn; or None.
    """
    training.reset_weights(network, seed)
    if start is not None:
        fresh = network.get_weights()
        network.set_weights([*start[: len(fresh) - 1], fresh[-1]])
    steps = config.classifier_steps
    phases = [(real, steps)]
    if warm:
        phases = [(synthetic, steps // 2), (real, steps - steps // 2)]
    elif synthetic is not None:
        phases = [(tuple(np.concatenate(pair) for pair in zip(real, synthetic, strict=True)), steps)]
    for (images, labels), count in phases:
        training.fit_briefly(
            network,
            images,
            np.asarray(labels, "float32")[:, None],
            1,
            batch_size=config.batch_size,
            seed=seed,
            steps=count,
            augment=augment,
        )
