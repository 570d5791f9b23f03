"""Fixtures shared by the tests of papers."""

import pytest

from keras_fracture import papers
from tests.data import phantoms


@pytest.fixture(scope="module")
def few_phantoms(tmp_path_factory):
    """A phantom data set of few limbs, prepared once a module."""
    with phantoms.few(60, 48, tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture(scope="module")
def smoke_run(few_phantoms, tmp_path_factory):
    """A function of a paper's key and settings: a whole run's folder, and that its numbers were recorded in."""

    def run(key, **settings):
        folder, results = tmp_path_factory.mktemp("runs") / "run", tmp_path_factory.mktemp("results")
        papers.reproduce(key, "smoke", out=folder, results=results, **settings)
        return folder, results

    return run
