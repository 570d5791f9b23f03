"""The precision of a run: Keras's dtype policies, and bfloat16 below them."""

import contextlib
import os

import keras

from keras_fracture.errors import ModelError
from keras_fracture.machine import BFLOAT16, cpu_fields

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
CHOICES = ("auto", *POLICIES, "onednn_bfloat16")
_ONEDNN = "auto_mixed_precision_onednn_bfloat16"
# What TensorFlow would rewrite and must not, by the list that names it; it reads the variables with each graph.
_LIST = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_{}LIST_REMOVE"
_KEPT_IN_FLOAT32 = {
    # Between two convolutions or products: bfloat16 has no number between 0.9961 and 1, so that 1 - p of a focal loss
    # becomes 0, and with an exponent of 0 its gradient 0 times infinity.
    _LIST.format("INFER"): (
        "Softmax,LogSoftmax,Sigmoid,SigmoidGrad,Softplus,SoftplusGrad,Log,Log1p,Sqrt,RealDiv,Reciprocal,Prod"
    ),
    # Gradients that oneDNN computes three times as fast in float32: EfficientNet-Lite0 (224x224, batch 8) trains on 31
    # images a second, on 21 with them in bfloat16, on 29 all in float32.
    _LIST.format("ALLOW"): "DepthwiseConv2dNativeBackpropFilter,DepthwiseConv2dNativeBackpropInput",
}


def configure(precision="auto"):
    """Sets the precision of all models that are built, and of all graphs that run, from now on.

    "auto" takes what trains fastest without another number to choose. On a CPU with bfloat16 arithmetic (AVX512_BF16 or
    AMX) that is oneDNN's rewrite of float32 graphs, see `onednn_bfloat16`: a step of ResNet-18 (224x224, batch 16)
    took 300 ms, 401 under the policy mixed_bfloat16, 461 in float32. On other CPUs float32. On a GPU
    mixed_bfloat16 from compute capability 8.0 on (Ampere), mixed_float16 from 7.0 on (Volta), else float32.

    Args:
        precision: One of `CHOICES`: "auto", a dtype policy, or "onednn_bfloat16", whose policy is float32.

    Returns:
        What was chosen, one of `CHOICES` but "auto".

    Raises:
        ModelError: No such precision.
    """
    if precision not in CHOICES:
        raise ModelError(f"precision must be one of {', '.join(CHOICES)}. Received: {precision!r}")
    chosen = _fastest() if precision == "auto" else precision
    keras.config.set_dtype_policy("float32" if chosen == "onednn_bfloat16" else chosen)
    onednn_bfloat16(chosen == "onednn_bfloat16")
    return chosen


@contextlib.contextmanager
def using(precision):
    """`configure` for the time of a context, then the former setting; gives what was chosen."""
    policy, rewritten = keras.config.dtype_policy(), onednn_bfloat16(False)
    try:
        yield configure(precision)
    finally:
        keras.config.set_dtype_policy(policy)
        onednn_bfloat16(rewritten)


def _fastest():
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return by_capability(capability)
    return "onednn_bfloat16" if BFLOAT16 & set(cpu_fields().get("flags", "").split()) else "float32"


def by_capability(capability):
    """The policy for a GPU of a compute capability, a pair of ints."""
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


def onednn_bfloat16(on=True):
    """Lets TensorFlow compute the convolutions and matrix products of float32 graphs in bfloat16 on CPUs.

    TensorFlow rewrites the graph of every `tf.function`, so also of `fit`; variables, BatchNormalization's
    statistics, losses and gradients of depthwise convolutions stay float32 (they, softmax, logarithms, quotients and
    roots are taken off TensorFlow's lists of what it rewrites, by environment variables of this process), and the
    dtype policy stays as it is.
    It pays on CPUs with AVX512_BF16 or AMX: a training step of ResNet-18 (224x224, batch 16) took 300 ms instead
    of 461 on two AVX-512 cores, and 401 under the policy mixed_bfloat16. CPUs with AVX2 alone have no bfloat16
    arithmetic, and TensorFlow rewrites there as well: leave it off. Eager calls are not rewritten.

    The setting holds for the whole process, from the next call of a function on, traced before or not.

    Args:
        on: Whether to; other experimental options of the graph optimiser are kept.

    Returns:
        Whether it was on before.
    """
    import tensorflow as tf

    # Named once more than the user may have, at the end, so that taking it away leaves the user's own.
    for variable, kept in _KEPT_IN_FLOAT32.items():
        others = os.environ.get(variable, "").removesuffix(kept).rstrip(",")
        os.environ[variable] = ",".join(filter(None, [others, kept if on else ""]))
    options = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(options | {_ONEDNN: bool(on)})
    return options.get(_ONEDNN, False)


@contextlib.contextmanager
def as_saved():
    """Lets functions within compute by the dtypes that models have: what is measured is what a SavedModel answers.

    Features too, which are kept on disk, must not depend on who asks for them first.
    """
    rewritten = onednn_bfloat16(False)
    try:
        yield
    finally:
        onednn_bfloat16(rewritten)
