"""Trains the translator that the demo paints lesions with: `python scripts/train_translator.py RUN`.

UNIT of the preset "munit" at a quarter of its width, on patches of phantoms: healthy ones and such with a lytic or a
sclerotic lesion. The quick recipe of `gupta_unit`, which has the paper's preset, paints grids on phantoms.
A run that was stopped goes on. At its end the model lies in `saved_models/unit_phantom`.
"""

import argparse
import datetime
from pathlib import Path

import keras
import numpy as np

from keras_fracture import evaluation, models, serving, synthesis, training
from keras_fracture.data import catalogue, phantom, phantom_findings
from keras_fracture.parallel.versions import versions
from keras_fracture.progress import Bar
from keras_fracture.training import precision
from keras_fracture.training.unit import adam

SOURCES, TEST_SOURCES = 6000, 2000  # of all findings and none
SIDE, PATCH, PATCHES = 128, 64, 4000  # pixels of a phantom and of a patch; patches of each kind
HEALTHY = 1500  # phantoms without a finding, at most
STEPS, BATCH = 200, 4  # an epoch's, a kind's
LIMITS = (
    "KID is that of the features `xray` between patches of held-out phantoms with a lesion and translated healthy ones "
    "of other held-out phantoms; one training. Real X-rays are another matter."
)


def main(arguments=None):
    """Trains, measures and exports; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument(
        "--steps", type=int, default=10_000, help="steps of the training (default: %(default)s)"
    )
    parser.add_argument(
        "--to", type=Path, default=Path("saved_models/unit_phantom"), help="folder of the model"
    )
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.steps % STEPS:
        parser.error(f"--steps must be a multiple of {STEPS}. Received: {options.steps}")
    precision.configure("auto")
    keras.utils.set_random_seed(0)
    unit = build()
    train(unit, options.run, options.steps)
    metrics = measure(unit)
    for name, score in metrics.items():
        print(f"{name}: {score['value']:.3f}")
    # As float32, whatever it was trained in: the demo and servers run it on any machine.
    network = models.create("unit", **unit.sampler.get_config() | {"dtype": "float32"})
    network.set_weights(unit.sampler.get_weights())
    print(serving.export(network, options.to, metadata=facts(options.steps, metrics)))
    return 0


def build():
    """UNIT and its two discriminators, compiled."""
    shape = {"preset": "munit", "image_size": PATCH, "channels": 1, "width": 16}
    unit = training.UNITModel(
        models.create("unit", **shape),
        *(models.create("unit_discriminator", **shape) for _ in range(2)),
        noise=0.3,
        ema=0.999,
    )
    unit.compile(g_optimizer=adam("munit", 5e-4), d_optimizer=adam("munit", 1e-3))
    return unit


def train(unit, run, steps):
    """Trains on phantoms' patches, or goes on where a run stopped."""
    healthy, lesions = patches(phantom.plan(0, SOURCES), PATCHES)
    watched = healthy[:8]
    grid = training.SampleGrid(
        run / "samples",
        every=5,
        draw=lambda unit: np.concatenate([watched, unit.translate(watched)]),
        columns=8,
    )

    def stream(first):
        return training.pairs_of(
            healthy,
            lesions,
            batch_size=BATCH,
            seed=0,
            first_epoch=first,
            steps=STEPS,
            pixel_range=unit.translator.pixel_range,
        )

    epochs = steps // STEPS
    training.fit(
        unit, stream, epochs, run / "unit", callbacks=[grid, training.Progress("UNIT", epochs)], verbose=0
    )


def patches(plan, count):
    """Healthy patches, and such with a lesion, uint8 `(count, PATCH, PATCH, 1)` each, of a plan of phantoms."""
    hurt, healthy = [], []
    for source in Bar(plan, "phantoms", unit=" limbs", delay=5):
        if source.finding in phantom_findings.LESIONS:
            record = phantom.draw(source, source.taken[0], 0, size=SIDE)
            hurt += [record] if len(record["boxes"]) else []
        elif source.finding == "none" and len(healthy) < HEALTHY:
            healthy.append(phantom.draw(source, source.taken[0], 0, size=SIDE))
    images, parts, boxes = zip(*((one["image"], one["body_part"], one["boxes"]) for one in hurt), strict=True)
    lesions = synthesis.lesion_patches(np.stack(images), boxes, parts, PATCH, count, [0, 0])
    images, parts = zip(*((one["image"], one["body_part"]) for one in healthy), strict=True)
    return synthesis.healthy_patches(
        np.stack(images), parts, lesions, PATCH, count, [0, 0]
    ).images, lesions.images


def held_out(count):
    """Patches of phantoms that were not trained on, as `patches`."""
    return patches(phantom.plan(0, 1, TEST_SOURCES)[1:], count)


def measure(unit, count=1000):
    """How far translated patches of held-out phantoms lie from such with a lesion: KID of three pairs of sets."""
    healthy, lesions = held_out(count)
    features = [evaluation.extract(images, "xray") for images in (lesions, healthy, unit.translate(healthy))]
    half = np.random.default_rng(0).permutation(count) < count // 2
    pairs = {
        "kid": (features[0], features[2]),
        "kid_of_healthy_patches": (features[0], features[1]),
        "kid_of_two_halves_with_lesions": (features[0][half], features[0][~half]),
    }
    return {name: {"value": evaluation.kid(*pair)[0]} for name, pair in pairs.items()}


def facts(steps, metrics):
    """Further facts for the model's `metadata.json`."""
    return {
        "trained_on": f"phantom, {PATCHES:,} patches of each kind at {PATCH} pixels, of phantoms with a lytic or "
        f"sclerotic lesion and of healthy ones at {SIDE} pixels, all from the front (measured on both views); "
        f"{steps:,} steps of {BATCH} pairs, seed 0.",
        "licence": catalogue.layout("phantom").LICENCE,
        "metrics": metrics,
        "command": f"python scripts/train_translator.py RUN --steps {steps}",
        "date": f"{datetime.date.today()}",
        "versions": versions(),
        "limits": LIMITS,
    }


if __name__ == "__main__":
    raise SystemExit(main())
