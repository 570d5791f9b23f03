"""Fixtures shared by the tests."""

import shutil
from pathlib import Path

import pytest

import keras_fracture
from keras_fracture.data import catalogue


@pytest.fixture(scope="session")
def dummy_root(tmp_path_factory):
    """A data folder with the tiny drawn copy of every published layout, to be read only."""
    root = tmp_path_factory.mktemp("dummy_data")
    datasets = Path(keras_fracture.__file__).parent / "data" / "datasets"
    for name in catalogue.REAL:
        shutil.copytree(datasets / name / "dummy_data", root, dirs_exist_ok=True)
    return root
