"""Training steps of classifiers, DCGAN and UNIT beside their PyTorch twins: `keras-fracture benchmark models`.

Each library at its best setting on a CPU. Ours: a float32 graph, channels last, BatchNormalization on
TensorFlow's fused kernel; for bfloat16 with `training.precision.onednn_bfloat16`. PyTorch: channels last, as
many threads as cores; for bfloat16 under autocast.
"""

import contextlib
import gc
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_fracture import files, models
from keras_fracture.benchmarks import gan
from keras_fracture.errors import BenchmarkError
from keras_fracture.interop.torch import load_torch_weights
from keras_fracture.models import DRN, ResNet
from keras_fracture.papers.recipe import provenance
from keras_fracture.report import tables
from keras_fracture.training.precision import onednn_bfloat16

DEFAULT = ("resnet18", "resnet34", "resnet50", "inception_net", "drn_d_22", "drn_c_26")
PRECISIONS = ("float32", "bfloat16")
BATCH_SIZE, IMAGE_SIZE = 16, 224
CHECKOUT = Path(__file__).resolve().parents[2]
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_ROUND = 2  # timed steps before the next setting has its turn
_RATE = 0.01
BUSY = 0.05


def measure(names=DEFAULT, batch_size=None, image_size=None, steps=10, precisions=None, show=print, out=None):
    """Times training steps (forward, backward, update) of both libraries in this process, on the CPU.

    Settings take turns, so that a slow moment of the machine meets all of them; the first step of a turn is
    not timed. Both sides start from the same weights, and see the same random pictures of two classes.
    For the whole process, PyTorch gets as many threads as cores and GPUs are hidden from TensorFlow.

    Args:
        names: ResNets, DRNs or `inception_net`, see `models.names()`, trained by SGD; or `dcgan` or
            `unit`, see `benchmarks.gan`.
        batch_size: Pictures (for UNIT pairs) a step, 2 or more, for UNIT 1; None is 16, or `gan.SIZES`.
        image_size: Side of a picture in pixels, 32 or more; None is 224, or `gan.SIZES`.
        steps: Timed steps of each setting; their median counts.
        precisions: Some of `PRECISIONS`, or None for float32, and bfloat16 where the CPU computes in it.
        show: Function called with each line of the table as soon as it is known.
        out: JSON file for what is returned, or None.

    Returns:
        A dict: conditions (`cpu`, `versions`, `date`, `command`, ...) and `runs`, a dict for every model and
        precision with `batch_size`, `image_size`, `ours` and `pytorch` in pictures a second, `ratio`, ours over
        PyTorch's, for GANs `memory` (see `gan.peak_memory`) of "ours" and "pytorch", `others`, the
        share of the CPU that other programs used meanwhile, and `fair`, whether that is at most `BUSY`. If not,
        the ratio says nothing: PyTorch's OpenMP threads spin while they wait for each other, and with every
        core taken two of them were 2 to 40 times slower than one.

    Raises:
        BenchmarkError: PyTorch or the twins are missing, a model has no twin, a number is out of range, or
            TensorFlow runs on a GPU already.
        OutputError: `out` cannot be written.
    """
    processor = cpu()
    if precisions is None:
        native = {"avx512_bf16", "amx_bf16"} & set(processor["flags"])
        precisions = PRECISIONS if native else ("float32",)
    sizes = {name: _sizes(name, batch_size, image_size) for name in names}
    _check(sizes, steps, precisions)
    twins = _twins()
    import torch

    if out:
        files.folder(Path(out).parent)  # fails now, not after the last model
    torch.set_num_threads(processor["cores"])
    _hide_gpus()
    about = provenance()
    about["versions"]["torch"] = torch.__version__
    usual = next((sizes[name] for name in names if name not in gan.SIZES), sizes[names[0]])
    conditions = usual | {"steps": steps}
    content = {"benchmark": "models", **about, "cpu": processor, **conditions, "runs": []}
    show(f"{'model':<16}{'precision':<11}{'ours, pictures/s':>18}{'PyTorch, pictures/s':>21}{'ratio':>8}")
    for name in names:
        keras.backend.clear_session()
        gc.collect()
        before = _spent()
        runs = list(_measure_one(name, *sizes[name].values(), steps, precisions, twins))
        others = _others(before, _spent(), os.cpu_count())
        fair = others is None or others <= BUSY
        memory = {}
        if name in gan.SIZES:
            sides = ("ours", "pytorch")
            memory["memory"] = {side: gan.peak_memory(side, name, *sizes[name].values()) for side in sides}
        for run in runs:
            content["runs"].append(run | sizes[name] | memory | {"others": others, "fair": fair})
            show(
                f"{name:<16}{run['precision']:<11}{run['ours']:>18.2f}{run['pytorch']:>21.2f}"
                f"{run['ratio']:>8.2f}"
            )
        if memory:
            show(f"{name}: {tables.memory(memory['memory'])}")
        if not fair:
            show(f"not a fair comparison: other programs used {others:.0%} of the CPU meanwhile")
    if out:
        files.write_text(out, json.dumps(content, indent=1) + "\n")
    return content


def cpu():
    """Name, cores open to this process, and which of AVX2, AVX-512, AVX512_BF16 and AMX the CPU has.

    Returns:
        A dict of `name`, `cores` and `flags`; without /proc/cpuinfo the name is the platform's and flags are
        empty.
    """
    fields = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = set(fields.get("flags", "").split())
    return {
        "name": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": cores,
        "flags": [flag for flag in _FLAGS if flag in flags],
    }


def _spent():
    """Seconds since some start: of the clock, of all CPUs at work, of this process. None without /proc/stat."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, irq, soft_irq, steal = (int(field) for field in fields)  # without idle, waiting
    busy = (user + nice + system + irq + soft_irq + steal) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), busy, time.process_time()


def _others(before, after, cores):
    """The share of the CPU that went to other programs between two `_spent()`, 0 to 1, or None."""
    if before is None or after is None:
        return None
    clock, busy, own = np.subtract(after, before)
    return float(np.clip((busy - own) / (clock * cores), 0, 1))


def _sizes(name, batch_size, image_size):
    own = gan.SIZES.get(name, (BATCH_SIZE, IMAGE_SIZE))
    given = zip((batch_size, image_size), own, strict=True)
    batch_size, image_size = (default if size is None else size for size, default in given)
    return {"batch_size": batch_size, "image_size": image_size}


def _check(sizes, steps, precisions):
    known = [name for name in models.names() if name.startswith(("resnet", "drn_", "inception_net"))]
    for given, possible in ((sizes, [*gan.SIZES, *known]), (precisions, PRECISIONS)):
        for name in given:
            if name not in possible:
                raise BenchmarkError(f"Only {', '.join(possible)} can be measured. Received: {name!r}")
    for name, size in sizes.items():
        # Two pictures: PyTorch refuses to normalise a single value a channel. UNIT has no batch statistics.
        least = {"batch_size": 1 if name == "unit" else 2, "image_size": 32, "steps": 1}
        for what, number in (size | {"steps": steps}).items():
            if number < least[what]:
                words = what.replace("_", " ")
                raise BenchmarkError(f"{words} must be {least[what]} or more. Received: {number}")
        if name == "unit" and size["image_size"] % 4:
            raise BenchmarkError(
                f"The image size of {name} must be a multiple of 4. Received: {size['image_size']}"
            )
        if name == "dcgan" and size["image_size"] not in (32, 64, 128):
            raise BenchmarkError(
                f"The image size of {name} must be 32, 64 or 128. Received: {size['image_size']}"
            )


def _hide_gpus():
    if tf.config.list_physical_devices("GPU"):
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError as error:
            raise BenchmarkError(f"Set CUDA_VISIBLE_DEVICES=-1 to measure CPUs. Received: {error}") from error


def _twins():
    """The modules of tests/torch_twins that have twins of classifiers."""
    if not (CHECKOUT / "tests" / "torch_twins").is_dir():
        raise BenchmarkError(
            "The PyTorch twins are part of the tests: clone the repository and run this from there. "
            f"Received: no tests/torch_twins in {CHECKOUT}"
        )
    sys.path.insert(0, str(CHECKOUT))  # the console script has its own folder there
    try:
        names = ("resnet", "drn", "inception", "dcgan", "unit")
        return {name: importlib.import_module(f"tests.torch_twins.{name}") for name in names}
    except ImportError as error:
        raise BenchmarkError(
            f'The twins need PyTorch: pip install "keras-fracture[torch]". Received: {error}'
        ) from error
    finally:
        sys.path.remove(str(CHECKOUT))


def _twin_of(model, twins):
    """The PyTorch model of the same numbers, with its own random weights."""
    sizes = {"num_classes": model.num_classes, "channels": model.channels}
    if isinstance(model, ResNet):
        sizes |= {"width": model.width, "strides": model.strides, "dilations": model.dilations}
        return twins["resnet"].ResNet(model.depths, model.block == "bottleneck", **sizes)
    if isinstance(model, DRN):
        return twins["drn"].DRN(
            model.arch, model.depths, model.block == "bottleneck", widths=model.widths, **sizes
        )
    sizes |= {"stem_width": model.stem_width, "stages": model.stages, "reduction": model.reduction}
    return twins["inception"].inception_net(**sizes)


def _measure_one(name, batch_size, image_size, steps, precisions, twins):
    """Yields the run of each precision of one model."""
    import torch

    takers = {}
    for precision in precisions:
        # One model a setting: the rewritten graph of one must not serve the other.
        torch.manual_seed(0)
        if name in gan.SIZES:
            *trained, ours = gan.our_step(name, batch_size, image_size)
            *copied, theirs = gan.torch_step(name, batch_size, image_size, precision)
            for model, twin in zip(trained, copied, strict=True):
                load_torch_weights(model, twin.state_dict())
        else:
            trained, ours, theirs = _classifier_steps(name, batch_size, image_size, precision, twins)
        takers["ours", precision] = _in_precision(ours, precision)
        takers["pytorch", precision] = theirs
    seconds = {setting: [] for setting in takers}
    for done in range(0, steps, _ROUND):
        for setting, step in takers.items():
            step()
            for _ in range(min(_ROUND, steps - done)):
                start = time.perf_counter()
                step()
                seconds[setting].append(time.perf_counter() - start)
    rates = {setting: batch_size / float(np.median(taken)) for setting, taken in seconds.items()}
    for precision in precisions:
        ours, theirs = rates["ours", precision], rates["pytorch", precision]
        yield {
            "model": name,
            "parameters": sum(
                int(np.prod(weight.shape)) for model in trained for weight in model.trainable_weights
            ),
            "precision": precision,
            "ours": ours,
            "pytorch": theirs,
            "ratio": ours / theirs,
        }


def _in_precision(graph, precision):
    def step():
        before = onednn_bfloat16(precision == "bfloat16")
        try:
            return graph()
        finally:
            onednn_bfloat16(before)

    return step


def _classifier_steps(name, batch_size, image_size, precision, twins):
    """The model in a list, a function that trains it a step, and one that trains its twin."""
    rng = np.random.default_rng(0)
    images = rng.random((batch_size, image_size, image_size, 3)).astype("float32")
    labels = rng.integers(0, 2, batch_size)
    options = {"num_classes": 2, "image_size": image_size}
    if name == "inception_net":
        options["dropout"] = 0.0  # the twin has none
    model = models.create(name, **options)
    twin = _twin_of(model, twins)
    load_torch_weights(model, twin.state_dict())
    return [model], _our_step(model, images, labels), _torch_step(twin, images, labels, precision)


def _our_step(model, images, labels):
    images, labels = tf.constant(images), tf.constant(labels)
    optimizer = keras.optimizers.SGD(_RATE)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer.build(model.trainable_variables)

    @tf.function
    def graph(images, labels):
        with tf.GradientTape() as tape:
            loss = cross_entropy(labels, model(images, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return lambda: float(graph(images, labels))


def _torch_step(twin, images, labels, precision):
    import torch

    twin = twin.train().to(memory_format=torch.channels_last)
    images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(memory_format=torch.channels_last)
    labels = torch.from_numpy(labels)
    optimizer = torch.optim.SGD(twin.parameters(), _RATE)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = torch.nn.functional.cross_entropy(twin(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
