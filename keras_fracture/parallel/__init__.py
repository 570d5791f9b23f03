"""The same work in this process, in several, or on a Dask cluster, with results equal to the last digit.

    with parallel.workers(jobs=2) as workers:  # or cluster="tcp://10.0.0.1:8786"
        for answer in workers.map(measure, paths, batch=16, title="Hashing", unit=" images"):
            ...

Tasks are cut where batches are cut, whoever computes them. All engines are `concurrent.futures.Executor`s; `workers`
does again what died with its worker, and leaves out what kills workers (see `Workers.map`).
"""

from keras_fracture.parallel.mapping import DEATHS, HERE, Workers, workers
from keras_fracture.parallel.versions import key

__all__ = ["DEATHS", "HERE", "Workers", "key", "workers"]
