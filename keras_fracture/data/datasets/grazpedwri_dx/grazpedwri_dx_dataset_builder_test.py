import tensorflow_datasets as tfds

from keras_fracture.data.datasets.grazpedwri_dx.grazpedwri_dx_dataset_builder import Builder


class GrazpedwriDxTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Builder
    SPLITS = {"train": 28, "validation": 4, "test": 8}
