"""Synthetic images as files: each can be told from a real one, and made again from its seed."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from keras_fracture import files, models, parallel, synthesis
from keras_fracture.data import scan, tables
from keras_fracture.errors import ModelError
from keras_fracture.inference import origins
from keras_fracture.interop import convert
from keras_fracture.models.preprocessing import unscale
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
        origin: The `origins.Origin` of what it learnt from, or None where that is not known.
    """

    draw: Callable
    latent_dim: int
    pixel_range: tuple
    num_classes: int | None = None
    classes: list | None = None
    origin: origins.Origin | None = None

    def label(self, given):
        """The number of a class given by name or number; None stays None, and means all in turn.

        Raises:
            ModelError: No such class.
        """
        if given is None:
            return None
        names = self.classes or [str(number) for number in range(self.num_classes or 0)]
        if str(given) in names:
            return names.index(str(given))
        if (
            str(given).isdecimal()
            and int(given) < len(names)
            and not any(map(str.isdecimal, self.classes or ()))
        ):
            return int(given)
        known = f"it knows {', '.join(names)}" if names else "it knows no classes"
        raise ModelError(f"The generator has no such class: {known}. Received: {given!r}")


def generate(
    source, out, count=100, seed=0, label=None, model=None, settings=(), workers=parallel.HERE, resume=False
):  # fmt: skip
    """Writes generated images as PNG, and `images.csv` that says what each one is.

    The k-th image of a seed (and class) is the same, bit for bit, whatever the count and the workers. Every PNG carries
    `synthetic=true`, seed, number and class in its text fields.

    Args:
        source: Run folder of `bai_dcgan`, SavedModel folder, `.keras` file, or weights file (with `model`).
        out: Folder to write, which must not exist yet.
        count: Images.
        seed: Of the noise.
        label: Class by name or number; None takes all classes in turn.
        model: Architecture of a weights file.
        settings: Constructor arguments of `model` as `NAME=VALUE`, see `settings.parse`.
        workers: `parallel.Workers`, which see the source and write into the folder.
        resume: Go on with images that the same call has left when it was cut off.

    Returns:
        The `pandas.DataFrame` of `images.csv`: file, seed, number, class, synthetic, source, and, where the generator
        says what it learnt from, the fields of `origins.Origin`.

    Raises:
        ModelError: `source` is no generator, or knows no such class.
        OutputError: `out` exists, or cannot be written; or what is to be gone on with is of other settings.
        ClusterError: As in `parallel.Workers.map`.
    """
    if count < 1:
        raise ModelError(f"count must be 1 or more. Received: {count}")
    path = os.path.abspath(source) if Path(source).exists() else str(source)
    origin = {"source": path, "changed": _changed(path), "model": model, "settings": list(settings)}
    generator = _opened(path, origin["changed"], model, tuple(settings))
    shared = {"origin": origin, "seed": seed, "label": generator.label(label), "batch": _BATCH}
    with files.unfinished_folder(out, resume) as (folder, parts):
        shared["folder"] = str(folder.resolve())
        rows = workers.map(
            _images,
            range(count),
            batch=_BATCH,
            shared=shared,
            title="draw images",
            unit=" images",
            parts=parts,
        )
        rows = [row for row in rows if row is not None]
        table = pd.DataFrame(rows, columns=["file", "seed", "number", "class"])
        learnt = generator.origin._asdict() if generator.origin else {}
        table = table.assign(synthetic=True, source=str(source), **learnt)
        files.write_text(folder / synthesis.TABLE, tables.csv_text(table))
    return table


def _images(numbers, shared):
    """A task of `generate`: writes images; returns their rows."""
    origin, label = shared["origin"], shared["label"]
    source = _opened(origin["source"], origin["changed"], origin["model"], tuple(origin["settings"]))
    labels, names = None, [""] * len(numbers)
    if source.num_classes:
        labels = np.array([number % source.num_classes if label is None else label for number in numbers])
        names = [str((source.classes or range(source.num_classes))[one]) for one in labels]
    noise = _noise(shared["seed"], source.latent_dim).rows(numbers[0], len(numbers))
    rows = []
    for image, number, name in zip(
        _drawn(source, noise, labels, shared["batch"]), numbers, names, strict=True
    ):
        row = {"file": synthesis.file_name(number), "seed": shared["seed"], "number": number, "class": name}
        data = synthesis.encode(image, row, ("seed", "number", "class"))
        files.write_bytes(Path(shared["folder"]) / row["file"], data)
        rows.append(list(row.values()))
    return rows


def draw(source, count, seed, labels=None):
    """Yields uint8 images `(height, width, channels)`.

    Args:
        source: A `Source`.
        count: As in `generate`.
        seed: As in `generate`.
        labels: int `(count,)`, or None.
    """
    noise = _Noise(seed, source.latent_dim)
    for first in range(0, count, _BATCH):
        some = slice(first, min(first + _BATCH, count))
        given = None if labels is None else labels[some]
        yield from _drawn(source, noise.rows(first, some.stop - first), given, _BATCH)


def _drawn(source, noise, labels, batch):
    """Images of noise and labels, drawn `batch` at once: it is filled up by the first ones."""
    rows = np.resize(np.arange(len(noise)), batch)
    given = (noise[rows],) if labels is None else (noise[rows], labels[rows].astype("int32"))
    return unscale(np.asarray(source.draw(*given)), source.pixel_range)[: len(noise)]


class _Noise:
    """The noise of a seed, drawn once as long as rows are asked for in rising order: each follows those before it."""

    def __init__(self, seed, latent_dim):
        self._seed, self._latent_dim, self._row = seed, latent_dim, None

    def rows(self, first, count):
        """Noise float32 `(count, latent_dim)` of the images from number `first` on."""
        if self._row is None or first < self._row:
            self._generator, self._row = np.random.default_rng(self._seed), 0
        while self._row < first:
            self._take(min(first - self._row, 4096))
        return self._take(count)

    def _take(self, count):
        self._row += count
        return self._generator.standard_normal((count, self._latent_dim), "float32")


_noise = functools.lru_cache(maxsize=1)(_Noise)


@functools.lru_cache(maxsize=1)
def _opened(source, changed, model, settings):
    """What `load` gives: once a process, and anew if the source has `changed`."""
    return load(source, model, settings)


def _changed(source):
    """Of a generator's files: equal as long as nothing was touched."""
    path = Path(source)
    if path.is_file():
        return scan.fingerprint([path], path.parent)
    if path.name.endswith((*convert.READ, ".keras")):
        return ""  # missing, which `load` says
    return scan.folder_fingerprint(version_of(_saved_model_of(path)))


def _saved_model_of(path):
    """The SavedModel of a run folder; other paths as they are.

    Raises:
        ModelError: It is a run of several kinds of generators, or of none.
    """
    own = path / "run-0" / "saved_model"
    if own.is_dir() or not (path / "metrics.json").is_file():
        return own if own.is_dir() else path
    found = [
        str(one)
        for one in sorted(path.rglob("saved_model"))
        if one.joinpath("1", "metadata.json").is_file()
        and "latent_dim" in facts_of(version_of(one)).get("config", {})
    ]
    more = ", ..." if len(found) > 20 else ""
    advice = (
        f"name one of {', '.join(found[:20])}{more}"
        if found
        else "none of its models draws images from noise"
    )
    raise ModelError(f"This run is not a single generator: {advice}. Received: {path}")


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
    path = _saved_model_of(path)
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
        origins.of_model(facts),
    )


def _of_network(network):
    if not hasattr(network, "latent_dim"):
        raise ModelError(f"Only generators draw images. Received: {type(network).__name__}")
    draw_ = tf.function(lambda *given: network(*given, training=False))
    return Source(draw_, network.latent_dim, network.pixel_range, getattr(network, "num_classes", None))
