"""What else could make generated images help: `python benchmarks/gan_tries.py --data btxrd`, from a checkout.

Every try is looked at on the validation split alone, beside the modern study of `ibrahim_gan` as it is: other ratios,
filters, a tenth of the learning rate after a start from somewhere else, the checkpoint of the lowest kernel distance,
and turned, moved and mirrored images for the GAN. One GAN of each kind; the table goes to `results/gan_tries.json`.
"""

import argparse
import dataclasses
import datetime
import functools
import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_fracture import evaluation, machine, training
from keras_fracture.data import Augmentation
from keras_fracture.errors import FractureError
from keras_fracture.evaluation import Predictions
from keras_fracture.evaluation.features import extract, extractor
from keras_fracture.evaluation.generative_metrics import kid
from keras_fracture.evaluation.predicting import probabilities
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.splits import load_splits
from keras_fracture.files import write_text
from keras_fracture.papers.ibrahim_gan import experiment, gans, learning_curve
from keras_fracture.papers.ibrahim_gan.config import Config
from keras_fracture.papers.ibrahim_gan.learning_curve import Arm
from keras_fracture.progress import Bar
from keras_fracture.training import precision

RESULTS = Path(__file__).resolve().parents[1] / "results" / "gan_tries.json"
EPOCHS = 24  # parts of a GAN's training, after each of which its images are looked at
LOOKED_AT = 500  # generated images of each class, for the kernel distance
SPARE = 5  # times as many generated images as real ones: the largest ratio, and some to be filtered
TENTH = learning_curve.LEARNING_RATE / 10


def main(arguments=None):
    """Measures one data set and records it; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="btxrd", help="data set (default: btxrd)")
    parser.add_argument("--size", type=int, default=500, help="real images that a GAN sees (default: 500)")
    parser.add_argument("--labels", type=int, default=100, help="labels among all images (default: 100)")
    parser.add_argument("--seeds", type=int, default=3, help="classifiers of each try (default: 3)")
    parser.add_argument("--modern-steps", type=int, default=3000, help="steps of each GAN (default: 3000)")
    parser.add_argument(
        "--classifier-steps", type=int, default=1000, help="of each classifier (default: 1000)"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write the table into")
    options = parser.parse_args(arguments)
    config = configure(
        Config, "paper", data=options.data, variant="modern", policies=("grouped",), seeds=options.seeds,
        gans_per_class=1, modern_steps=options.modern_steps, classifier_steps=options.classifier_steps,
        sizes=(options.size,), few_labels=(options.labels,), precision="auto",
    )  # fmt: skip
    with precision.using(config.precision) as computed_in:
        rows, refused = measure(config, load_splits(config, experiment.preprocess(config), "grouped"))
    recorded = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    settings = {
        name: getattr(config, name) for name in ("modern_steps", "classifier_steps", "seeds", "image_size")
    }
    recorded[options.data] = {
        "settings": settings | {"size": options.size, "labels": options.labels, "precision": computed_in},
        "machine": machine.described(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rows": rows,
        "refused": refused,
    }
    write_text(options.results, json.dumps(recorded, indent=1) + "\n")
    for row in rows:
        gain = row["gain"]
        print(
            f"{row['try']:<88}{row['auc']:.3f}  {gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
        )
    return 0


def measure(config, sets):
    """All tries: dicts of `try`, `auc` and `gain` over `against` on validation; and which were refused, and why."""
    (size,), (labels,) = config.sizes, config.few_labels
    real = sets["train"].take(gans.draw(sets["train"], size, config.seed))
    few = sets["train"].take(gans.draw(sets["train"], labels, config.seed, one_a_source=True))
    network = learning_curve.build_network(config)
    slow = learning_curve.build_network(config, learning_rate=TENTH)
    half = dataclasses.replace(config, classifier_steps=config.classifier_steps // 2)
    first = learning_curve.build_network(half)
    second = learning_curve.build_network(half, learning_rate=TENTH)
    with tempfile.TemporaryDirectory(prefix="gan-tries-") as folder:
        last, best, which = _conditional(config, real, sets, Path(folder) / "plain")
        turned, _, _ = _conditional(config, real, sets, Path(folder) / "turned", turned=True)
        unlabelled = _discriminator(config, sets["train"].images, Path(folder) / "unlabelled")
    base = Arm("classic", classic=True)
    with_gan = Arm("classic + synthetic", classic=True, ratio=1.0)
    tries = {base.name: (network, base, real, last, None)}
    tries[with_gan.name] = (network, with_gan, real, last, None)
    for ratio in (0.5, float(SPARE)):
        arm = dataclasses.replace(with_gan, name=f"classic + synthetic, {ratio:g} x", ratio=ratio)
        tries[arm.name] = (network, arm, real, last, None)
    for least in (0.5, 0.9):
        arm = dataclasses.replace(with_gan, name=f"classic + synthetic, filtered at {least:g}", least=least)
        tries[arm.name] = (network, arm, real, last, None)
    tries[f"classic + synthetic, checkpoint of the lowest KID ({which})"] = (
        network,
        with_gan,
        real,
        best,
        None,
    )
    tries["classic + synthetic, GAN of turned images"] = (network, with_gan, real, turned, None)
    warm = dataclasses.replace(with_gan, name="warm", warm=True)
    tries["classic, after synthetic alone"] = (network, warm, real, last, None)
    tries["classic, after synthetic alone, a tenth of the rate"] = (second, warm, real, last, first)
    itself = dataclasses.replace(base, name="control", warm=True)
    tries["classic, after classic alone, a tenth of the rate"] = (second, itself, real, last, first)
    of_few = f"{labels} labels, classic"
    tries[of_few] = (network, base, few, last, None)
    tries[f"{labels} labels, start from the discriminator"] = (network, base, few, last, unlabelled)
    tries[f"{labels} labels, start from the discriminator, a tenth of the rate"] = (
        slow,
        base,
        few,
        last,
        unlabelled,
    )
    answers, refused = {}, {}
    for name in Bar(tries, "tries", unit=" tries"):
        each = [
            functools.partial(_answers, config, sets, number, *tries[name]) for number in range(config.seeds)
        ]
        try:
            answers[name] = np.stack([answer() for answer in each])
        except FractureError as error:  # where no image passes a filter
            refused[name] = str(error)
    validation = sets["validation"]
    rows = []
    for name, each in answers.items():
        against = of_few if name.startswith(f"{labels} labels") else base.name
        own, other = (
            Predictions(validation.labels, validation.sources, one) for one in (each, answers[against])
        )
        auc = evaluation.scores(own, ("auc",))["auc"]["value"]
        rows.append(
            {"try": name, "against": against, "auc": auc, "gain": evaluation.gains(own, other)["auc"]}
        )
    return rows, refused


def _answers(config, sets, number, network, arm, real, gan, start):
    """Validation probabilities of one classifier; `start` is a discriminator's weights, or a network trained first."""
    seed = config.seed + number
    augment = Augmentation(seed=seed, value_range=network.pixel_range) if arm.classic else None
    synthetic = None
    if arm.ratio:
        synthetic = learning_curve.chosen(config, network, arm, number, real, gan)
    pair = real.images, real.labels
    if arm.warm and start is not None:
        half = dataclasses.replace(config, classifier_steps=config.classifier_steps // 2)
        learning_curve.train_network(
            half, start, pair if synthetic is None else synthetic, seed, None, augment
        )
        _go_on(half, network, start.get_weights(), pair, seed, augment)
    else:
        learning_curve.train_network(config, network, pair, seed, synthetic, augment, arm.warm, start)
    return probabilities(network, sets["validation"].images)


def _go_on(config, network, weights, pair, seed, augment):
    training.reset_weights(network, seed)  # the optimizer's too
    network.set_weights(weights)
    images, labels = pair
    training.fit_briefly(
        network, images, np.asarray(labels, "float32")[:, None], 1, batch_size=config.batch_size, seed=seed,
        steps=config.classifier_steps, augment=augment,
    )  # fmt: skip


def _conditional(config, real, sets, folder, turned=False):
    """Images of a GAN of `real`: the last, and those of the epoch whose kernel distance to validation is lowest."""
    looked = _Look(config, sets["validation"].images)
    gan = gans.build_dcgan(config, config.seed, True)
    augment = Augmentation(seed=config.seed, value_range=gan.generator.pixel_range) if turned else None
    _train(config, gan, real.images, real.labels, folder, looked, augment)
    count = SPARE * max((real.labels == label).sum() for label in (0, 1))
    made = [_sample(gan, config, count)]
    gan.sampler.set_weights(looked.weights)
    made.append(_sample(gan, config, count))
    last, best = (gans.TrainedGAN(parts, None, None) for parts in made)
    return last, best, f"{looked.distance:.3f} at {looked.epoch} of {EPOCHS}; {looked.last:.3f} at the end"


def _discriminator(config, images, folder):
    gan = gans.build_dcgan(config, config.seed, False)
    _train(config, gan, images, None, folder)
    return gan.discriminator.get_weights()


def _train(config, gan, images, labels, folder, callback=None, augment=None):
    def stream(first):
        return training.make_train_dataset(
            images, labels, batch_size=config.batch_size, seed=config.seed, first_epoch=first,
            steps=max(1, config.modern_steps // EPOCHS), pixel_range=gan.generator.pixel_range, augment=augment,
        )  # fmt: skip

    bar = training.Progress(folder.name, EPOCHS)
    training.fit(gan, stream, EPOCHS, folder, callbacks=[*([callback] if callback else []), bar], verbose=0)


def _sample(gan, config, count):
    made = gan.sample(2 * count, seed=config.seed, labels=np.repeat((0, 1), count))
    return made[:count], made[count:]


class _Look(keras.callbacks.Callback):
    """Keeps the sampler's weights of the epoch whose images are nearest to some real ones."""

    def __init__(self, config, real):
        super().__init__()
        self.config, self.extractor = config, extractor(config.extractor)
        self.real = extract(real, self.extractor)
        self.distance, self.last, self.epoch, self.weights = np.inf, None, None, None

    def on_epoch_end(self, epoch, logs=None):
        made = np.concatenate(_sample(self.model, self.config, LOOKED_AT))
        self.last = float(kid(self.real, extract(made, self.extractor))[0])
        if self.last < self.distance:
            self.distance, self.epoch = self.last, epoch + 1
            self.weights = self.model.sampler.get_weights()


if __name__ == "__main__":
    sys.exit(main())
