"""Fixtures shared by the tests of data."""

import shutil

import pytest

from keras_fracture.data.catalogue import layout


@pytest.fixture
def empty_cache(tmp_path_factory, monkeypatch):
    """A cache folder of this test alone."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(folder))
    return folder


@pytest.fixture
def copy(dummy_root, tmp_path):
    """Function that copies one dummy set, to be spoilt."""

    def copied(name):
        module = layout(name)
        return module, shutil.copytree(dummy_root / module.FOLDER, tmp_path / module.FOLDER)

    return copied
