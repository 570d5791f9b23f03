"""What the TFDS builders share: one record shape, one configuration a split policy."""

import dataclasses
import logging

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_fracture import parallel
from keras_fracture.data import decoding, locations, split_files, splits, unread
from keras_fracture.data.catalogue import measured, near_across, usable
from keras_fracture.errors import DataError
from keras_fracture.progress import Bar

_LOG = logging.getLogger(__name__)
BOX = tfds.features.BBoxFeature()


class _Grey(tfds.features.Image):
    """Decodes to the levels that `decoding.decode` gives; on the disk it is a plain `tfds.features.Image`."""

    def decode_example(self, example):
        # Of TFDS's own, TensorFlow decodes JPEG the fast way, up to 18 levels off. This reads PNG, too.
        image = tf.io.decode_jpeg(example, channels=1, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(image, self.shape)

    def to_proto(self):
        proto = super().to_proto()
        proto.python_class_name = f"{tfds.features.Image.__module__}.{tfds.features.Image.__name__}"
        return proto


COMMON = {
    "image": _Grey(shape=(None, None, 1), dtype=np.uint8, doc="grey levels 0 to 255"),
    "label": tfds.features.ClassLabel(names=["healthy", "finding"]),
    "source": tfds.features.Text(doc="the original X-ray or patient; copies of one share it"),
    "body_part": tfds.features.Text(),
    "view": tfds.features.Text(),
    "finding": tfds.features.Text(doc="none, fracture, or the lesion type"),
    "boxes": tfds.features.Sequence(BOX, doc="ymin, xmin, ymax, xmax as fractions, maybe none"),
    "filename": tfds.features.Text(),
}


@dataclasses.dataclass(kw_only=True)
class SplitConfig(tfds.core.BuilderConfig):
    """One way to split a data set.

    Attributes:
        policy: One of `splits.POLICIES`, or `splits.FILE`.
        shares: Of train, validation and test.
        seed: Of the drawing.
        keep_conflicts: Whether images whose label contradicts itself stay in.
        given: A `split_files.SplitFile` that says all of that, or None.
    """

    policy: str = "grouped"
    shares: tuple = (0.7, 0.1, 0.2)
    seed: int = 0
    keep_conflicts: bool = False
    given: split_files.SplitFile | None = None

    def with_sources(self, table):
        """The table with what this configuration takes for one source, and resamples as one: maybe a study."""
        if self.given:
            return table.assign(source=split_files.sources(self.given, table))
        return table.assign(source=splits.joined_studies(table)) if self.policy == "studies" else table

    def assign(self, name, table, root=None):
        """The split of each row of a data set's usable images, "" in none: see `splits.assign`."""
        if self.given:
            return split_files.assign(self.given, name, table, root)
        return splits.assign(table, self.policy, self.shares, self.seed, name)


def standard(layout):
    """The configurations a data set offers by name: each of its policies, with its own shares."""
    return [
        SplitConfig(name=policy, policy=policy, shares=layout.SHARES, description=splits.POLICIES[policy])
        for policy in layout.POLICIES
    ]


def config(layout, policy, shares=None, seed=0, keep_conflicts=False, given=None):
    """The standard configuration where that is asked for, else one named after what differs from it."""
    shares = tuple(shares or layout.SHARES)
    if given:
        name = f"{policy}-{given.digest[:16]}" + "-conflicts" * keep_conflicts
        return SplitConfig(
            name=name,
            policy=policy,
            keep_conflicts=keep_conflicts,
            given=given,
            description="by a split file",
        )
    if (shares, seed, keep_conflicts) == (tuple(layout.SHARES), 0, False):
        return policy
    name = f"{policy}-{'-'.join(f'{100 * share:g}' for share in shares)}"
    return SplitConfig(
        name=name + f"-seed{seed}" * (seed != 0) + "-conflicts" * keep_conflicts,
        policy=policy,
        shares=shares,
        seed=seed,
        keep_conflicts=keep_conflicts,
        description=splits.POLICIES[policy],
    )


class FractureBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders of data sets on disk.

    Subclasses set `LAYOUT` (a layout module), `EXTRA` (features beyond `COMMON`, named as the layout's columns)
    and `BUILDER_CONFIGS`. The data set's folder is looked for in TFDS's manual folder; `workers` read its files.
    """

    workers = parallel.HERE

    LAYOUT = None
    EXTRA = {}

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(COMMON | self.EXTRA), supervised_keys=("image", "label")
        )

    def _table(self, dl_manager):
        root = locations.find(self.LAYOUT, dl_manager.manual_dir)
        self._contents = measured(self.name, self.LAYOUT, root, workers=self.workers)
        table = self._contents.table
        if left := self._contents.unread:
            _LOG.warning("%s", "\n".join(unread.as_lines(left)))
        for error in table["error"][table["error"] != ""]:
            _LOG.warning("left out: %s", error)
        rows = usable(table, self.builder_config.keep_conflicts)
        conflicts = int(((table["error"] == "") & ~table.index.isin(rows.index)).sum())
        if conflicts:
            _LOG.warning("left out: %d images of %s whose label contradicts itself", conflicts, self.name)
        if recovered := int(rows["truncated"].sum()):
            _LOG.warning("recovered: %d truncated images of %s", recovered, self.name)
        if inverted := int(rows["inverted"].sum()):
            _LOG.warning(
                "look inverted: %d of %d images of %s, the first is %s; `data audit` lists them, and "
                "Preprocess(invert=True) turns all images of a data set",
                inverted, len(rows), self.name, rows["filename"][rows["inverted"]].iloc[0],
            )  # fmt: skip
        return rows, root

    def _split_generators(self, dl_manager):
        table, root = self._table(dl_manager)
        table = self.builder_config.with_sources(table)
        side = self.builder_config.assign(self.name, table, root)
        if empty := [name for name in splits.NAMES if name not in side]:
            raise DataError(
                f"Each split needs a share of the images. Without any: {', '.join(empty)}. "
                f"Received: shares of {self.builder_config.shares}"
            )
        if line := near_across(self._contents, pd.Series(side, table.index)):
            _LOG.warning("%s", line)
        return {name: self._generate_examples(table[side == name], root) for name in splits.NAMES}

    def _generate_examples(self, table, root):
        for row in Bar(table.to_dict("records"), f"prepare {self.name}", unit=" files", delay=1):
            record = {key: row[key] for key in (COMMON | self.EXTRA) if key not in ("image", "boxes")}
            record["image"] = _stored((root / row["filename"]).read_bytes(), row["filename"])
            record["boxes"] = boxes(row["boxes"])
            yield row["filename"], record


def boxes(rows):
    """Rows of ymin, xmin, ymax, xmax as TFDS boxes; boxes without area are dropped."""
    return [
        tfds.features.BBox(*map(float, box))
        for box in np.asarray(rows)
        if box[0] < box[2] and box[1] < box[3]
    ]


def _stored(data, name):
    """A file's own bytes where decoders read them alike (see `decoding.is_plain`), else its grey pixels as PNG.

    16-bit, CMYK, rotated and truncated files are decoded here, once, by the decoder training uses.
    """
    if decoding.is_plain(data):
        return data
    return decoding.encode_png(decoding.decode(data, name).image)
