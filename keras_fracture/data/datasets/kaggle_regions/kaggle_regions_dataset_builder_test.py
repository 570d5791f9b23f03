import tensorflow_datasets as tfds

from keras_fracture.data.datasets.kaggle_regions.kaggle_regions_dataset_builder import Builder


class GroupedTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["grouped"]
    # Of the 37 files one is no image and left out; the truncated one stays.
    SPLITS = {"train": 25, "validation": 4, "test": 7}


class PublishedTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["paper", "official"]
    SPLITS = {"train": 24, "validation": 6, "test": 6}
