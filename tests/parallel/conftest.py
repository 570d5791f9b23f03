"""A cluster on 127.0.0.1: one scheduler and two workers of one thread, each a process."""

import pytest

from benchmarks.clusters import cluster_of

# 3 by default: as many more restarts of workers before Dask gives a task up.
FEW = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The scheduler file of a cluster of two workers."""
    distributed = pytest.importorskip("distributed")
    with cluster_of(2, tmp_path_factory.mktemp("cluster"), **FEW) as (_, file):
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield str(file)
