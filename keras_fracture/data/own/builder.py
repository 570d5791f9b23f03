"""TFDS builder of own X-rays."""

import logging

import tensorflow_datasets as tfds

from keras_fracture.data import builder, splits
from keras_fracture.data.own.layout import Layout, leaks, synthetic

_LOG = logging.getLogger(__name__)


class Builder(builder.FractureBuilder, skip_registration=True):
    """Records of a folder of X-rays.

    Args:
        layout: `own.layout.Layout`.
        **options: As of every TFDS builder.
    """

    name = "own"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Name the folder of the images, or the table of them in it."
    VERSION = tfds.core.Version("1.3.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "1.1.0": "Patients with many images may be in all splits.",
        "1.2.0": "What a split file calls one source or patient is one source.",
        "1.3.0": "A label in several spellings is one.",
    }

    BUILDER_CONFIGS = [
        builder.SplitConfig(name=policy, policy=policy, shares=Layout.SHARES, description=words)
        for policy, words in splits.POLICIES.items()
        if policy != "studies"  # nothing tells these; who knows patients, names them
    ]

    def __init__(self, layout, **options):
        self.LAYOUT = layout
        super().__init__(**options)

    def _table(self, dl_manager):
        rows, root = super()._table(dl_manager)
        if self.builder_config.policy not in ("grouped", splits.FILE) and (line := leaks(rows)):
            _LOG.warning("%s", line)
        if line := synthetic(rows):
            _LOG.warning("%s", line)
        return rows, root
