"""TFDS builder of `kaggle_fracture`."""

import numpy as np
import tensorflow_datasets as tfds

from keras_fracture.data import builder
from keras_fracture.data.datasets.kaggle_fracture import layout


class Builder(builder.FractureBuilder):
    """Records of `kaggle_fracture`, one configuration a split policy, `grouped` first."""

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "1.1.0": "Splits keep their shares over small strata.",
        "1.2.0": "What a split file calls one source or patient is one source.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = layout.HOW_TO_GET
    LAYOUT = layout
    BUILDER_CONFIGS = builder.standard(layout)
    EXTRA = {"copies": tfds.features.Scalar(np.int64, doc="how often the copy was rotated")}
