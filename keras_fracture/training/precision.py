"""The dtype policy of a run."""

import contextlib

import keras

from keras_fracture.errors import ModelError

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


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
