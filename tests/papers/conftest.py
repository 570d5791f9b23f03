"""Fixtures shared by the tests of papers."""

import pytest

from keras_fracture.data.datasets.phantom import phantom_dataset_builder


@pytest.fixture(scope="module")
def few_phantoms(tmp_path_factory):
    """A phantom data set of a twelfth of its limbs, prepared once a module."""
    patch = pytest.MonkeyPatch()
    patch.setattr(phantom_dataset_builder.Builder, "SOURCES", 60)
    patch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()
