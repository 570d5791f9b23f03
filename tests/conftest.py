"""Fixtures shared by the tests."""

import gc
import shutil
from pathlib import Path

import keras
import pytest

import keras_fracture
from keras_fracture import models
from keras_fracture.data import Preprocess, catalogue, phantom


@pytest.fixture(scope="module", autouse=True)
def _short_collections():
    """TensorFlow keeps every graph that was trained; the garbage collector need not look through them each time."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def dummy_root(tmp_path_factory):
    """A data folder with the tiny drawn copy of every published layout, to be read only."""
    root = tmp_path_factory.mktemp("dummy_data")
    datasets = Path(keras_fracture.__file__).parent / "data" / "datasets"
    for name in catalogue.REAL:
        shutil.copytree(datasets / name / "dummy_data", root, dirs_exist_ok=True)
    return root


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all that ask one."""
    # Not above: most tests need none of the servers' packages.
    from keras_fracture import serving
    from tests.serving.asking import Started

    folder = tmp_path_factory.mktemp("served") / "saved_models"
    for version in (1, 2):
        keras.utils.set_random_seed(version)
        network = models.create("compact_cnn", image_size=32)
        prepared = Preprocess(size=32, clahe=(2.0, 8))
        serving.export(network, folder / "cnn", version, prepared, {"classes": ["finding"]})
    generator = models.create("dcgan_generator", image_size=32, width=2, channels=1, num_classes=3)
    serving.export(generator, folder / "gan", 4)
    serving.export(models.create("unit", image_size=16, width=2, channels=1), folder / "unit")
    started = Started(folder)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def radiographs():
    return [record["image"][..., 0] for record in phantom.records(seed=3)[:3]]


@pytest.fixture(scope="session")
def files(radiographs):
    """The same as PNG and JPEG files."""
    from tests.serving.asking import saved

    return [saved(image, kind) for image, kind in zip(radiographs, ("PNG", "JPEG", "PNG"), strict=True)]
