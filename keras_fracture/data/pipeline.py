"""From prepared records to batches: preprocess, cache, then augment."""

import dataclasses
import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from keras_fracture.data import cache as prepared
from keras_fracture.data import decoding, scan
from keras_fracture.data.augmentation import checked_augment
from keras_fracture.data.cache import WORKERS
from keras_fracture.data.counts import check_whole
from keras_fracture.data.images import Preprocess
from keras_fracture.data.library_settings import one_opencv_thread, tfds_errors_only
from keras_fracture.errors import DataError, one_line
from keras_fracture.models.preprocessing import UNIT, check_levels, scale

_CHUNK = 8  # images a call from TensorFlow into Python: the call costs a third of a millisecond

# Every parallelism below is fixed. tf.data's tuner, left on, only makes the end of each pass wait for its timer,
# whose period doubles: a pass of 1,500 images took 5.1 s instead of 2.3.
_OPTIONS = tf.data.Options()
_OPTIONS.autotune.enabled = False


class Records:
    """One split of a prepared data set.

    Args:
        builder: A prepared TFDS builder.
        split: "train", "validation" or "test", or any TFDS split expression.
    """

    def __init__(self, builder, split):
        self.builder, self.split = builder, split

    def __repr__(self):
        return f"Records({self.facts()})"

    def __reduce__(self):  # for workers, which see the same files
        return _reopened, (str(Path(self.builder.data_dir).resolve()), self.split, self.facts()["files"])

    def __len__(self):
        return self.builder.info.splits[self.split].num_examples

    @tfds_errors_only()
    def raw(self, fields=None):
        """A `tf.data.Dataset` of records whose `image` is still encoded, in a fixed order.

        Each is a dict: `image` (bytes of a PNG or JPEG file), `label` (1 is a finding), `source` (X-ray or patient),
        `body_part`, `view`, `finding`, `boxes` (ymin, xmin, ymax, xmax as fractions), `filename`, and whatever else
        the data set records.

        Args:
            fields: Names of the fields to read; default all.
        """
        from tensorflow_datasets import ReadConfig, decode

        dataset = self.builder.as_dataset(
            split=self.split,
            decoders={"image": decode.SkipDecoding()},
            shuffle_files=False,
            read_config=ReadConfig(try_autocache=False),
        )
        if fields:  # not by TFDS's PartialDecoding, which warns of its own use of what it deprecates
            dataset = dataset.map(lambda record: {name: record[name] for name in fields})
        return dataset.with_options(_OPTIONS)

    @functools.cached_property
    def table(self):
        """A `pandas.DataFrame` of all fields but the pixels, one row an image, in the order of `raw`.

        In place of the pixels stand `height` and `width`, which `boxes` are fractions of. All records are read from
        the disk at the first use, and the table is kept.
        """
        table = pd.DataFrame(list(self.raw().as_numpy_iterator()))
        sizes = [decoding.size_of(data) for data in table.pop("image")] if len(table) else []
        table["height"], table["width"] = np.reshape(sizes, (-1, 2)).T.astype(int)
        for column in table:
            if len(table) and isinstance(table[column].iloc[0], bytes):
                table[column] = table[column].str.decode("utf-8")
        return table

    def digest(self):
        """SHA-256, in hex, of all records in their order: images as they are stored, labels, and what else is known.

        Reads all of them. Unlike `facts` it does not depend on when and where the records were prepared.
        """
        total = hashlib.sha256()
        for record in self.raw().as_numpy_iterator():
            for name in sorted(record):
                value = record[name]
                data = value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()
                total.update(f"{name} {len(data)} ".encode() + data)
        return total.hexdigest()

    def preprocessed(self, preprocess):
        """A `tf.data.Dataset` of (uint8 image `(size, size, channels)`, int64 label), in a fixed order."""
        shape = (None, preprocess.size, preprocess.size, preprocess.channels)

        @one_opencv_thread
        def read(chunk):
            return np.stack([preprocess(preprocess.decode(data)) for data in chunk])

        def convert(chunk, labels):
            images = tf.numpy_function(read, [chunk], tf.uint8, stateful=False)
            return tf.ensure_shape(images, shape), labels

        encoded = self.raw(["image", "label"]).map(lambda record: (record["image"], record["label"]))
        # Read ahead, so that the reader never waits for a chunk in work.
        images = encoded.batch(_CHUNK).prefetch(_CHUNK).map(convert, num_parallel_calls=WORKERS).unbatch()
        # `unbatch` forgets how many there are, and Keras would warn at an end that it does not expect.
        return images.apply(tf.data.experimental.assert_cardinality(len(self)))

    def facts(self):
        """What these images are and come from, as a dict for JSON: equal as long as nothing changed.

        Looks the sizes and times of the records' files up.
        """
        parts = self.builder.info.splits[self.split].file_instructions
        return {
            "name": self.builder.name,
            "config": self.builder.builder_config.name,
            "version": str(self.builder.version),
            "split": str(self.split),
            "images": len(self),
            "files": scan.fingerprint([Path(part.filename) for part in parts], copied=True),
        }

    def arrays(self, preprocess, cache=True):
        """All images and labels as NumPy arrays, for data that fit into memory at this size.

        Args:
            preprocess: A `Preprocess`.
            cache: As in `batched`.

        Returns:
            uint8 `(n, size, size, channels)` and int64 `(n,)`.
        """
        images = np.zeros((len(self), preprocess.size, preprocess.size, preprocess.channels), np.uint8)
        labels = np.zeros(len(self), np.int64)
        done = 0
        ordered, parse = self._grey(preprocess, cache)
        batches_ = ordered(None).batch(64)
        for some, their_labels in (batches_.map(parse) if parse else batches_).as_numpy_iterator():
            rows = slice(done, done + len(some))
            images[rows], labels[rows] = some, their_labels  # repeats grey to all channels
            done += len(some)
        return images, labels

    def batched(
        self,
        batch_size=32,
        size=224,
        *,
        preprocess=None,
        augment=None,
        shuffle=None,
        first_epoch=0,
        pixel_range=UNIT,
        cache=True,
    ):
        """Batches for `fit`, `evaluate` and `predict`.

        Images stream from the disk, and memory is bounded however many there are: to be shuffled, up to `cache.HELD`
        bytes of grey images are kept in memory, all of them; of more than that `cache.SHUFFLED` bytes at a time.

        Args:
            batch_size: Images a batch.
            size: Side in pixels, where `preprocess` is not given.
            preprocess: A `Preprocess`; default fits and pads to `size`.
            augment: A `data.Augmentation`, or another function of scaled grey images and their positions in training
                (see there), applied after the cache; or None.
            shuffle: Seed of an order that changes every epoch; None keeps the order fixed.
            first_epoch: The epoch that the first pass over the result is: to go on with a training after k epochs,
                make the batches with k. Order and augmentation depend on their seeds and the epoch alone. A pass that
                is broken off is taken again: see below.
            pixel_range: `(low, high)` that pixels are scaled to; take the model's `pixel_range`.
            cache: True prepares all images now, or finds them prepared, in the cache folder; a path does so
                there; False prepares each image anew every epoch. See `cache.prepare`.

        Returns:
            A `tf.data.Dataset` of float32 `(batch, size, size, channels)` and int64 `(batch,)`. An epoch ends with its
            last batch: `fit(result.take(k))` shows the same k batches every epoch, augmented alike. For epochs of k
            batches that go on where the one before ended: `fit(result.repeat(), steps_per_epoch=k)`.

        Raises:
            OutputError: The cache cannot be written.
            DataError: `augment` draws from a state of its own or is made for another range than `pixel_range`; or
                `batch_size`, `shuffle` or `first_epoch` is no whole number that it can be.
        """
        preprocess = preprocess or Preprocess(size=size)
        held = cache and shuffle is not None and len(self) * preprocess.size**2 <= prepared.HELD
        ordered, parse = (self._held if held else self._grey)(preprocess, cache)
        return _passes(
            ordered,
            len(self),
            batch_size,
            augment=augment,
            shuffle=shuffle,
            first_epoch=first_epoch,
            pixel_range=pixel_range,
            channels=preprocess.channels,
            parse=parse,
        )

    def _held(self, preprocess, cache):
        """What `_grey` returns, in the same orders, of images that lie in memory."""
        ordered, parse = self._grey(preprocess, cache)
        # In a thread of its own, where no strategy's scope holds: that would keep the images once a replica.
        with ThreadPoolExecutor(1) as pool:
            images, labels = pool.submit(
                _in_memory, ordered(None).batch(prepared.IMAGES).map(parse), len(self)
            ).result()
        return (
            lambda seed: prepared.rows(len(self), preprocess.size, seed),
            lambda rows: (tf.gather(images, rows), tf.gather(labels, rows)),
        )

    def _grey(self, preprocess, cache):
        """What gives the images, and how to read a batch of them.

        Returns:
            A function of the seed of an order, or None, to a `tf.data.Dataset`; and a function of its batches to
            uint8 `(n, size, size, 1)` and int64 `(n,)`, None where they are these.
        """
        if not cache:
            dataset = self.preprocessed(dataclasses.replace(preprocess, channels=1))
            return _shuffler(dataset, len(self)), None
        paths = prepared.prepare(self, preprocess, None if cache is True else cache)
        return (
            lambda seed: prepared.read(paths, preprocess.size, seed),
            lambda records: prepared.parse(records, preprocess.size),
        )


@functools.lru_cache(maxsize=4)
def _reopened(folder, split, files):
    """The `Records` of a folder that another process has prepared, anew if its `files` have changed.

    Raises:
        DataError: This process does not see it.
    """
    import tensorflow_datasets as tfds

    try:
        return Records(tfds.builder_from_directory(folder), split)
    except (OSError, ValueError) as error:
        raise DataError(
            "Workers read prepared records where they lie: put KERAS_FRACTURE_CACHE on storage that all machines see. "
            f"Received: {folder} ({error})"
        ) from None


def batches(
    dataset, count, batch_size, *, augment=None, shuffle=None, first_epoch=0, pixel_range=UNIT, channels=None
):
    """The second half of every pipeline: shuffle, batch, scale, augment, prefetch.

    Args:
        dataset: A `tf.data.Dataset` of (uint8 image, label), or a tuple of arrays.
        count: Images in it, all of them.
        batch_size: Images a batch.
        augment: As in `Records.batched`.
        shuffle: As in `Records.batched`.
        first_epoch: As in `Records.batched`.
        pixel_range: As in `Records.batched`.
        channels: Grey images are repeated to this many channels, last of all: the cache stays small.

    Returns:
        A `tf.data.Dataset`; for epochs of fewer batches, see `Records.batched`: `repeat()` and `steps_per_epoch`, not
        `take`, which shows the same ones every epoch.

    Raises:
        ModelError: Images of another type than uint8.
        DataError: There are not `count` images or not as many labels, or as `Records.batched` says.
    """
    if not isinstance(dataset, tf.data.Dataset):
        try:
            dataset = tf.data.Dataset.from_tensor_slices(dataset)
        except ValueError as error:
            raise DataError(f"Every image needs one label. Received: {one_line(error)}") from None
    held = int(dataset.cardinality())  # below 0 where it does not end, or nobody knows
    if held >= 0 and held != count:
        raise DataError(f"count must be the number of images. Received: count {count} for {held} images")
    return _passes(
        _shuffler(dataset, count), count, batch_size, augment=augment, shuffle=shuffle, first_epoch=first_epoch,
        pixel_range=pixel_range, channels=channels,
    )  # fmt: skip


def _in_memory(batches_, count):
    """All images of a dataset of uint8 images and labels: a `tf.Variable`; and all labels, a tensor."""
    # Filled in place: TensorFlow would keep an array of NumPy's twice, and a tensor that a dataset reads from, too.
    with tf.device("CPU:0"):
        shape = (count, *batches_.element_spec[0].shape[1:])
        images = tf.Variable(tf.raw_ops.Empty(shape=shape, dtype=tf.uint8), trainable=False)
        labels, done = [], 0
        for some, their_labels in batches_:
            rows = tf.range(done, done + len(some))
            tf.raw_ops.ResourceScatterUpdate(resource=images.handle, indices=rows, updates=some)
            labels.append(their_labels)
            done += len(some)
        return images, tf.concat(labels, 0)


def _shuffler(dataset, count):
    """A function of the seed of an order, or None, to the dataset in that order."""
    buffer = max(1, min(count, prepared.drawn_among(tf.nest.flatten(dataset.element_spec)[0].shape)))

    def ordered(seed):
        return dataset if seed is None else dataset.shuffle(buffer, seed, reshuffle_each_iteration=False)

    return ordered


def _passes(
    ordered, count, batch_size, *, augment=None, shuffle=None, first_epoch=0, pixel_range=UNIT, channels=None,
    parse=None,
):  # fmt: skip
    """A dataset each pass over which is the next epoch: seeds of order and augmentation follow from its number."""
    augment = checked_augment(augment, pixel_range)
    check_whole(DataError, batch_size=(batch_size, 1), first_epoch=(first_epoch, 0))
    if shuffle is not None:
        check_whole(DataError, shuffle=(shuffle, None))

    def batched(number, seed):
        # Batches first: what is done for every image, numbering among it, takes as long as reading one.
        positions = tf.data.Dataset.range(number * count, (number + 1) * count)
        return tf.data.Dataset.zip(positions.batch(batch_size), ordered(seed).batch(batch_size))

    def epoch(number):
        seed = shuffle
        if shuffle is not None:  # one number for both: seed 1 in epoch 0 is not seed 0 in epoch 1
            keys = tf.stack([tf.constant(shuffle, tf.int64), number])
            seed = tf.random.stateless_uniform((), keys, minval=None, maxval=None, dtype=tf.int64)
            # Of this function's graph alone: else the order would follow the process's seed, and fail where it is 0.
            tf.compat.v1.set_random_seed(1)
        return batched(number, seed)

    counted = shuffle is not None or augment
    if counted:
        number = tf.Variable(first_epoch, dtype=tf.int64, trainable=False)
        dataset = tf.data.Dataset.range(1).map(lambda _: tf.identity(number)).flat_map(epoch)
    else:
        dataset = batched(0, None)
    # `flat_map` forgets how many there are, and Keras would warn at an end that it does not expect.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size)))
    dataset = finished(dataset, augment=augment, pixel_range=pixel_range, channels=channels, parse=parse)
    if not counted:
        return dataset
    last = dataset.cardinality() - 1

    def count_epoch(position, batch):
        # With its last batch: a look at the first ones, as `fit` takes it, is no epoch, and Keras asks for no more.
        number.assign_add(tf.cast(position == last, tf.int64))
        return batch

    return dataset.enumerate().map(count_epoch).with_options(_OPTIONS)


def finished(dataset, *, augment=None, pixel_range=UNIT, channels=None, parse=None):
    """Scaled, augmented and prefetched batches.

    Args:
        dataset: A `tf.data.Dataset` of batches: positions in training int64 `(batch,)`, and a tuple of uint8 images
            and the rest.
        augment: As in `Records.batched`.
        pixel_range: As in `Records.batched`.
        channels: As in `batches`.
        parse: Function of what stands beside the positions to such a tuple, where it is none.

    Raises:
        ModelError: Images of another type than uint8.
        DataError: As `checked_augment`.
    """
    augment = checked_augment(augment, pixel_range)
    if parse is None:
        check_levels(tf.nest.flatten(dataset.element_spec)[1].dtype)

    def finish(positions, batch):
        batch = parse(batch) if parse else batch
        images_, *rest = batch if isinstance(batch, tuple) else (batch,)  # there may be no labels
        images_ = scale(images_, pixel_range)
        images_ = augment(images_, positions) if augment else images_
        return (grey_to(images_, channels), *rest)

    return dataset.map(finish, num_parallel_calls=WORKERS).prefetch(2).with_options(_OPTIONS)


def grey_to(images, channels):
    """Repeats grey images `(n, height, width, 1)` to `channels`; others, and None, are left as they are."""
    if channels is None or images.shape[-1] == channels:
        return images
    return tf.repeat(images, channels, axis=3)
