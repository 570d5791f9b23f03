"""Fixtures shared by the tests of data."""

import pytest


@pytest.fixture
def empty_cache(tmp_path_factory, monkeypatch):
    """A cache folder of this test alone."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(folder))
    return folder
