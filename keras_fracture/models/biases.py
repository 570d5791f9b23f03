"""Biases whose gradients are right in half precision on CPUs, where TensorFlow's own are not."""

import functools

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("keras_fracture")
class Dense(layers.Dense):
    """Keras's Dense: same weights, configuration and outputs, but for `add_bias`."""

    def call(self, inputs, training=None):
        if not self.use_bias or not summed_in_half(self.compute_dtype):
            return super().call(inputs, training=training)
        return self.activation(add_bias(ops.matmul(inputs, self.kernel), self.bias))


def add_bias(outputs, bias):
    """Outputs `(..., filters)` with a bias a filter added, in the dtype of the outputs.

    The gradient of TensorFlow's own addition of biases, which Keras's layers take, is summed up in the outputs' dtype
    on CPUs: of 131,072 ones in bfloat16 the sum is 256, from where on adding one changes nothing. Here it is summed up
    in float32.
    """
    if not summed_in_half(outputs.dtype):
        return ops.add(outputs, bias)
    # Keras's operations do not choose how a gradient is computed.
    import tensorflow as tf

    @tf.custom_gradient
    def add(outputs, bias):
        def gradient(upstream):
            summed = tf.reduce_sum(tf.cast(upstream, "float32"), range(len(upstream.shape) - 1))
            return upstream, tf.cast(summed, bias.dtype)

        return outputs + bias, gradient

    return add(outputs, tf.cast(bias, outputs.dtype))


def summed_in_half(dtype):
    """Whether TensorFlow's gradient of biases of this dtype is summed up in half precision here."""
    half = keras.backend.standardize_dtype(dtype) in ("bfloat16", "float16")
    return half and keras.backend.backend() == "tensorflow" and without_gpu()


@functools.cache
def without_gpu():
    """Whether TensorFlow computes on CPUs alone."""
    # Keras does not list the devices that TensorFlow computes on.
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")
