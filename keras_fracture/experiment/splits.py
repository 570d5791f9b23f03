"""The splits of a data set as arrays, and proof of which images they were."""

import dataclasses
import hashlib

import numpy as np
import pandas as pd

from keras_fracture import data
from keras_fracture.data import catalogue, decoding, dicom, split_files, splits
from keras_fracture.data.sources import digests
from keras_fracture.errors import DataError


@dataclasses.dataclass(frozen=True)
class Split:
    """Preprocessed images uint8 `(n, size, size, channels)`, labels `(n,)`, and all other fields as a table."""

    images: np.ndarray
    labels: np.ndarray
    table: pd.DataFrame

    @property
    def sources(self):
        """The source of each image, str `(n,)`."""
        return self.table["source"].to_numpy().astype(str)

    @property
    def boxes(self):
        """Boxes of each image, as fractions of the square it was fitted into: a list of float32 `(k, 4)`."""
        rows = zip(*(self.table[name] for name in ("boxes", "height", "width")), strict=True)
        return [decoding.fit_boxes(*row) for row in rows]

    def take(self, rows):
        """The images of these rows: int `(m,)`, or bool `(n,)`."""
        return Split(self.images[rows], self.labels[rows], self.table.iloc[rows].reset_index(drop=True))

    def of(self, label):
        """The images of one class."""
        return self.images[self.labels == label]


def concatenate(*parts):
    """Several splits as one."""
    return Split(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        pd.concat([part.table for part in parts], ignore_index=True),
    )


def load_records(config, policy, data_dir=None):
    """The three splits of one policy: a dict of split name to `data.Records`."""
    options = {"data_dir": data_dir, "splits": config.splits} | config.reading
    return data.load_all(config.data, policy, **options)


def load_splits(config, preprocess, policy, data_dir=None):
    """The three splits of one policy as arrays.

    Args:
        config: An `experiment.config.Config`.
        preprocess: A `data.Preprocess`.
        policy: Name of a split policy.
        data_dir: Where real data lie.

    Returns:
        A dict of split name to `Split`.
    """
    return {
        name: Split(*records.arrays(preprocess), records.table)
        for name, records in load_records(config, policy, data_dir).items()
    }


def fingerprints(config, data_dir=None):
    """What is trained and tested on: a dict of split policy to a dict of split name to a hash of its records.

    Where settings name weights that training starts or learns from, `weights` has a hash of each setting's.

    Raises:
        DataError: A test split has too few sources of a class for an interval, which would be said after training.
    """
    weights = {
        name: _hash_of_files(paths) for name, paths in config.weight_files().items()
    }  # may fail: so first
    found = {}
    for policy in config.split_policies:
        loaded = load_records(config, policy, data_dir)
        if lack := splits.lack_for_intervals(loaded["test"].table):
            raise DataError(f"{lack}. Received: {config.data}, split policy {policy}")
        found[policy] = {name: records.digest() for name, records in loaded.items()}
    return found | ({"weights": weights} if weights else {})


def _hash_of_files(paths):
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def digests_of_splits(config, data_dir=None):
    """Which published split each policy is: a dict of split policy to the digest of its split file.

    See `data.split_files`. Unlike those of `fingerprints`, these can be computed without this package. Empty where
    the experiment deals images out by itself.
    """
    if not config.keeps_splits:
        return {}
    loaded = {policy: load_records(config, policy, data_dir) for policy in config.split_policies}
    tables = {
        policy: split_files.table(config.data, records, data_dir, **config.reading)
        for policy, records in loaded.items()
    }
    return {policy: split_files.digest(split_files.text(rows)) for policy, rows in tables.items()}


def check_fingerprints(expected, received, whose):
    """Raises `DataError` if two `fingerprints` differ; `whose` begins the sentence.

    Of weights only those that `expected` has: earlier versions did not record them.
    """
    pairs = [(f"{group}/{name}", expected.get(group, {}).get(name), digest)
             for group, digests in received.items() for name, digest in digests.items()
             if group != "weights" or group in expected]  # fmt: skip
    odd = [pair for pair in pairs if pair[1] != pair[2]]
    if odd:
        what = "images, or with images in other splits or of other sources,"
        if all(name.startswith("weights/") for name, *_ in odd):
            what = "weights"
        raise DataError(
            f"{whose} other {what} than are there now: bring those back, or "
            f"start a new run. Differing: {', '.join(name for name, *_ in odd)}. "
            f"Expected: {odd[0][1]} of {odd[0][0]}. Received: {odd[0][2]}"
        )


def seen_by_training(name, sets, earlier=(), unknown=None):
    """Of `metadata.json`: hashes of the X-rays that weights, epochs or a threshold were chosen by.

    Args:
        name: Of the data set, or the path of own X-rays.
        sets: Split name to `Split`.
        earlier: `inference.scoring.Seen` of the models that training started or learnt from.
        unknown: The name of weights that training started from and that do not say what they have seen, or None.
    """
    both = np.concatenate([sets[split].sources for split in ("train", "validation")])
    images = np.concatenate([sets[split].table["filename"] for split in ("train", "validation")])
    name = catalogue.title(name)
    # A source is called by one of its files, another one if a copy joins it, or where sources are studies.
    seen = {"data": name} | {
        key: sorted(set(digests(name, names).tolist()))
        for key, names in (("digests", both), ("images", images))
    }
    # With another salt, patients of DICOM files have other names, and none would seem seen.
    if salts := sorted(dicom.salts(both)):
        seen["salts"] = salts
    before = [
        {"data": one.data, "digests": one.digests, "images": one.images, "salts": sorted(one.salts)}
        for one in earlier
    ]
    before = [{key: value for key, value in one.items() if value} for one in before]
    if before := [one for number, one in enumerate(before) if one not in (seen, *before[:number])]:
        seen["earlier"] = before
    return {"seen_sources": seen | ({"unknown": unknown} if unknown else {})}


def synthetic(config, table):
    """Which images of a table are synthetic, bool `(n,)`."""
    return table["filename"].isin(catalogue.synthetic(config.data, **config.reading)).to_numpy()


def check_real(config, sets):
    """Raises `DataError` where a generator would learn from images that another one drew, and be measured by them.

    Args:
        config: An `experiment.config.Config`.
        sets: Split name to `Split`.
    """
    made = np.concatenate([synthetic(config, split.table) for split in sets.values()])
    if made.any() and not made.all():  # of nothing but synthetic ones it is said what they tell
        raise DataError(
            f"{config.key} measures what it draws by real images: leave synthetic ones out of {config.data}. "
            f"Received: {made.sum():,} synthetic images among {len(made):,}"
        )


def how_told(config):
    """Of a report's first lines: how the patients of own X-rays are known; of published data sets, that none are."""
    if config.data in catalogue.NAMES:
        if config.splits or getattr(catalogue.layout(config.data), "PATIENTS", True):
            return []
        kept = " (under the policy studies, files of one part that are numbered one after another are one source)"
        return [
            "Nothing names the patients of this data set: a source is an X-ray, and two views of one patient may "
            f"lie in two splits{kept * ('studies' in config.split_policies)}.\n"
        ]
    layout, _ = catalogue.find(config.data, **config.reading)
    apart = " Images of two patients that are nearly equal, but not equal, count as two X-rays."
    return [f"{layout.told}{apart * bool(layout.table['patient_told'].any())}\n"]


def counts(sets):
    """How many images, findings and sources each split has, and how many images show a training source.

    An image and its mirror image, which has the same file name, count once; where any split has both, `with_mirrored`
    counts both.

    Args:
        sets: Split name to `Split`.
    """
    train, found = list(set(sets["train"].sources)), {}
    first = {name: ~split.table["filename"].duplicated().to_numpy() for name, split in sets.items()}
    mirrored = not all(once.all() for once in first.values())
    for name, split in sets.items():
        once = first[name]
        found[name] = {
            "images": int(once.sum()),
            "findings": int(split.labels[once].sum()),
            "sources": len(set(split.sources)),
            "images_of_training_sources": int(np.isin(split.sources[once], train).sum()),
        } | ({"with_mirrored": len(once)} if mirrored else {})
    return found


def as_grey(images):
    """Grey images `(n, height, width, 1)` from images with one or three channels, all uint8."""
    return np.rint(images.mean(axis=3, keepdims=True)).astype(np.uint8)
