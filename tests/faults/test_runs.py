"""A run that is killed or finds the disk full goes on to the numbers of one that nothing happened to.

A few moments of one paper; `make soak` has many, of all.
"""

import pytest

from benchmarks.soak.comparison import differences
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
    "open records/phantom/grouped/2.0.0/features.json 0",
    "open grouped/resnet18/run-0/backup/epoch-00002.weights.h5 0",
    "open grouped/resnet18/run-0/saved_model/1/metadata.json 0",
    "os.rename metrics.json 0",
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nothing happens to, and all its moments."""
    run = faulty.FaultyRun(tmp_path_factory.mktemp("undisturbed"), *RECIPE)
    status, moments, messages = run.finish(resume=False)
    assert status == 0, messages
    return run, moments


def _same(run, undisturbed):
    assert differences(run.folder, undisturbed.folder) == []
    assert not run.leftovers() and not undisturbed.leftovers()


@pytest.mark.slow
def test_a_killed_run_goes_on(undisturbed, tmp_path):
    run = faulty.FaultyRun(tmp_path, *RECIPE)
    for moment in KILLS:
        assert moment in undisturbed[1], "or nobody would be killed"
        status, _, messages = run.finish("kill", moment)
        assert status == -9, (moment, messages)
    status, _, messages = run.finish()
    assert status == 0, messages
    _same(run, undisturbed[0])


@pytest.mark.slow
def test_a_full_disk_costs_nothing_but_one_line(undisturbed, tmp_path):
    run = faulty.FaultyRun(tmp_path, *RECIPE)
    status, _, messages = run.finish("full", "|".join([*FULL, ""]))
    assert status == 0, messages
    statuses = [line for line in messages if line.startswith("status: ")]
    assert statuses == ["status: 2"] * len(FULL) + ["status: 0"]
    errors = [line for line in messages if not line.startswith("status: ")]
    assert len(errors) == len(FULL) and all("No space left on device" in line for line in errors), errors
    _same(run, undisturbed[0])
