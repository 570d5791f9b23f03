"""Training steps of every architecture beside PyTorch twins: `python -m benchmarks models`.

Each library at its best setting on a CPU. Ours: a float32 graph, channels last, BatchNormalization on TensorFlow's
fused kernel; for bfloat16 with `training.precision.onednn_bfloat16`. PyTorch: oneDNN, channels last, as many threads
as cores; for bfloat16 under autocast.
"""

import gc
import os
import platform
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks import counting, twins
from benchmarks.conditions import conditions
from benchmarks.errors import BenchmarkError
from keras_fracture.interop.torch import load_torch_weights
from keras_fracture.machine import BFLOAT16, cpu_fields
from keras_fracture.report.benchmarks import record, recorded, share_of_peak
from keras_fracture.training.precision import onednn_bfloat16

DEFAULT = (
    "compact_cnn", "inception_net", "resnet18", "resnet34", "resnet50", "drn_d_22", "dcgan", "dense_gan", "unit",
    "unit_munit",
)  # fmt: skip
PRECISIONS = ("float32", "bfloat16")
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_ROUND = 4  # timed steps before the next setting has its turn
_PRODUCT = 2048  # side of the matrices whose product is the machine's peak
_HEAD = ("model", "precision", "ours, images/s", "PyTorch, images/s", "ratio", "of peak")
BUSY = 0.05


def measure(names=DEFAULT, batch_size=None, image_size=None, steps=20, precisions=None, show=print, out=None):
    """Times training steps (forward, backward, update) of both libraries in this process, on the CPU.

    Settings take turns, so that a slow moment of the machine meets all of them; the first step of a turn is
    not timed. Both sides start from the same weights, and see the same random images of two classes.
    For the whole process, PyTorch gets as many threads as cores and GPUs are hidden from TensorFlow.

    Args:
        names: Some of `twins.names()`.
        batch_size: Images (for UNIT pairs) a step, 2 or more, for UNIT 1; None is `twins.sizes`'.
        image_size: Side of an image in pixels, 32 or more; None is `twins.sizes`'.
        steps: Timed steps of each setting; their median counts.
        precisions: Some of `PRECISIONS`, or None for float32, and bfloat16 where the CPU computes in it.
        show: Function called with each line of the table as soon as it is known.
        out: JSON file whose section "models" gets what is returned, or None.

    Returns:
        A dict: conditions (`cpu`, `versions`, `date`, `command`, ...), `peak`, see `matrix_peak`, and `runs`, a
        dict for every model and precision with `batch_size`, `image_size`, `ours` and `pytorch` in images a
        second, `ratio`, ours over PyTorch's, `work`, see `counting.work`, `memory` (see `twins.peak_memory`) of
        "ours" and "pytorch", `others`, the share of the CPU that other programs used meanwhile, and `fair`,
        whether that is at most `BUSY`. If not, the ratio says nothing: PyTorch's OpenMP threads spin while they
        wait for each other, and with every core taken two of them were 2 to 40 times slower than one.

    Raises:
        BenchmarkError: PyTorch is missing, a model has no twin, a number is out of range, or
            TensorFlow runs on a GPU already.
        OutputError: `out` cannot be written.
    """
    processor = cpu()
    if precisions is None:
        precisions = supported()
    sizes = {name: twins.sizes(name, batch_size, image_size) for name in names}
    _check(sizes, steps, precisions)
    if out:
        recorded(out)  # fails now, not after the last model
    _hide_gpus()
    torch = twins.pytorch()
    torch.set_num_threads(processor["cores"])
    facts = conditions()
    facts["versions"]["torch"] = torch.__version__
    content = {**facts, "cpu": processor, "steps": steps, "peak": matrix_peak(), "runs": []}
    show(f"float32 matrix product: {content['peak'] / 1e9:,.0f} billion operations a second")
    show(_line(*_HEAD))
    for name in names:
        keras.backend.clear_session()
        gc.collect()
        size = sizes[name]
        before = cpu_times()
        runs, shared, plan = _measure_one(name, *size.values(), steps, precisions)
        others = share_of_others(before, cpu_times(), os.cpu_count())
        fair = others is None or others <= BUSY
        memory = {side: twins.peak_memory(side, name, *size.values(), plan) for side in ("ours", "pytorch")}
        for run in runs:
            run |= size | shared | {"memory": memory, "others": others, "fair": fair}
            content["runs"].append(run)
            speeds = f"{run['ours']:.2f}", f"{run['pytorch']:.2f}", f"{run['ratio']:.2f}"
            show(_line(name, run["precision"], *speeds, f"{share_of_peak(run, content['peak']):.0%}"))
        if not fair:
            show(f"not a fair comparison: other programs used {others:.0%} of the CPU meanwhile")
    if out:
        record(out, "models", content)
    return content


def _line(name, precision, *cells):
    widths = (len(head) + 3 for head in _HEAD[2:])
    return f"{name:<20}{precision:<11}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)
    )


def matrix_peak(repeats=12):
    """Floating-point operations a second of a float32 matrix product, the faster library's best of `repeats`."""
    torch = twins.pytorch()
    factors = np.random.default_rng(0).random((2, _PRODUCT, _PRODUCT), "float32")
    ours, theirs = (
        [tf.constant(factor) for factor in factors],
        [torch.from_numpy(factor) for factor in factors],
    )
    best = np.inf
    for _ in range(repeats):
        for product in (lambda: tf.matmul(*ours).numpy(), lambda: torch.matmul(*theirs).numpy()):
            best = min(best, twins.seconds(product))
    return 2 * _PRODUCT**3 / best


def cpu():
    """Name, cores open to this process, and which of AVX2, AVX-512, AVX512_BF16 and AMX the CPU has.

    Returns:
        A dict of `name`, `cores` and `flags`; without /proc/cpuinfo the name is the platform's and flags are
        empty.
    """
    fields = cpu_fields()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = set(fields.get("flags", "").split())
    return {
        "name": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": cores,
        "flags": [flag for flag in _FLAGS if flag in flags],
    }


def supported():
    """Those of `PRECISIONS` that this CPU computes in."""
    return PRECISIONS if BFLOAT16 & set(cpu()["flags"]) else ("float32",)


def cpu_times():
    """Seconds since some start: of the clock, of all CPUs at work, of this process and those it waited for.

    None without /proc/stat.
    """
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, irq, soft_irq, steal = (int(field) for field in fields)  # without idle, waiting
    busy = (user + nice + system + irq + soft_irq + steal) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), busy, sum(os.times()[:4])


def share_of_others(before, after, cores):
    """The share of the CPU that went to other programs between two `cpu_times()`, 0 to 1, or None."""
    if before is None or after is None:
        return None
    clock, busy, own = np.subtract(after, before)
    return float(np.clip((busy - own) / (clock * cores), 0, 1))


def check_names(names, allowed):
    """Raises `BenchmarkError` unless all names are allowed ones."""
    for name in names:
        if name not in allowed:
            raise BenchmarkError(f"Only {', '.join(allowed)} can be measured. Received: {name!r}")


def _check(sizes, steps, precisions):
    check_names(sizes, twins.names())
    check_names(precisions, PRECISIONS)
    for name, size in sizes.items():
        # Two images: PyTorch refuses to normalise a single value a channel. UNIT has no batch statistics.
        least = {"batch_size": 1 if name.startswith("unit") else 2, "image_size": 32, "steps": 1}
        for setting, number in (size | {"steps": steps}).items():
            if number < least[setting]:
                words = setting.replace("_", " ")
                raise BenchmarkError(f"{words} must be {least[setting]} or more. Received: {number}")
        side = size["image_size"]
        if name.startswith("unit") and side % 4:
            raise BenchmarkError(f"The image size of {name} must be a multiple of 4. Received: {side}")
        sides = {"dcgan": (32, 64, 128), "dense_gan": (32, 64, 128), "compact_cnn": (64,)}.get(name)
        if sides and side not in sides:
            raise BenchmarkError(
                f"The image size of {name} must be one of {', '.join(map(str, sides))}. Received: {side}"
            )


def _hide_gpus():
    if tf.config.list_physical_devices("GPU"):
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError as error:
            raise BenchmarkError(f"Set CUDA_VISIBLE_DEVICES=-1 to measure CPUs. Received: {error}") from error


def _measure_one(name, batch_size, image_size, steps, precisions):
    """The runs of one model, what they share, and the plan of its twins."""
    torch = twins.pytorch()
    train_steps, work = {}, None
    for precision in precisions:
        # One model a setting: the rewritten graph of one must not serve the other.
        torch.manual_seed(0)
        nets = twins.networks(name, image_size)
        ours = twins.ours(name, nets, batch_size, image_size)
        plan = twins.plan_twins(name, nets, image_size)
        copies = twins.build(plan)
        for net, twin in zip(nets, copies, strict=True):
            load_torch_weights(net, twin.state_dict())
        theirs = twins.theirs(name, copies, plan["weights"], batch_size, image_size, precision)
        work = work or counting.work(theirs)
        train_steps["ours", precision] = _in_precision(ours, precision)
        train_steps["pytorch", precision] = theirs
    seconds = {setting: [] for setting in train_steps}
    for done in range(0, steps, _ROUND):
        for setting, step in train_steps.items():
            step()
            for _ in range(min(_ROUND, steps - done)):
                seconds[setting].append(twins.seconds(step))
    rates = {setting: batch_size / float(np.median(times)) for setting, times in seconds.items()}
    runs = [
        {
            "model": name,
            "precision": precision,
            "ours": rates["ours", precision],
            "pytorch": rates["pytorch", precision],
            "ratio": rates["ours", precision] / rates["pytorch", precision],
        }
        for precision in precisions
    ]
    return runs, {"parameters": twins.parameters(nets), "work": work}, plan


def _in_precision(graph, precision):
    def step():
        before = onednn_bfloat16(precision == "bfloat16")
        try:
            return graph()
        finally:
            onednn_bfloat16(before)

    return step
