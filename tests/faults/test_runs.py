"""A run that is killed or finds the disk full goes on to the numbers of one that nothing happened to.

A few moments of one recipe; `make soak` has many, of all.
"""

import pytest

from tests.faults import faulty

RECIPE = (
    "lisbon_resnet",
    "--profile",
    "smoke",
    "--depth",
    "18",
    "--set",
    "policies=grouped",
    "--set",
    "image_size=32",
    "--epochs",
    "2",
)
KILLS = (
    "os.remove grouped/resnet18/run-0/backup/epoch-00001.weights.h5 1",  # there are two backups
    "open grouped/resnet18/run-0/saved_model/1/metadata.json 0",  # the SavedModel is half-written
)
FULL = (
    "open records/phantom/grouped/1.1.0/features.json 0",
    "open grouped/resnet18/run-0/backup/epoch-00002.weights.h5 0",
    "open grouped/resnet18/run-0/saved_model/1/metadata.json 0",
    "os.rename metrics.json 0",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happens to, and all its moments."""
    place = faulty.Place(tmp_path_factory.mktemp("whole"), *RECIPE)
    status, moments, said = place.finish(resume=False)
    assert status == 0, said
    return place, moments


def _same(place, whole):
    assert place.metrics() == whole.metrics()
    assert place.files() == whole.files()
    assert not place.leftovers() and not whole.leftovers()


def test_a_killed_run_goes_on(whole, tmp_path):
    place = faulty.Place(tmp_path, *RECIPE)
    for moment in KILLS:
        assert moment in whole[1], "or nobody would be killed"
        status, _, said = place.finish("kill", moment)
        assert status == -9, (moment, said)
    status, _, said = place.finish()
    assert status == 0, said
    _same(place, whole[0])


def test_a_full_disk_costs_nothing_but_one_line(whole, tmp_path):
    place = faulty.Place(tmp_path, *RECIPE)
    status, _, said = place.finish("full", "|".join([*FULL, ""]))
    assert status == 0, said
    errors = [line for line in said if not line.startswith("status: ")]
    assert [line for line in said if line.startswith("status: ")] == ["status: 2"] * len(FULL) + ["status: 0"]
    assert len(errors) == len(FULL) and all("No space left on device" in line for line in errors), errors
    _same(place, whole[0])
