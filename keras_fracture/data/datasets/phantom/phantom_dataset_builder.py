"""TFDS builder of `phantom`, the embedded data set."""

import tensorflow_datasets as tfds

from keras_fracture.data import builder, splits
from keras_fracture.data.datasets.phantom import layout


class Builder(builder.FractureBuilder):
    """Records of `phantom`, one configuration a split policy, `grouped` first. Needs no download.

    Limbs that are held out are the test split of `grouped`, whatever its shares, and in no other policy.
    """

    VERSION = tfds.core.Version("2.1.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "1.1.0": "Splits keep their shares over small strata.",
        "2.0.0": "Finer findings among more healthy marks, limbs anywhere in the field; 2,000 limbs to test on.",
        "2.1.0": "What a split file calls one source or patient is one source.",
    }
    LAYOUT = layout
    BUILDER_CONFIGS = builder.standard(layout)

    def _split_generators(self, dl_manager):
        setting = self.builder_config
        table = setting.with_sources(layout.read())
        if setting.policy == "grouped":
            # The same, but for the limbs held out, which are the test split.
            side = splits.assign(table, "official", setting.shares, setting.seed, self.name)
        else:
            table = table if setting.given else table[table["published_split"] == ""]
            side = setting.assign(self.name, table)
        return {name: self._generate_examples(table[side == name]) for name in splits.NAMES}

    def _generate_examples(self, table, root=None):
        for row in table.to_dict("records"):
            record = {key: row[key] for key in builder.COMMON}
            yield row["filename"], record | {"boxes": builder.boxes(row["boxes"])}
