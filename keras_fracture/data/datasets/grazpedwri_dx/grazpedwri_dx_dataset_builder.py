"""TFDS builder of `grazpedwri_dx`."""

import numpy as np
import tensorflow_datasets as tfds

from keras_fracture.data import builder
from keras_fracture.data.datasets.grazpedwri_dx import layout


class Builder(builder.FractureBuilder):
    """Records of `grazpedwri_dx`, one configuration a split policy, `grouped` first."""

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "1.1.0": "Patients with many images may be in all splits.",
        "1.2.0": "What a split file calls one source or patient is one source.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = layout.HOW_TO_GET
    LAYOUT = layout
    BUILDER_CONFIGS = builder.standard(layout)
    EXTRA = {"hardware": np.bool_, "cast": np.bool_, "age": np.float32, "sex": tfds.features.Text()}
