import tensorflow_datasets as tfds

from keras_fracture.data.datasets.mura.mura_dataset_builder import Builder


class GroupedTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["grouped"]
    SPLITS = {"train": 30, "validation": 4, "test": 9}


class PublishedTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["paper", "official"]
    SPLITS = {"train": 32, "validation": 5, "test": 6}
