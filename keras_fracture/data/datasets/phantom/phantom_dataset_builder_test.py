from pathlib import Path
from unittest import mock

import tensorflow_datasets as tfds

from keras_fracture.data.datasets.phantom import layout
from keras_fracture.data.datasets.phantom.phantom_dataset_builder import Builder


class PhantomTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    EXAMPLE_DIR = Path(__file__).parent  # there are no files to read: the images are drawn
    BUILDER_CONFIG_NAMES_TO_TEST = ["grouped"]
    SPLITS = {"train": 62, "validation": 10, "test": 16}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(mock.patch.object(layout, "SOURCES", (24, 16)))


class PhantomPaperTest(PhantomTest):
    BUILDER_CONFIG_NAMES_TO_TEST = ["paper"]
    SPLITS = {"train": 50, "validation": 7, "test": 15}
