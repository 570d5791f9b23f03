"""Workers on a SLURM cluster, and an audit on them: `python slurm.py /shared/archive`, on the login node.

SLURM starts and ends the jobs of the workers; ask for as many as you may. PBS, LSF, SGE: another class, the same rest.
"""

import sys

from dask_jobqueue import SLURMCluster

from keras_fracture import parallel
from keras_fracture.data import audit

if __name__ == "__main__":
    with SLURMCluster(
        cores=16,
        processes=16,  # one thread each: decoding is done in processes
        memory="32GB",
        walltime="04:00:00",
        job_script_prologue=["source $HOME/keras_fracture/.venv/bin/activate"],
        log_directory="logs",
    ) as cluster:
        cluster.adapt(maximum_jobs=10)
        with parallel.workers(cluster=cluster.scheduler_address) as workers:
            print(audit.as_text(audit.audit(sys.argv[1], workers=workers)))
