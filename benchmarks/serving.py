"""Whether an exported classifier answers files as training reads them: `python -m benchmarks serving`."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.errors import BenchmarkError
from keras_fracture import models, serving
from keras_fracture.data import Preprocess, catalogue, decoding, locations, phantom
from keras_fracture.errors import ImageError
from keras_fracture.models.preprocessing import scale
from keras_fracture.progress import Bar
from keras_fracture.serving.metadata import preparation
from keras_fracture.serving.versions import loaded, version_of


def measure_serving(name="phantom", count=500, model=None, data_dir=None):
    """Compares `serve_bytes` with training's pipeline and `serving_default`, file by file.

    Args:
        name: Data set. Its files are taken as they were published; drawn images as PNG.
        count: Files, drawn at random, always the same ones.
        model: SavedModel folder of a classifier; default is a small ResNet-18 with random weights and the
            preprocessing of `lisbon_resnet` at 112 pixels.
        data_dir: Where real data lie.

    Returns:
        A dict of name to number. Probabilities are those of the last class, a finding.

    Raises:
        BenchmarkError: The SavedModel has no `serve_bytes`, or there is nothing to compare.
        ModelError: `model` is no classifier exported by this package.
    """
    if count < 1:
        raise BenchmarkError(f"count must be 1 or more. Received: {count}")
    with tempfile.TemporaryDirectory() as folder:
        version = version_of(Path(model)) if model else _untrained(Path(folder))
        preprocess, pixel_range = preparation(version)
        saved = loaded(version)
        if "serve_bytes" not in saved.signatures:
            raise BenchmarkError(
                f"{version} answers no bytes: export the model again, with its preprocessing"
            )
        pairs, unusual, refused = [], 0, 0
        for data in Bar(image_files(name, count, data_dir), "files", count, unit=" files", delay=5):
            try:
                image = preprocess(preprocess.decode(data))[None]
            except ImageError:
                continue
            unusual += not decoding.is_plain(data)
            try:
                answer = saved.signatures["serve_bytes"](bytes=tf.constant([data]))
            except tf.errors.InvalidArgumentError:
                refused += 1
                continue
            prepared = tf.constant(scale(image, pixel_range))
            expected = saved.signatures["serving_default"](images=prepared)
            pairs.append([outputs["probabilities"].numpy()[0, -1] for outputs in (answer, expected)])
    if not pairs:
        raise BenchmarkError(
            f"No file of {name} is read both ways. Received: {count} files, {refused} refused"
        )
    answers, expected = np.array(pairs).T
    return {
        f"{name}: files compared": len(pairs),
        "files that serve_bytes refused": refused,
        "files cut off, rotated, CMYK, 16-bit or PNG in colour": unusual,
        "probability of a finding, mean": float(expected.mean()),
        "probability of a finding, standard deviation": float(expected.std()),
        "difference of probability, mean": float(np.abs(answers - expected).mean()),
        "difference of probability, largest": float(np.abs(answers - expected).max()),
        "files on the other side of one half": int(((answers >= 0.5) != (expected >= 0.5)).sum()),
    }


def _untrained(folder):
    keras.utils.set_random_seed(0)
    network = models.create("resnet18", num_classes=2, image_size=112, width=8)
    preprocess = Preprocess(size=112, clahe=(2.0, 8), channels=network.channels)
    return serving.export(network, folder, preprocess=preprocess)


def image_files(name, count, data_dir):
    """Yields the bytes of `count` files of a data set, drawn at random, always the same ones; see `measure_serving`."""
    rng = np.random.default_rng(0)
    layout = catalogue.layout(name)
    if name not in catalogue.REAL:
        records = phantom.records()
        for index in rng.permutation(len(records))[:count]:
            yield decoding.encode_png(records[index]["image"][..., 0])
        return
    root = locations.find(layout, data_dir)
    for filename in rng.permutation(layout.read(root)["filename"].to_numpy())[:count]:
        yield (root / filename).read_bytes()
