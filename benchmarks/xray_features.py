"""The classifier behind the feature extractor `xray`, which generators are evaluated by. Not a paper.

    python benchmarks/xray_features.py --results results
    python benchmarks/xray_features.py --profile smoke --out runs/features

A narrow ResNet-18 that tells body part and finding of small images together: a classifier of findings alone forgets
what does not bear on them, and a generator must get the anatomy right too. Trained on the training images of FracAtlas
(policy `grouped`), so that it has seen no image of other sets that generators learn from. Those that learn from
FracAtlas are held against images that it has learnt. Its penultimate maps, averaged, are the features of `evaluation`'s
extractor `xray`; the weights that come with the package are those of this command's run folder (`xray.keras`).
"""

import dataclasses
import sys
from typing import ClassVar

import keras
import numpy as np
import scipy

from keras_fracture import cli, evaluation, files, models, training
from keras_fracture.cli import verbs
from keras_fracture.data import Augmentation, Preprocess, batches
from keras_fracture.evaluation import Predictions
from keras_fracture.evaluation.bootstrap import Clusters
from keras_fracture.experiment import config as configs
from keras_fracture.experiment.runs import execute, read_config, write_metrics
from keras_fracture.experiment.splits import load_splits
from keras_fracture.models.preprocessing import scale
from keras_fracture.report.markdown import decimal, markdown


@dataclasses.dataclass(frozen=True)
class Config(configs.Config):
    """The numbers.

    Attributes:
        policy: Split policy.
        image_size: Side of the images in pixels.
        width: Of the ResNet's first stage; 64 is the usual. The features are 8 times as many.
        epochs: Of the training; the weights of the epoch with the lowest validation loss are kept.
        batch_size: Images a step.
        learning_rate: Highest learning rate.
        weight_decay: L2 weight decay of the kernels.
    """

    key = "xray_features"
    title = "Features of X-rays: body part and finding together"
    PROFILES: ClassVar = {
        "smoke": {"data": "phantom", "image_size": 32, "width": 4, "epochs": 1},
        "quick": {},
        "paper": {},
    }
    MAY_BE_ZERO: ClassVar = (*configs.Config.MAY_BE_ZERO, "weight_decay")

    data: str = "fracatlas"
    policy: str = "grouped"
    image_size: int = 64
    width: int = 16
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 0.05
    weight_decay: float = 5e-4


def run(config, run):
    """Trains the classifier and writes `xray.keras`; returns scores by split, and the body parts."""
    sets = load_splits(config, Preprocess(size=config.image_size), config.policy, run.data_dir)
    parts = sorted(set(sets["train"].table["body_part"]))
    # Class 2k is part k without, 2k + 1 with a finding.
    classes = {
        name: 2 * np.array([parts.index(part) for part in split.table["body_part"]]) + split.labels
        for name, split in sets.items()
    }
    model = train(config, run, sets, classes, 2 * len(parts))
    bare = type(model).from_config(model.get_config())  # an optimizer would double the file
    bare.set_weights(model.get_weights())
    with files.writing(run.folder / "xray.keras") as beside:
        bare.save(beside)
    return {name: evaluate(bare, sets[name], classes[name]) for name in ("validation", "test")}, parts


def train(config, run, sets, classes, count):
    """Trains the classifier, or goes on with a run that was cut off; returns it with its best weights."""
    keras.utils.set_random_seed(config.seed)
    steps = config.epochs * (len(sets["train"].labels) // config.batch_size)
    with run.strategy.scope():
        model = models.create(
            "resnet18", num_classes=count, width=config.width, image_size=config.image_size, channels=1
        )
        training.add_l2(model, config.weight_decay)
        model.compile(
            training.sgd(config.learning_rate, steps, warmup=steps // 20),
            keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
            metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
        )
    targets = {name: np.eye(count, dtype="float32")[values] for name, values in classes.items()}

    def stream(first):
        return training.make_train_dataset(
            sets["train"].images,
            targets["train"],
            batch_size=config.batch_size,
            seed=config.seed,
            first_epoch=first,
            pixel_range=model.pixel_range,
            augment=Augmentation(seed=config.seed, value_range=model.pixel_range),
        )

    validation = sets["validation"].images, targets["validation"]
    training.fit(
        model,
        stream,
        config.epochs,
        run.folder / "training",
        callbacks=[training.Progress("features", config.epochs)],
        validation_data=batches(validation, len(validation[0]), 64, pixel_range=model.pixel_range),
        patience=config.epochs,
        verbose=0,
    )
    return model


def evaluate(model, split, classes):
    """How often body part and both are right, and how well findings are told, each with an interval."""
    logits = model.predict(scale(split.images, model.pixel_range), batch_size=64, verbose=0)
    probabilities = scipy.special.softmax(logits.astype(np.float64), axis=1)
    top, clusters = probabilities.argmax(axis=1), Clusters(split.sources)
    right = {"accuracy": top == classes, "body_part_accuracy": top // 2 == classes // 2}
    scores = {
        name: clusters.interval(lambda weights, _, hits=hits: np.average(hits, weights=weights))
        for name, hits in right.items()
    }
    findings = Predictions(split.labels, split.sources, probabilities[:, 1::2].sum(axis=1)[None])
    return scores | {"finding_auc": evaluation.scores(findings, ("auc",))["auc"]}


def write(config, results, run):
    """Writes `metrics.json` and `report.md`; returns the former's content."""
    scores, parts = results
    row = {
        "variant": "",
        "model": "resnet18",
        "data": config.data,
        "split_policy": config.policy,
        "profile": read_config(run.folder)["profile"],
        "metrics": scores["test"]
        | {f"validation_{name}": score for name, score in scores["validation"].items()},
    }
    rows = [[name, *(decimal(scores[split][name]) for split in scores)] for name in scores["test"]]
    text = (
        f"# {config.title}\n\nResNet-18 of width {config.width} on {config.image_size}x{config.image_size} pixels of "
        f"{config.data} ({config.policy} split), {config.epochs} epochs, seed {config.seed}. Body parts: "
        f"{', '.join(parts)}. `xray.keras` holds the epoch with the lowest validation loss.\n\n"
        + markdown(["share of images, or AUC", *scores], rows)
    )
    files.write_text(run.folder / "report.md", text)
    return write_metrics(run.folder, config, [row], body_parts=parts)


def main(arguments=None):
    """The command line."""
    parser = verbs.parser("xray_features", __doc__, "python benchmarks/xray_features.py --profile smoke")
    parser.set_defaults(command=reproduce)
    parser.add_argument("--profile", default="quick", help="smoke, quick (default)")
    parser.add_argument("--out", help="run folder (default: runs/xray_features/TIME)")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was cut off")
    parser.add_argument("--results", help="also record the numbers in this folder")
    parser.add_argument("--data-dir", help="where real data lie (default: KERAS_FRACTURE_DATA)")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="any other number"
    )
    return cli.run(parser, arguments)


def reproduce(options):
    """Carries out the run that the command line asks for, and prints its report."""
    named = configs.parse_overrides(Config, options.settings)
    config = configs.configure(Config, options.profile, **named)
    where = {name: getattr(options, name) for name in ("out", "resume", "results", "data_dir")}
    print((execute(config, options.profile, run, write, **where) / "report.md").read_text())


if __name__ == "__main__":
    sys.exit(main())
