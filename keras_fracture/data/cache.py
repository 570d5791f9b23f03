"""Prepared images on disk, which several processes may write and read at once."""

import contextlib
import dataclasses
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import PIL
import tensorflow as tf

from keras_fracture import files
from keras_fracture.data import locations
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.errors import OutputError
from keras_fracture.progress import Bar

IMAGES = 256  # a file
WORKERS = max(2, os.cpu_count() or 2)
SHUFFLED = 2**27  # bytes of images that are shuffled at a time
HELD = 2**28  # bytes of images up to which a training keeps them all: an epoch is read in a third of the time
_VERSION = 1  # raise it when `Preprocess` makes other pixels, or `write` another file
_READERS = 8  # files that are read in turn, so that neighbours in a file do not stay neighbours
_FIELDS = {"image": tf.io.FixedLenFeature((), tf.string), "label": tf.io.FixedLenFeature((), tf.int64)}


def prepare(records, preprocess, folder=None):
    """Preprocesses all images of some records and writes them, unless that was done before.

    Processes that prepare the same images at once share the work: each takes the next file that nobody has, and
    at the end waits for the others' files. Files are written whole or not at all; what a killed process had in work
    is done by another.

    Args:
        records: `pipeline.Records`.
        preprocess: `pipeline.Preprocess`. Images are kept grey whatever its `channels`.
        folder: Where to keep them; default is `images` in `locations.cache_dir`, beside the prepared records.

    Returns:
        Paths of TFRecord files of up to `IMAGES` images, in the order of the records.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    name = f"{records.facts()['name']}-{key(records, preprocess)}"
    folder = Path(folder or locations.cache_dir() / "images") / name
    count = -(-len(records) // IMAGES)
    paths = [folder / f"{number:05d}-of-{count:05d}.tfrecord" for number in range(count)]
    waiting = False
    while not all(path.exists() for path in paths):
        _write_missing(records, preprocess, paths, waiting)
        waiting = True
    for lock in folder.glob("*.lock"):
        files.unlock(lock)
    return paths


def key(records, preprocess):
    """Hash of all that the prepared images follow from: settings, libraries, and the records' files."""
    settings = dataclasses.asdict(preprocess)
    del settings["channels"]
    if not settings["invert"]:
        del settings["invert"]  # as it was before there was such a setting
    if settings["resize"] == "lanczos":  # as all was before there was another
        del settings["resize"]
    if settings["jpeg"] == "full":
        del settings["jpeg"]
    facts = [_VERSION, cv2.__version__, PIL.__version__, settings, records.facts()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def read(paths, size, seed=None):
    """Reads what `prepare` wrote, a few images at a time: memory does not depend on how many there are.

    Args:
        paths: The files.
        size: Side of an image in pixels.
        seed: Of an order, an integer or int64 scalar; None keeps the order. The next image is drawn among
            `SHUFFLED` bytes of them; if there are more, the files are in another order too.

    Returns:
        A `tf.data.Dataset` of records as strings, for `parse`.
    """
    names = tf.data.Dataset.from_tensor_slices(tf.constant([str(path) for path in paths], tf.string))
    return _in_order(names, tf.data.TFRecordDataset, len(paths), size, seed)


def rows(count, size, seed):
    """The order in which `read` gives the records of `count` images: a `tf.data.Dataset` of int64, from 0."""
    firsts = tf.data.Dataset.range(0, count, IMAGES)
    return _in_order(
        firsts,
        lambda first: tf.data.Dataset.range(first, tf.minimum(first + IMAGES, count)),
        -(-count // IMAGES),
        size,
        seed,
    )


def _in_order(files_, content, count, size, seed):
    """What `content` gives for each of `count` files, in the order of a seed, see `read`."""
    among, readers = drawn_among((size, size)), 1
    if seed is not None and count * IMAGES > among:
        files_ = files_.shuffle(count, seed=seed, reshuffle_each_iteration=False)
        readers = _READERS
    records = files_.interleave(content, cycle_length=readers, block_length=1)
    return records if seed is None else records.shuffle(among, seed=seed, reshuffle_each_iteration=False)


def parse(records, size):
    """A batch of records as uint8 images `(batch, size, size, 1)` and int64 labels `(batch,)`."""
    fields = tf.io.parse_example(records, _FIELDS)
    return tf.reshape(tf.io.decode_raw(fields["image"], tf.uint8), (-1, size, size, 1)), fields["label"]


def drawn_among(shape):
    """How many uint8 images of this shape the next one is drawn among."""
    return max(1, SHUFFLED // int(np.prod(shape)))


def write(path, images, labels):
    """Writes one file: uint8 images `(size, size, 1)`, any iterable, and their labels."""
    with files.writing(path) as beside:
        try:
            with tf.io.TFRecordWriter(str(beside)) as writer:
                for image, label in zip(images, labels, strict=True):
                    writer.write(_example(image, label))
        except tf.errors.OpError as error:
            raise OutputError(f"{path} cannot be written: {error.message}") from error


def _example(pixels, label):
    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels.tobytes()]))
    label = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)]))
    return tf.train.Example(
        features=tf.train.Features(feature={"image": image, "label": label})
    ).SerializeToString(deterministic=True)


@one_opencv_thread
def _write_missing(records, preprocess, paths, waiting):
    """One pass over the records that writes the files nobody else writes."""
    grey = dataclasses.replace(preprocess, channels=1)
    chunks = records.raw(["image", "label"]).batch(IMAGES).as_numpy_iterator()
    bar = Bar(paths, "prepare images", unit=" files", delay=2)
    with ThreadPoolExecutor(WORKERS) as pool:
        for path, chunk in zip(bar, chunks, strict=True):
            with _claimed(path, waiting) as mine:
                if mine:
                    prepared = pool.map(lambda data: grey(grey.decode(data)), chunk["image"])
                    write(path, prepared, chunk["label"])


@contextlib.contextmanager
def _claimed(path, waiting):
    """Gives whether this process is to write the file, which until then nobody else may.

    Args:
        path: The file.
        waiting: Whether to wait for another process that writes it, or to leave it to that.
    """
    if path.exists():
        yield False
        return
    with files.locked(path.with_suffix(".lock"), waiting) as mine:
        mine = mine and not path.exists()  # whoever had the lock before may have written it
        if mine:
            for left in path.parent.glob(f".*-{path.name}"):  # by a killed process
                left.unlink()
        yield mine
