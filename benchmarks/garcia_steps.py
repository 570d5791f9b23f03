"""What the last weights of `garcia_inception` are worth: `python -m benchmarks.garcia_steps`.

The recipe (Adam at 0.001, BatchNormalization, the weights of the last step) is trained as the author's published code
has it, by this package and by PyTorch on the same batches, each from initial weights of its own. Every some steps the
accuracy is measured on validation and test images as it is, and once more with statistics of BatchNormalization that
forward passes over training images took anew while the weights stood still. Nothing is chosen by these numbers. The
table goes to `results/garcia_steps.json`.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks import twins
from keras_fracture import machine, training
from keras_fracture.data.pipeline import grey_to
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.splits import load_splits
from keras_fracture.files import write_text
from keras_fracture.models.preprocessing import UNIT, scale
from keras_fracture.papers.garcia_inception import experiment
from keras_fracture.papers.garcia_inception.config import Config
from keras_fracture.papers.targets import one_hot

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "results" / "garcia_steps.json"
_PASSES = 40  # batches that statistics are taken from anew: a momentum of 0.9 forgets all before
_HEAD = "library     step  validation  anew   test   anew"


def main(arguments=None):
    """Measures and records; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="kaggle_fracture", help="data set (default: kaggle_fracture)")
    parser.add_argument("--steps", type=int, default=600, help="of each training (default: 600)")
    parser.add_argument("--every", type=int, default=50, help="steps between measurements (default: 50)")
    parser.add_argument(
        "--image-size", type=int, default=112, metavar="PIXELS", help="side of the images (default: 112)"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write the table into")
    options = parser.parse_args(arguments)
    if not 0 < options.every <= options.steps:
        parser.error(f"--every must be 1 to --steps. Received: {options.every}")
    config = configure(
        Config, "paper", variant="published_code", policies=("paper",), data=options.data,
        image_size=options.image_size,
    )  # fmt: skip
    rows = measure(config, options.steps, options.every)
    content = {
        "settings": {"data": options.data, "steps": options.steps, "every": options.every, "seed": config.seed,
                     "image_size": config.image_size, "precision": "float32"},
        "machine": machine.described(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rows": rows,
    }  # fmt: skip
    write_text(options.results, json.dumps(content, indent=1) + "\n")
    return 0


def measure(config, steps, every):
    """A dict for each library and measured step: accuracies on validation and test, as they are and `anew`."""
    torch = twins.pytorch()
    sets = load_splits(config, experiment.preprocess(config), "paper")
    sets = experiment.prepare_splits(config, sets, "paper")
    rows = []
    print(_HEAD)
    for library in (Ours, Theirs):
        keras.utils.set_random_seed(config.seed)
        torch.manual_seed(config.seed)
        network = library(config, sets["train"])
        stream, _ = training.make_train_dataset(
            sets["train"].images, one_hot(sets["train"].labels), seed=config.seed, channels=3
        )
        order = np.random.default_rng(config.seed)
        for step, batch in enumerate(stream.take(steps), 1):
            network.train(*batch)
            if step % every == 0:
                row = {"library": network.name, "step": step} | accuracies(network, sets, order)
                rows.append(row)
                print(f"{row['library']:<11}{step:>5}{row['validation']:>11.3f}{row['validation_anew']:>7.3f}"
                      f"{row['test']:>7.3f}{row['test_anew']:>7.3f}", flush=True)  # fmt: skip
    return rows


def accuracies(network, sets, order):
    """Accuracies by name; the network's statistics are as before afterwards."""
    asked = {name: sets[name] for name in ("validation", "test")}
    values = {name: _accuracy(network, split) for name, split in asked.items()}
    before = network.statistics()
    for _ in range(_PASSES):
        network.look(_scaled(sets["train"].images[order.integers(len(sets["train"].labels), size=32)]))
    values |= {f"{name}_anew": _accuracy(network, split) for name, split in asked.items()}
    network.restore(before)
    return values


def _accuracy(network, split):
    parts = [
        network.classes(_scaled(split.images[start : start + 64]))
        for start in range(0, len(split.images), 64)
    ]
    return float((np.concatenate(parts) == split.labels).mean())


def _scaled(images):
    return grey_to(scale(images, UNIT), 3)


class Ours:
    """The network of this package, in float32."""

    name = "ours"

    def __init__(self, config, train):
        self.model = experiment.build_model(config, *config.models, train)
        optimizer = experiment.optimizer(config, 1)
        self.model.compile(optimizer, experiment.loss(config))
        optimizer.build(self.model.trainable_variables)
        self._step = tf.function(self.model.train_step)
        self._look = tf.function(lambda images: self.model(images, training=True))
        self._answer = tf.function(lambda images: self.model(images, training=False))

    def train(self, images, labels):
        self._step((images, labels))

    def look(self, images):
        self._look(tf.constant(images))

    def classes(self, images):
        return self._answer(tf.constant(images)).numpy().argmax(axis=1)

    def statistics(self):
        return [weight.numpy().copy() for weight in self.model.non_trainable_weights]

    def restore(self, statistics):
        for weight, value in zip(self.model.non_trainable_weights, statistics, strict=True):
            weight.assign(value)


class Theirs:
    """Its PyTorch twin, with PyTorch's own initial weights, normalised alike."""

    name = "PyTorch"

    def __init__(self, config, train):
        self.torch = twins.pytorch()
        model = experiment.build_model(config, *config.models, train)
        (self.net,) = twins.build(twins.plan_twins("inception_net", (model,), config.image_size))
        self.net.to(memory_format=self.torch.channels_last)
        self.mean, self.std = model.mean, model.std
        self.optimizer = self.torch.optim.Adam(self.net.parameters(), config.learning_rate)

    def _tensor(self, images):
        return (self.torch.from_numpy(np.array(images)).permute(0, 3, 1, 2) - self.mean) / self.std

    def train(self, images, labels):
        self.net.train()
        self.optimizer.zero_grad()
        labels = self.torch.from_numpy(labels.numpy().argmax(axis=1))
        self.torch.nn.functional.cross_entropy(self.net(self._tensor(images)), labels).backward()
        self.optimizer.step()

    def look(self, images):
        with self.torch.no_grad():
            self.net.train()(self._tensor(images))

    def classes(self, images):
        with self.torch.no_grad():
            return self.net.eval()(self._tensor(images)).argmax(dim=1).numpy()

    def statistics(self):
        return [buffer.clone() for buffer in self.net.buffers()]

    def restore(self, statistics):
        for buffer, value in zip(self.net.buffers(), statistics, strict=True):
            buffer.copy_(value)


if __name__ == "__main__":
    sys.exit(main())
