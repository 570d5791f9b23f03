"""TFDS builder of `kaggle_regions`."""

import numpy as np
import tensorflow_datasets as tfds

from keras_fracture.data import builder
from keras_fracture.data.datasets.kaggle_regions import layout


class Builder(builder.FractureBuilder):
    """Records of `kaggle_regions`, one configuration a split policy, `grouped` first."""

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "1.1.0": "X-rays with many images may be in all splits.",
        "1.2.0": "What a split file calls one source or patient is one source.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = layout.HOW_TO_GET
    LAYOUT = layout
    BUILDER_CONFIGS = builder.standard(layout)
    EXTRA = {"copies": tfds.features.Scalar(np.int64, doc="how often the copy was rotated, by its name")}
