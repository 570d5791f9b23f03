"""A transposed convolution whose kernel's gradient takes the faster of TensorFlow's two ways on CPUs."""

import functools

import keras
from keras import layers

from keras_fracture.machine import cpu_fields


@keras.saving.register_keras_serializable("keras_fracture")
class Conv2DTranspose(layers.Conv2DTranspose):
    """Keras's Conv2DTranspose of padding "same": same weights, configuration and outputs, a faster gradient on CPUs.

    Without AVX-512, oneDNN takes twice as long as TensorFlow's own kernel for a wide kernel's gradient (2.9 against
    1.7 s at 512 and 256 channels, 64x64, batch 32), but half as long for all else. TensorFlow gives its own the
    convolutions whose padding is in numbers, so this one gradient is asked for in that way.
    """

    def call(self, inputs, training=False):
        if not training or not _own_kernels(inputs.dtype) or self.padding != "same":
            return super().call(inputs)
        outputs = transposed_convolution(inputs, self.kernel, self.strides[0])
        return self.activation(outputs + self.bias if self.use_bias else outputs)


def transposed_convolution(maps, kernel, stride):
    """`tf.nn.conv2d_transpose` of padding "SAME", the kernel's gradient by TensorFlow's own kernel.

    Args:
        maps: float32 `(batch, height, width, channels)`, sides known.
        kernel: float32 `(rows, columns, filters, channels)`.
        stride: Factor on height and width.

    Returns:
        float32 `(batch, stride * height, stride * width, filters)`.
    """
    # Keras's operations do not choose the kernel of a gradient.
    import tensorflow as tf

    sides = [stride * side for side in maps.shape[1:3]]
    around = [divmod(max(window - stride, 0), 2) for window in kernel.shape[:2]]
    margins = [0, 0, *(n for half, odd in around for n in (half, half + odd)), 0, 0]

    @tf.custom_gradient
    def convolve(maps, kernel):
        shape = (tf.shape(maps)[0], *sides, kernel.shape[2])

        def gradient(upstream):
            return tf.nn.conv2d(upstream, kernel, stride, "SAME"), tf.raw_ops.Conv2DBackpropFilter(
                input=upstream,
                filter_sizes=kernel.shape,
                out_backprop=maps,
                strides=(1, stride, stride, 1),
                padding="EXPLICIT",
                explicit_paddings=margins,
            )

        return tf.nn.conv2d_transpose(maps, kernel, shape, stride, "SAME"), gradient

    return convolve(maps, tf.convert_to_tensor(kernel))


@functools.cache
def _own_kernels(dtype):
    """Whether TensorFlow's own kernel for a convolution's gradient is the faster one: float32, AVX2 at most."""
    if keras.backend.backend() != "tensorflow" or keras.backend.standardize_dtype(dtype) != "float32":
        return False
    # Keras does not list the devices that TensorFlow computes on.
    import tensorflow as tf

    return (
        not tf.config.list_physical_devices("GPU") and "avx512f" not in cpu_fields().get("flags", "").split()
    )
