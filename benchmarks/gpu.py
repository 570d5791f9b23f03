"""Training steps of every architecture on one GPU: `python -m benchmarks gpu`, about five minutes.

None of this project's own numbers was made on a GPU. Whoever has one may send the JSON that this writes.
"""

import gc

import keras
import numpy as np
import tensorflow as tf

from benchmarks import twins
from benchmarks.conditions import conditions
from benchmarks.errors import BenchmarkError
from benchmarks.models import DEFAULT, check_names
from keras_fracture.errors import one_line
from keras_fracture.report.benchmarks import record, recorded
from keras_fracture.training import precision

BATCHES = {"unit": 1, "unit_munit": 1, "dcgan": 128, "dense_gan": 128, "compact_cnn": 128}  # others: 32
_WARM_UP = 3
_ROW = "{:<16}{:<16}{:<6}{:>10}{:>12}{:>14}"


def measure_gpu(names=DEFAULT, steps=20, device="GPU", show=print, out=None):
    """Times training steps of ours (forward, backward, update) in each precision, with and without XLA.

    Args:
        names: Some of `twins.names()`.
        steps: Timed steps of each setting; their median counts.
        device: "GPU", the first one; or "CPU", to see that all runs.
        show: Function called with each line of the table as soon as it is known.
        out: JSON file whose section "gpu" gets what is returned, or None.

    Returns:
        A dict: conditions, `device` (name, compute capability), and `runs`, a dict a setting with `model`, `precision`,
        `xla`, `batch_size`, `image_size`, and `images_per_second`, `milliseconds` (a step) and `peak_mib` (of the
        device's memory; None on CPUs), or `failed`, the reason.

    Raises:
        BenchmarkError: There is no such device, a model has no step, or a number is out of range.
        OutputError: `out` cannot be written.
    """
    check_names(names, twins.names())
    if steps < 1:
        raise BenchmarkError(f"steps must be 1 or more. Received: {steps}")
    found = tf.config.list_physical_devices(device)
    if not found:
        raise BenchmarkError(
            "TensorFlow sees no GPU: pip install 'tensorflow[and-cuda]', or `python -m benchmarks models` for CPUs. "
            f"Received: {len(tf.config.list_physical_devices())} devices, none a {device}"
        )
    if out:
        recorded(out)  # fails now, not after the last model
    facts = tf.config.experimental.get_device_details(found[0])
    name = facts.get("device_name", device)
    content = conditions() | {
        "device": {"name": name, "capability": facts.get("compute_capability")},
        "runs": [],
    }
    show(f"{name}, compute capability {facts.get('compute_capability')}")
    show(_ROW.format("model", "precision", "XLA", "images/s", "step, ms", "peak, MiB"))
    for model in names:
        for policy in precision.POLICIES:
            for xla in (False, True):
                run = _measured(model, policy, xla, steps, device)
                content["runs"].append(run)
                show(_line(run))
    if out:
        record(out, "gpu", content)
    return content


def _measured(name, policy, xla, steps, device):
    size = twins.sizes(name, BATCHES.get(name, 32 if device == "GPU" else 2))
    run = {"model": name, "precision": policy, "xla": xla, **size}
    keras.backend.clear_session()
    gc.collect()
    try:
        with precision.using(policy), tf.device(f"/{device}:0"):
            step = twins.ours(name, twins.networks(name, size["image_size"]), **size, jit=xla)
            for _ in range(_WARM_UP):
                step()
            if device == "GPU":
                tf.config.experimental.reset_memory_stats("GPU:0")
            seconds = float(np.median([twins.seconds(step) for _ in range(steps)]))
    except tf.errors.OpError as error:  # out of memory, or an operation that XLA has not
        return run | {"failed": one_line(error)[:200]}
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20 if device == "GPU" else None
    return run | {
        "images_per_second": size["batch_size"] / seconds,
        "milliseconds": 1000 * seconds,
        "peak_mib": peak,
    }


def _line(run):
    head = run["model"], run["precision"], "yes" if run["xla"] else "no"
    if "failed" in run:
        return _ROW.format(*head, "", "", "") + f" {run['failed']}"
    peak = "" if run["peak_mib"] is None else f"{run['peak_mib']:,.0f}"
    return _ROW.format(*head, f"{run['images_per_second']:,.1f}", f"{run['milliseconds']:,.1f}", peak)
