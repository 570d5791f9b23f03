import tensorflow_datasets as tfds

from keras_fracture.data.datasets.kaggle_fracture.kaggle_fracture_dataset_builder import Builder


class GroupedTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["grouped"]
    SPLITS = {"train": 12, "validation": 6, "test": 6}


class PaperTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["paper"]
    SPLITS = {"train": 16, "validation": 2, "test": 6}
