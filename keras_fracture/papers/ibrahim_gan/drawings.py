"""The figures of the report."""

import numpy as np

from keras_fracture.papers.ibrahim_gan.answer import arm_in_words
from keras_fracture.papers.ibrahim_gan.gans import CLASSES
from keras_fracture.papers.ibrahim_gan.learning_curve import BASELINE
from keras_fracture.report import figures, galleries
from keras_fracture.report.markdown import counted

LABELS = {
    "original": "original",
    "classic": "original +\nclassic augm.",
    "synthetic": "original +\nsynthetic",
    "warm_start": "warm start on\nsynthetic",
}
_SHOWN = 18  # images of each class

# Captions.
SAMPLES = (
    "Real training images, and synthetic ones of each generator; upper half healthy, lower half with a finding. Look "
    "for what tells the halves apart: a classifier can learn nothing else from synthetic images."
)
NEIGHBOURS = (
    "Images of the {} GAN, and under each the training image nearest to it in features. Look whether a pair shows one "
    "and the same X-ray."
)
ANIMATION = {
    "poster": "The same noise over the training of one of the poster's GANs, that of the findings. Look when bones "
    "take shape.",
    "modern": "The same noise over the training of the modern GAN. Look when bones take shape.",
}
CURVE = (
    "AUC on {:,} test images over the number of {}: mean of {}, with 95 % intervals. Where these overlap, look at "
    "the table's gains: they are paired."
)
OPTIONS = "More or fewer synthetic images, and those alone to which a classifier of the real images gives their class."
ACCURACY = (
    "Validation accuracy while training, lowest to highest seed shaded. Look whether the lines are flat at the end: "
    "else more epochs would change the table."
)
LOSSES = (
    "Losses of the poster's GANs, mean of each epoch. A discriminator's loss near 0 means that it tells generated "
    "images from real ones."
)


def draw(config, results, scores, measured, folder):
    """Writes all figures.

    Args:
        config: The `Config`.
        results: `experiment.Results`.
        scores: Split policy to arm to the poster's scores.
        measured: Study to what `report.measure` gives.
        folder: The run folder.
    """
    _images(config, results, folder)
    if results.poster:
        _poster(config, results.poster, scores, folder)
    for study, numbers in measured.items():
        _curve(config, study, numbers, folder)


def _images(config, results, folder):
    """Real images beside those of each generator, the nearest training images, and the training as an animation."""
    generators = {}
    if results.poster:
        first = next(iter(results.poster.values()))
        gan = first.gans[0]
        generators["poster"] = (first.sets, gan, first.quality, gan.folder / "finding-0" / "samples")
    if results.curve:
        gan = results.curve.gans[results.curve.sizes[-1]]
        generators["modern"] = (results.curve.sets, gan, results.curve.quality, gan.folder / "samples")
    if not generators:
        return
    train = next(iter(generators.values()))[0]["train"]
    rng = np.random.default_rng(config.seed)
    real = [rng.permutation(train.of(label))[:_SHOWN] for label in (0, 1)]
    columns = {f"real ({config.data_title})": real}
    columns |= {f"synthetic, {name} GAN": [made[:_SHOWN] for made in gan.images]
                for name, (_, gan, _, _) in generators.items()}  # fmt: skip
    galleries.beside(columns, folder / "samples.png", "Healthy (upper half) and with a finding (lower half)")
    for name, (sets, _, quality, grids) in generators.items():
        galleries.neighbours(
            quality["shown"],
            sets["train"].images[quality["nearest"]],
            folder / f"neighbours-{name}.png",
            ("generated", "nearest real"),
        )
        galleries.animation(grids, folder / f"samples-{name}.gif")


def _poster(config, poster, scores, folder):
    seeds = counted(config.seeds, "seed")
    losses = {}
    for policy, result in poster.items():
        history = result.gans[0].history
        losses[f"{policy} split"] = {
            f"{name}, {kind}": history[history["label"] == label][column]
            for label, name in enumerate(CLASSES)
            for kind, column in (("discriminator", "d_loss"), ("generator", "g_loss"))
        }
    figures.curves(losses, folder / "gan-losses.png", "loss (nats)", "GAN losses, mean of each epoch")
    accuracy = {f"{policy} split, mean of {seeds}": _validation(result) for policy, result in poster.items()}
    figures.curves(
        accuracy, folder / "classifier-accuracy.png", "validation accuracy",
        "Classifiers while training (shaded: lowest to highest)",
    )  # fmt: skip
    for metric, name, reported in (
        ("accuracy", "accuracy", config.REPORTED),
        ("auc", "area under ROC", None),
    ):
        figures.intervals(
            {f"ours, {policy} split": [arms[arm][metric] for arm in LABELS] for policy, arms in scores.items()},
            folder / f"arms-{metric}.png", list(LABELS.values()), f"test {name}",
            f"Test {name} on {config.data_title}, {seeds}, 95 % intervals over X-rays"
            + " and seeds" * (config.seeds > 1),
            reported and [reported[arm] for arm in LABELS],
        )  # fmt: skip


def _validation(result):
    lines = {}
    for arm, label in LABELS.items():
        runs = np.stack([outcome["val_accuracy"] for outcome in result.outcomes[arm]])
        lines[label.replace("\n", " ")] = runs.mean(0), runs.min(0), runs.max(0)
    return lines


def _curve(config, study, numbers, folder):
    lines = {}
    for (size, arm), one in numbers.items():
        auc = one["auc"]
        lines.setdefault(arm_in_words(study, arm), []).append((size, auc["value"], auc["low"], auc["high"]))
    options = [arm for arm in lines if "," in arm]  # those of `ratios` and `filters`
    plain = {arm: points for arm, points in lines.items() if arm not in options}
    what = "real training images" if study == "learning_curve" else "labels"
    words = f"{config.data_title}, {counted(config.seeds, 'seed')}"
    figures.learning_curve(
        plain,
        folder / f"{study}.png",
        f"number of {what}",
        "test AUC",
        f"How many {what} does it take? {words}",
    )
    if options:
        named = {arm: lines[arm] for arm in (BASELINE, "classic", "classic + synthetic", *options)}
        figures.learning_curve(
            named, folder / "options.png", f"number of {what}", "test AUC",
            f"How many synthetic images, and which? {words}",
        )  # fmt: skip
