"""The dtype policy of a run, and bfloat16 below it."""

import contextlib

import keras

from keras_fracture.errors import ModelError

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
_ONEDNN = "auto_mixed_precision_onednn_bfloat16"


@contextlib.contextmanager
def using(policy):
    """Builds and trains models under a Keras dtype policy, and puts the former one back.

    Args:
        policy: One of `POLICIES`.
    """
    if policy not in POLICIES:
        raise ModelError(f"precision must be one of {', '.join(POLICIES)}. Received: {policy!r}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def onednn_bfloat16(on=True):
    """Lets TensorFlow compute the convolutions and matrix products of float32 graphs in bfloat16 on CPUs.

    TensorFlow rewrites the graph of every `tf.function`, so also of `fit`; variables, BatchNormalization's
    statistics and losses stay float32, and the dtype policy stays as it is. It pays on CPUs with AVX512_BF16
    or AMX: a training step of ResNet-18 (224x224, batch 16) took 300 ms instead of 461 on two AVX-512 cores,
    and 401 under the policy mixed_bfloat16. CPUs with AVX2 alone have no bfloat16 arithmetic, and
    TensorFlow rewrites there as well: leave it off. Eager calls are not rewritten.

    The setting holds for the whole process, from the next call of a function on, traced before or not.

    Args:
        on: Whether to; other experimental options of the graph optimiser are kept.

    Returns:
        Whether it was on before.
    """
    import tensorflow as tf

    options = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(options | {_ONEDNN: bool(on)})
    return options.get(_ONEDNN, False)
