"""Convolutions whose kernels' gradients take the fastest of TensorFlow's ways on CPUs, and none that is broken."""

import functools

import keras
from keras import layers, ops

from keras_fracture.machine import BFLOAT16, cpu_fields
from keras_fracture.models.biases import add_bias, summed_in_half, without_gpu

_MOST = 8  # side of the smaller maps up to which products are faster,
_LEAST = (128, 256)  # and channels and filters, in either order, from which they are
_NARROW = 16  # channels below which oneDNN's gradient of a strided 1x1 kernel writes where it must not


@keras.saving.register_keras_serializable("keras_fracture")
class Conv2D(layers.Conv2D):
    """Keras's Conv2D: same weights, configuration and outputs, a faster gradient in bfloat16 on CPUs; see `add_bias`.

    oneDNN's kernel for the gradient of many small maps with regard to a convolution's kernel needs threads that wait
    for each other, which TensorFlow's do not: 3x3 of 512 channels on 7x7 maps, 32 images, takes 52 ms, as a product of
    matrices for each of the kernel's taps 23. In float32 the two are alike.

    A strided 1x1 convolution of fewer than 16 channels takes every n-th pixel first and has no stride. oneDNN's float32
    gradient with regard to its kernel otherwise overwrites other memory (github.com/uxlfoundation/oneDNN/issues/6035;
    here TensorFlow 2.21, AVX-512, 8 channels, 48x48): the process ends, hangs, or goes on with wrong numbers.
    """

    def convolution_op(self, inputs, kernel):
        strided = tuple(self.kernel_size) == (1, 1) and max(self.strides) > 1
        if not (strided and kernel.shape[2] < _NARROW and self.data_format == "channels_last"):
            return super().convolution_op(inputs, kernel)
        rows, columns = self.strides
        return ops.conv(inputs[:, ::rows, ::columns], kernel, 1, self.padding)

    def call(self, inputs, training=False):
        if training and _is_plain(self) and _by_products(inputs, self.kernel, self.strides[0]):
            outputs = convolution(inputs, self.kernel, self.strides[0], self.padding, self.dilation_rate[0])
        elif self.use_bias and summed_in_half(inputs.dtype):
            outputs = self.convolution_op(inputs, self.kernel)
        else:
            return super().call(inputs)
        return self.activation(add_bias(outputs, self.bias) if self.use_bias else outputs)


@keras.saving.register_keras_serializable("keras_fracture")
class Conv2DTranspose(layers.Conv2DTranspose):
    """Keras's Conv2DTranspose: same weights, configuration and outputs, a faster gradient on CPUs; see `add_bias`.

    Without AVX-512, oneDNN takes twice as long as TensorFlow's own kernel for a wide kernel's gradient (2.9 against
    1.7 s at 512 and 256 channels, 64x64, batch 32), but half as long for all else. TensorFlow gives its own the
    convolutions whose padding is in numbers, so this one gradient is asked for in that way. In bfloat16 it is taken
    by products, as `Conv2D`'s. Padding other than "same" is left to Keras.
    """

    def call(self, inputs, training=False):
        by_products = _by_products(inputs, self.kernel)
        plain = _is_plain(self) and self.padding == "same" and self.dilation_rate == (1, 1)
        if training and plain and (by_products or _own_kernels(inputs.dtype)):
            outputs = transposed_convolution(inputs, self.kernel, self.strides[0], by_products)
        elif self.use_bias and summed_in_half(inputs.dtype):
            outputs = ops.conv_transpose(
                inputs,
                self.kernel,
                self.strides,
                self.padding,
                self.output_padding,
                self.data_format,
                self.dilation_rate,
            )
        else:
            return super().call(inputs)
        return self.activation(add_bias(outputs, self.bias) if self.use_bias else outputs)


def overwriting_layers(model):
    """Paths of the layers of Keras in a model whose training on this CPU overwrites memory, see `Conv2D`.

    Args:
        model: A built `keras.Model`.
    """
    plain = (layers.Conv2D, layers.Conv2DTranspose)
    return [
        layer.path
        for layer in model._flatten_layers()
        if isinstance(layer, plain)
        and not isinstance(layer, Conv2D)
        and layer.trainable_weights
        and tuple(layer.kernel_size) == (1, 1)
        and max(layer.strides) > 1
        and layer.kernel.shape[2] < _NARROW
        and layer.compute_dtype == "float32"
        and not _in_bfloat16("float32")
        and _overwrites()
    ]


def convolution(maps, kernel, stride=1, padding="same", dilation=1):
    """`tf.nn.conv2d`, the kernel's gradient by `kernel_gradient`.

    Args:
        maps: Floats `(batch, height, width, channels)`, sides known.
        kernel: Floats `(rows, columns, channels, filters)` of the same dtype.
        stride: Of both axes.
        padding: "same" or "valid".
        dilation: Distance between taps on both axes.

    Returns:
        Floats `(batch, height / stride, width / stride, filters)`, as `padding` has it.
    """
    # Keras's operations do not choose how a gradient is computed.
    import tensorflow as tf

    steps, distances = (1, stride, stride, 1), (1, dilation, dilation, 1)
    padding = padding.upper()

    @tf.custom_gradient
    def convolve(maps, kernel):
        outputs = tf.nn.conv2d(maps, kernel, steps, padding, dilations=distances)
        before = [
            _before(side, after, dilation * (window - 1) + 1, stride) if padding == "SAME" else 0
            for side, after, window in zip(maps.shape[1:3], outputs.shape[1:3], kernel.shape, strict=False)
        ]

        def gradient(upstream):
            of_maps = tf.nn.conv2d_transpose(
                upstream, kernel, tf.shape(maps), steps, padding, dilations=distances
            )
            return of_maps, kernel_gradient(maps, upstream, kernel.shape[:2], stride, before, dilation)

        return outputs, gradient

    return convolve(maps, tf.cast(kernel, maps.dtype))


def transposed_convolution(maps, kernel, stride, by_products=False):
    """`tf.nn.conv2d_transpose` of padding "SAME", whose kernel's gradient is not oneDNN's.

    Args:
        maps: Floats `(batch, height, width, channels)`, sides known.
        kernel: Floats `(rows, columns, filters, channels)` of the same dtype.
        stride: Factor on height and width.
        by_products: Whether that gradient is `kernel_gradient`; else TensorFlow's own kernel computes it.

    Returns:
        Floats `(batch, stride * height, stride * width, filters)`.
    """
    import tensorflow as tf

    sides = [stride * side for side in maps.shape[1:3]]
    around = [divmod(max(window - stride, 0), 2) for window in kernel.shape[:2]]
    margins = [0, 0, *(n for half, odd in around for n in (half, half + odd)), 0, 0]

    @tf.custom_gradient
    def convolve(maps, kernel):
        shape = (tf.shape(maps)[0], *sides, kernel.shape[2])

        def gradient(upstream):
            of_maps = tf.nn.conv2d(upstream, kernel, stride, "SAME")
            if by_products:
                before = [half for half, _ in around]
                return of_maps, kernel_gradient(upstream, maps, kernel.shape[:2], stride, before)
            return of_maps, tf.raw_ops.Conv2DBackpropFilter(
                input=upstream,
                filter_sizes=kernel.shape,
                out_backprop=maps,
                strides=(1, stride, stride, 1),
                padding="EXPLICIT",
                explicit_paddings=margins,
            )

        return tf.nn.conv2d_transpose(maps, kernel, shape, stride, "SAME"), gradient

    return convolve(maps, tf.cast(kernel, maps.dtype))


def kernel_gradient(maps, upstream, window, stride, before, dilation=1):
    """A convolution's gradient with regard to its kernel, a product of matrices for each tap.

    Args:
        maps: What was convolved, `(batch, height, width, channels)`, sides known.
        upstream: The gradient with regard to what came out, `(batch, rows, columns, filters)`, sides known.
        window: Rows and columns of the kernel.
        stride: Of both axes.
        before: Zeros above and left of the maps.
        dilation: Distance between taps on both axes.

    Returns:
        `(*window, channels, filters)`.
    """
    (height, width), channels, filters = upstream.shape[1:3], maps.shape[-1], upstream.shape[-1]
    # Padded to whole strides, and each axis split by them, the pixels that one tap meets are a plain slice.
    parted, margins = [], []
    for side, zeros, after, taps in zip(maps.shape[1:3], before, (height, width), window, strict=True):
        needed = max(side + zeros, (after - 1) * stride + dilation * (taps - 1) + 1)
        strides = -(-needed // stride)
        parted += [strides, stride]
        margins.append((zeros, strides * stride - zeros - side))
    if any(map(any, margins)):
        maps = ops.pad(maps, ((0, 0), *margins, (0, 0)))
    count = ops.shape(maps)[0]
    maps = ops.reshape(maps, (-1, *parted, channels))
    upstream = ops.reshape(upstream, (-1, filters))
    products = []
    for row in range(0, dilation * window[0], dilation):
        for column in range(0, dilation * window[1], dilation):
            start = (0, row // stride, row % stride, column // stride, column % stride, 0)
            met = ops.slice(maps, start, (count, height, 1, width, 1, channels))
            products.append(ops.matmul(ops.transpose(ops.reshape(met, (-1, channels))), upstream))
    return ops.reshape(ops.stack(products), (*window, channels, filters))


def _before(side, after, window, stride):
    """Zeros that padding "SAME" puts before the pixels."""
    return max((after - 1) * stride + window - side, 0) // 2


def _is_plain(layer):
    """Whether both axes have one stride and one dilation, and channels come last, in a single group."""
    alike = len(set(layer.strides)) == len(set(layer.dilation_rate)) == 1
    whole = getattr(layer, "groups", 1) == 1 and getattr(layer, "output_padding", None) is None
    return alike and whole and layer.data_format == "channels_last"


def _by_products(maps, kernel, stride=1):
    """Whether a gradient with regard to this kernel is fastest by products of matrices."""
    rows, columns, *channels = kernel.shape
    small = all(side is not None and side // stride <= _MOST for side in maps.shape[1:3])
    wide = min(channels) >= _LEAST[0] and max(channels) >= _LEAST[1]
    return (
        small and wide and rows == columns > 1 and _in_bfloat16(keras.backend.standardize_dtype(maps.dtype))
    )


def _in_bfloat16(dtype):
    """Whether convolutions of this dtype are computed in bfloat16, by a CPU that has such arithmetic."""
    if keras.backend.backend() != "tensorflow" or dtype not in ("float32", "bfloat16"):
        return False
    # Keras does not tell the options of TensorFlow's graph optimiser.
    import tensorflow as tf

    rewritten = tf.config.optimizer.get_experimental_options().get("auto_mixed_precision_onednn_bfloat16")
    return bool(dtype == "bfloat16" or rewritten) and without_gpu() and bool(BFLOAT16 & _flags())


@functools.cache
def _own_kernels(dtype):
    """Whether TensorFlow's own kernel for a convolution's gradient is the faster one: float32, AVX2 at most."""
    if keras.backend.backend() != "tensorflow" or keras.backend.standardize_dtype(dtype) != "float32":
        return False
    return without_gpu() and "avx512f" not in _flags()


def _overwrites():
    """Whether oneDNN's kernels for AVX-512 train float32 here."""
    return keras.backend.backend() == "tensorflow" and without_gpu() and "avx512f" in _flags()


@functools.cache
def _flags():
    return set(cpu_fields().get("flags", "").split())
