"""Who takes part in a training by several machines, and which of them this is: the variable TF_CONFIG."""

import json
import os

from keras_fracture.errors import DistributionError

HELP = "see examples/distributed/README.md for what TF_CONFIG looks like"


def parse_tf_config():
    """How many workers TF_CONFIG names, which of them this is (a chief is the first), and its kind and number."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise DistributionError(f"multiworker needs the environment variable TF_CONFIG: {HELP}")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        kind, index = task["type"], int(task["index"])
        kinds = [one for one in ("chief", "worker") if one in cluster]
        counts = [len(cluster[one]) for one in kinds]
    except (ValueError, KeyError, TypeError) as error:
        raise DistributionError(
            f"TF_CONFIG must be JSON with `cluster` and `task` ({type(error).__name__}: {error}): {HELP}. "
            f"Received: {text[:300]}"
        ) from None
    if kind not in kinds:
        raise DistributionError(
            f"Every task must be a chief or a worker of the cluster, since nothing else takes part: {HELP}. "
            f"Received: task {kind!r} of {', '.join(cluster)}"
        )
    order = kinds.index(kind)
    if not 0 <= index < counts[order]:
        raise DistributionError(
            f"The cluster has {counts[order]} {kind}(s), counted from 0: {HELP}. Received: {kind} {index}"
        )
    return sum(counts), sum(counts[:order]) + index, (kind, str(index))
