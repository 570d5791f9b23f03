"""Where our training steps spend their time: `python -m benchmarks profile`, by TensorFlow's profiler."""

import collections
import itertools
import re
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import twins
from benchmarks.errors import BenchmarkError
from benchmarks.models import DEFAULT, PRECISIONS, check_names, supported
from keras_fracture.training.precision import using

# An operation's trace is "NODE:KIND"; oneDNN's kinds have prefixes.
_OPERATION = re.compile(r"[\w./-]+:(?:_Mkl(?:Native)?)?(\w+)")


def measure_profile(names=DEFAULT, steps=3, most=5, precisions=None):
    """Times the operations of training steps, each network with `twins.sizes`' batch.

    Operations run two at a time where the graph allows it, so they may add up to more than a step.

    Args:
        names: Some of `twins.names()`.
        steps: Traced steps.
        most: How many kinds of operations are told of each network, those that take longest.
        precisions: Some of `models.PRECISIONS`, or None for those that this CPU computes in.

    Returns:
        A dict of name to milliseconds: "NETWORK, PRECISION: step" without the profiler, then "NETWORK, PRECISION: N
        OPERATION" for N operations of a kind.

    Raises:
        BenchmarkError: A network has no twin, or a number is not positive.
    """
    check_names(names, twins.names())
    if min(steps, most) < 1:
        raise BenchmarkError(f"steps and most must be 1 or more. Received: {steps} and {most}")
    precisions = precisions or supported()
    check_names(precisions, PRECISIONS)
    numbers = {}
    for name, precision in itertools.product(names, precisions):
        with using("onednn_bfloat16" if precision == "bfloat16" else "float32"):
            numbers |= {f"{name}, {precision}: {what}": ms for what, ms in _spent(name, steps, most)}
    return numbers


def _spent(name, steps, most):
    """Pairs of what `measure_profile` tells of a network, and its milliseconds."""
    size = twins.sizes(name)
    step = twins.ours(name, twins.networks(name, size["image_size"]), **size)
    seconds = [twins.seconds(step) for _ in range(steps + 2)][2:]  # the first ones trace, and allocate
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(steps):
                step()
        totals = times_of_operations(folder)
    yield "step", 1000 * float(np.median(seconds))
    for kind, (total, count) in sorted(totals.items(), key=lambda pair: -pair[1][0])[:most]:
        yield f"{count / steps:.0f} {kind}", 1000 * total / steps


def times_of_operations(folder):
    """Seconds and number of the operations of each kind, of a folder that TensorFlow's profiler wrote.

    Returns:
        A dict of kind, such as "Conv2D", to a pair.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    for path in Path(folder).rglob("*.xplane.pb"):
        space.MergeFromString(path.read_bytes())
    totals = collections.defaultdict(lambda: (0.0, 0))
    for plane in space.planes:
        names = {key: metadata.name.partition("#")[0] for key, metadata in plane.event_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            if operation := _OPERATION.fullmatch(names[event.metadata_id]):
                seconds, count = totals[operation[1]]
                totals[operation[1]] = seconds + event.duration_ps / 1e12, count + 1
    return dict(totals)
