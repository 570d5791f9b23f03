"""What must be true for the losses that `bai_dcgan`'s paper reports: `python benchmarks/dcgan_tries.py`.

The paper names a learning rate of 0.002 and no initialisation, and its losses (generator 3.1 in the first epoch, then
1.2 to 2.9; discriminator 1.61, later 0.84) are not those that its settings lead to here. The DCGAN is trained for
some epochs with one setting changed at a time; looked at are the losses alone. One training of each; a run that was
stopped goes on. The table goes to `results/dcgan_tries.json`.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

import numpy as np

from keras_fracture import machine, training
from keras_fracture.experiment.config import configure
from keras_fracture.experiment.splits import load_splits
from keras_fracture.files import write_text
from keras_fracture.models.preprocessing import UNIT
from keras_fracture.papers.bai_dcgan import experiment
from keras_fracture.papers.bai_dcgan.config import Config
from keras_fracture.training import losses, precision

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "results" / "dcgan_tries.json"
EARLY = 1.2, 2.9  # what the paper says of the generator's loss after the first epoch
SLOW = {"g_learning_rate": 2e-4, "d_learning_rate": 2e-4}
# Settings of the paper's `Config`, and what is no setting of it: see `train`.
TRIES = {
    "as printed": {},
    "learning rate 2e-4": SLOW,
    "learning rate 2e-4, PyTorch's initialisation": SLOW | {"pytorch_initialisation": True},
    "PyTorch's initialisation": {"pytorch_initialisation": True},
    "one draw of noise a step": {"fresh_noise": False},
    "LeakyReLU": {"activation": "leaky_relu"},
    "images normalised as ImageNet's": {"normalised": True},
    "half the width": {"width": 32},
    "labels of real images 0.9": {"loss_options": {"smoothing": 0.1}},
    "discriminator's loss a mean": {"loss_options": {"reduction": "mean"}},
    "dropout of 0.3 in the discriminator": {"dropout": 0.3},
    "one draw of noise, labels of real images 0.9": {
        "fresh_noise": False,
        "loss_options": {"smoothing": 0.1},
    },
}
_NO_SETTINGS = ("pytorch_initialisation", "loss_options", "normalised")
# Of ImageNet's red, green and blue, as torchvision's pages have them.
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main(arguments=None):
    """Measures and records; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="kaggle_fracture", help="data set (default: kaggle_fracture)")
    parser.add_argument("--epochs", type=int, default=15, help="of each training (default: 15)")
    parser.add_argument(
        "--runs", type=Path, default=CHECKOUT / "runs" / "dcgan_tries", help="folder of the trainings"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write the table into")
    options = parser.parse_args(arguments)
    if options.epochs < 2:
        parser.error(f"--epochs must be 2 or more. Received: {options.epochs}")
    config = configure(Config, "paper", data=options.data, epochs=options.epochs, precision="auto")
    with precision.using("auto") as computed_in:
        rows = measure(config, options.runs / options.data)
    content = {
        "data": options.data,
        "settings": {"epochs": config.epochs, "batch_size": config.batch_size, "seed": config.seed}
        | {"precision": computed_in},
        "machine": machine.described(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rows": rows,
    }
    write_text(options.results, json.dumps(content, indent=1) + "\n")
    for row in rows:
        (g_first, *g_later), (d_first, *_) = row["g_loss"], row["d_loss"]
        print(
            f"{row['try']:<48}generator {g_first:.2f}, then {min(g_later):.2f} to {max(g_later):.2f}, "
            f"in range {row['in_range']:.0%}; discriminator {d_first:.2f}, at the end {row['d_loss'][-1]:.2f}"
        )
    return 0


def measure(config, folder):
    """A dict for each of the settings: losses by epoch, and the share of the generator's that the paper has, too."""
    sets = load_splits(config, experiment.preprocess(config), config.policy)
    images, *_ = experiment.gan_training_data(config, experiment.prepare_splits(config, sets)["train"])
    rows = []
    for name, settings in TRIES.items():
        place = folder / name.replace(" ", "-").replace(",", "").replace("'", "")
        history = train(config, images, settings, place)
        later = history["g_loss"].iloc[1:]
        rows.append(
            {
                "try": name,
                "g_loss": history["g_loss"].tolist(),
                "d_loss": history["d_loss"].tolist(),
                "in_range": float(later.between(*EARLY).mean()),
                "minutes": round(history["seconds"].sum() / 60, 1),
            }
        )
    return rows


def train(config, images, settings, folder):
    """The history of one training; `settings` are the paper's, and these.

    `pytorch_initialisation`: as `torch.nn` draws weights where nothing is said, in place of DCGAN's. `loss_options`: of
    `training.losses.get`. `normalised`: real images with ImageNet's means and deviations, from about -2 to 2.6; the
    generator draws from -1 to 1 all the same.
    """
    known = {name: value for name, value in settings.items() if name not in _NO_SETTINGS}
    config = configure(Config, "paper", **{"data": config.data, "epochs": config.epochs} | known)
    gan = experiment.build_gan(config, config.seed, None)
    if settings.get("pytorch_initialisation"):
        for network in (gan.generator, gan.discriminator):
            initialise_as_pytorch(network, config.seed)
    if options := settings.get("loss_options"):
        gan.adversarial_loss = losses.get(config.loss, **options)
    if settings.get("normalised"):
        gan.generator.pixel_range = None  # no longer that of the real images, which `fit` would ask for

    def stream(first):
        dataset, steps = training.make_train_dataset(
            images, batch_size=config.batch_size, seed=config.seed, first_epoch=first,
            pixel_range=gan.generator.pixel_range or UNIT, channels=config.channels,
        )  # fmt: skip
        if settings.get("normalised"):
            dataset = dataset.map(lambda batch: (batch - MEANS) / DEVIATIONS)
        return dataset, steps

    bar = training.Progress(folder.name, config.epochs)
    history = training.fit(gan, stream, config.epochs, folder, callbacks=[bar], verbose=0)
    return history.iloc[: config.epochs]  # an earlier call may have trained for longer


def initialise_as_pytorch(network, seed):
    """Draws kernels from a uniform distribution of 1 / sqrt(fan in) to either side; scales of normalisation are 1.

    A transposed kernel's fan in is taken as PyTorch does, from the maps it makes, which Keras has in the same place.
    """
    random = np.random.default_rng(seed)
    for weight in network.trainable_weights:
        if weight.name == "kernel":
            bound = np.prod(weight.shape[:3]) ** -0.5
            weight.assign(random.uniform(-bound, bound, weight.shape))
        elif weight.name == "gamma":
            weight.assign(np.ones(weight.shape))


if __name__ == "__main__":
    sys.exit(main())
