import tensorflow_datasets as tfds

from keras_fracture.data.datasets.btxrd.btxrd_dataset_builder import Builder


class GroupedAndOfficialTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["grouped", "official"]
    SPLITS = {"train": 8, "validation": 4, "test": 4}


class PaperTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["paper"]
    SPLITS = {"train": 10, "validation": 2, "test": 4}
