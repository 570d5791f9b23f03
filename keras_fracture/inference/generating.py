"""Synthetic images as files: each can be told from a real one, and made again from its seed."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from keras_fracture import models, synthesis
from keras_fracture.errors import ModelError
from keras_fracture.inference import sharding
from keras_fracture.interop import convert
from keras_fracture.models.preprocessing import unscale
from keras_fracture.progress import Bar
from keras_fracture.serving.metadata import facts_of
from keras_fracture.serving.releasing import arguments_of, of_keras
from keras_fracture.serving.versions import loaded, version_of

# Always so many at once, the last ones filled up: other numbers would round a few grey levels otherwise.
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Source:
    """A generator, wherever it comes from.

    Attributes:
        draw: Function of noise float32 `(n, latent_dim)` and, with classes, int32 labels `(n,)`, to images.
        latent_dim: Length of the noise vector.
        pixel_range: Of the images.
        num_classes: Or None.
        classes: Their names, or None where they are not known.
    """

    draw: Callable
    latent_dim: int
    pixel_range: tuple
    num_classes: int | None = None
    classes: list | None = None

    def label(self, given):
        """The number of a class given by name or number; None stays None, and means all in turn.

        Raises:
            ModelError: No such class.
        """
        if given is None:
            return None
        names = self.classes or [str(number) for number in range(self.num_classes or 0)]
        if given in names:
            return names.index(given)
        if str(given).isdigit() and int(given) < len(names):
            return int(given)
        known = f"it knows {', '.join(names)}" if names else "it knows no classes"
        raise ModelError(f"The generator has no such class: {known}. Received: {given!r}")


def generate(source, out, count=100, seed=0, label=None, model=None, shard=None, settings=()):
    """Writes generated images as PNG, and `images.csv` that says what each one is.

    The k-th image of a seed (and class) is the same, bit for bit, whatever the count. Every PNG carries
    `synthetic=true`, seed, number and class in its text fields.

    Args:
        source: Run folder of `bai_dcgan`, SavedModel folder, `.keras` file, or weights file (with `model`).
        out: Folder to write, which must not exist yet.
        count: Images.
        seed: Of the noise.
        label: Class by name or number; None takes all classes in turn.
        model: Architecture of a weights file.
        shard: A pair (I, N) draws the I-th of N parts of the images alone, with the names, numbers and rows that
            they have in the whole; None draws all.
        settings: Constructor arguments of `model` as `NAME=VALUE`, see `settings.parse`.

    Returns:
        The `pandas.DataFrame` of `images.csv`: file, seed, number, class, synthetic, source.

    Raises:
        ModelError: `source` is no generator, or knows no such class.
        ShardError: There is no such shard.
        OutputError: `out` exists, or cannot be written.
    """
    if count < 1:
        raise ModelError(f"count must be 1 or more. Received: {count}")
    start, stop = sharding.rows(shard, count, _BATCH)
    generator = load(source, model, settings)
    class_number = generator.label(label)
    numbers, names, labels = np.arange(count), "", None
    if generator.num_classes:
        labels = numbers % generator.num_classes if class_number is None else np.full(count, class_number)
        names = [str((generator.classes or range(generator.num_classes))[number]) for number in labels]
    table = pd.DataFrame(
        {"seed": seed, "number": numbers, "class": names, "synthetic": True, "source": str(source)}
    )
    images = draw(generator, count, seed, labels, start, stop)
    marks = "seed", "number", "class"
    return synthesis.write(images, table[start:stop], out, marks, first=start)


def draw(source, count, seed, labels=None, start=0, stop=None):
    """Yields uint8 images `(height, width, channels)`.

    Args:
        source: A `Source`.
        count: As in `generate`.
        seed: As in `generate`.
        labels: int `(count,)`, or None.
        start: Number of the first image drawn, a multiple of the batch.
        stop: Number after the last one; default is `count`.
    """
    stop = count if stop is None else stop
    noise = np.random.default_rng(seed).standard_normal((count, source.latent_dim), "float32")
    for first in Bar(range(start, stop, _BATCH), "draw images", unit=" batches", delay=5):
        rows = np.resize(np.arange(first, min(first + _BATCH, stop)), _BATCH)
        given = (noise[rows],) if labels is None else (noise[rows], labels[rows].astype("int32"))
        made = unscale(np.asarray(source.draw(*given)), source.pixel_range)
        yield from made[: stop - first]


def load(source, model=None, settings=()):
    """A `Source` from what `generate` takes.

    Raises:
        ModelError: It is no generator.
    """
    path = Path(source)
    if path.name.endswith(convert.READ):
        if not model:
            raise ModelError(f"{path} holds weights alone: say of which model, such as dcgan_generator")
        if "latent_dim" not in models.arguments(model):
            raise ModelError(f"Only generators draw images. Received: {model!r}")
        return _of_network(convert.load(path, model, **arguments_of(model, settings)))
    if model or settings:
        raise ModelError(f"Only a weights file needs --model and --set. Received: {path} with these")
    if (path / "run-0" / "saved_model").is_dir():
        path = path / "run-0" / "saved_model"
    if path.suffix == ".keras":
        return _of_network(of_keras(path))
    folder = version_of(path)
    facts = facts_of(folder)
    config = facts["config"]
    if "latent_dim" not in config:
        raise ModelError(f"{folder} is not a generator: it was exported from {facts['architecture']}")
    saved = loaded(folder)
    serve = saved.signatures["serving_default"]

    def from_saved(noise, labels=None):
        given = {} if labels is None else {"labels": tf.constant(labels)}
        return serve(noise=tf.constant(noise), **given)["images"]

    from_saved.owner = saved  # a signature alone does not keep its variables
    return Source(
        from_saved,
        config["latent_dim"],
        tuple(facts["pixel_range"]),
        config.get("num_classes"),
        facts.get("classes"),
    )


def _of_network(network):
    if not hasattr(network, "latent_dim"):
        raise ModelError(f"Only generators draw images. Received: {type(network).__name__}")
    draw_ = tf.function(lambda *given: network(*given, training=False))
    return Source(draw_, network.latent_dim, network.pixel_range, getattr(network, "num_classes", None))
