import tensorflow_datasets as tfds

from keras_fracture.data.datasets.fracatlas.fracatlas_dataset_builder import Builder


class FracAtlasTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["grouped", "paper"]  # numbered in one row, these few are too few studies
    # Of the 11 images one contradicts the csv and is left out; the truncated one stays.
    SPLITS = {"train": 6, "validation": 2, "test": 2}
