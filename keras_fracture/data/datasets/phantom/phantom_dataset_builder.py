"""TFDS builder of `phantom`, the embedded data set."""

import tensorflow_datasets as tfds

from keras_fracture.data import builder, decoding, phantom, splits
from keras_fracture.data.datasets.phantom import layout


class Builder(builder.FractureBuilder):
    """Records of `phantom`, one configuration a split policy, `grouped` first. Needs no download."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {"1.0.0": "First release.", "1.1.0": "Splits keep their shares over small strata."}
    LAYOUT = layout
    BUILDER_CONFIGS = builder.standard(layout)
    SOURCES = phantom.SOURCES

    def _split_generators(self, dl_manager):
        table = layout.read(self.SOURCES)
        setting = self.builder_config
        side = splits.assign(table, setting.policy, setting.shares, setting.seed)
        return {name: self._generate_examples(table[side == name]) for name in splits.NAMES}

    def _generate_examples(self, table, root=None):
        for row in table.to_dict("records"):
            record = {key: row[key] for key in builder.COMMON}
            record["image"] = decoding.encode_png(row["image"][..., 0])
            yield row["filename"], record | {"boxes": builder.boxes(row["boxes"])}
