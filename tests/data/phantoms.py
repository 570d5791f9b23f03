"""A phantom data set small enough for tests."""

import contextlib

import pytest

from keras_fracture.data.datasets.phantom import layout


@contextlib.contextmanager
def few(limbs, held_out, cache):
    """Lets `phantom` have so many limbs, and so many held out for the test split, prepared in the folder `cache`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "SOURCES", (limbs, held_out))
        patch.setenv("KERAS_FRACTURE_CACHE", str(cache))
        yield
