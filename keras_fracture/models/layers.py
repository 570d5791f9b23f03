"""Layers Keras lacks: kernels that are faster on CPUs, and PyTorch's symmetric padding."""

import functools
import math

import keras
from keras import layers, ops

from keras_fracture.models.biases import add_bias
from keras_fracture.models.convolution import Conv2D, Conv2DTranspose

# He et al. 2015, fan-out as in the ResNet and DRN papers' released code.
HE_FAN_OUT = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"},
}


@keras.saving.register_keras_serializable("keras_fracture")
class FusedBatchNormalization(layers.BatchNormalization):
    """Keras's BatchNormalization, computed by TensorFlow's fused kernel where that is faster.

    Same weights, configuration and outputs as `keras.layers.BatchNormalization`. The moving variance
    follows PyTorch and the fused kernel, not Keras: it averages the *unbiased* batch variance (divided by
    n - 1, n values a channel), so that models trained here and in PyTorch keep equal statistics. Masked,
    synchronised and renormalised inputs are left to Keras and keep its biased variance.

    The fused kernel serves float32 and float16 maps `(batch, height, width, channels)` with weights in float32 on the
    TensorFlow backend. Everything else, and bfloat16 (where the kernel is slower on CPUs), takes Keras's own path.

    In a training step of several replicas (`tf.distribute`) statistics are those of all replicas' values, as in one
    process with the whole batch.
    """

    def call(self, inputs, training=None, mask=None):
        if mask is not None or self.synchronized or self.renorm:
            return super().call(inputs, training=training, mask=mask)
        fused = (
            keras.backend.backend() == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and keras.backend.standardize_dtype(inputs.dtype) in ("float32", "float16")
            and self.variable_dtype == "float32"
        )
        update = bool(training) and self.trainable
        replicas = replica_context() if update else None
        if replicas:
            return self._across(inputs, replicas)
        if fused:
            return self._fused(inputs, update)
        if not update:
            return super().call(inputs, training=False)
        decayed = self.moving_variance * self.momentum  # read before Keras assigns
        outputs = super().call(inputs, training=True)
        kind = keras.backend.result_type(decayed.dtype, "float32")  # float16 counts to 65,504 alone
        count = ops.cast(ops.size(inputs) // inputs.shape[self.axis], kind)
        biased = ops.convert_to_tensor(self.moving_variance) - decayed
        unbiased = biased * ops.cast(count / ops.maximum(count - 1, 1), decayed.dtype)
        self.moving_variance.assign(decayed + unbiased)
        return outputs

    def _fused(self, inputs, update):
        # Keras has no operation for the fused kernel.
        import tensorflow as tf

        mean, variance = ops.convert_to_tensor(self.moving_mean), ops.convert_to_tensor(self.moving_variance)
        empty = tf.zeros((0,), "float32")
        outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=ops.convert_to_tensor(self.gamma) if self.scale else tf.ones_like(mean),
            offset=ops.convert_to_tensor(self.beta) if self.center else tf.zeros_like(mean),
            mean=empty if update else mean,
            variance=empty if update else variance,
            epsilon=self.epsilon,
            exponential_avg_factor=1.0,
            data_format="NHWC",
            is_training=update,
        )
        if update:
            self.moving_mean.assign(mean * self.momentum + batch_mean * (1.0 - self.momentum))
            self.moving_variance.assign(variance * self.momentum + batch_variance * (1.0 - self.momentum))
        return tf.cast(outputs, self.compute_dtype)

    def _across(self, inputs, replicas):
        """Normalises by the values of all replicas; the variance in a second pass, which loses no digits."""
        axes = [axis for axis in range(len(inputs.shape)) if axis != self.axis % len(inputs.shape)]
        values = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        local_count = ops.cast(ops.size(values) // values.shape[self.axis], values.dtype)
        # Shares of an epoch's last batch need not be equal.
        total, count = replicas.all_reduce("SUM", [ops.sum(values, axis=axes, keepdims=True), local_count])
        mean = total / count
        variance = (
            replicas.all_reduce("SUM", ops.sum(ops.square(values - mean), axis=axes, keepdims=True)) / count
        )
        outputs = (values - mean) * ops.rsqrt(variance + self.epsilon)
        shape = ops.shape(mean)
        if self.scale:
            outputs = outputs * ops.reshape(ops.cast(self.gamma, values.dtype), shape)
        if self.center:
            outputs = outputs + ops.reshape(ops.cast(self.beta, values.dtype), shape)
        unbiased = variance * count / ops.maximum(count - 1, 1)
        for moving, statistic in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            statistic = ops.cast(ops.reshape(statistic, (-1,)), moving.dtype)
            moving.assign(moving * self.momentum + statistic * (1.0 - self.momentum))
        return ops.cast(outputs, self.compute_dtype)


def replica_context():
    """TensorFlow's context of a step of several replicas, else None."""
    if keras.backend.backend() != "tensorflow":
        return None
    # Keras does not tell in which replica a layer is called.
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context and context.num_replicas_in_sync > 1 else None


def batch_norm(**kwargs):
    """Returns BatchNormalization with PyTorch's constants: momentum 0.9 (there 0.1), epsilon 1e-5."""
    return FusedBatchNormalization(momentum=0.9, epsilon=1e-5, **kwargs)


def _pad(images, low, high):
    return ops.pad(images, ((0, 0), (low, high), (low, high), (0, 0)))


def _strided(size, window, stride, padding):
    return None if size is None else (size + 2 * padding - window) // stride + 1


@keras.saving.register_keras_serializable("keras_fracture")
class PaddedConv2D(Conv2D):
    """Conv2D with `dilation * (kernel_size - 1) // 2` zeros on every side, whatever the stride.

    Keras's "same" pads a strided convolution on the right and bottom first (k3s2 on an even size: 0 before,
    1 after), which shifts the image against PyTorch's. Takes and gives maps
    `(batch, height, width, channels)`.

    Args:
        filters: Output channels.
        kernel_size: Odd side of the square window.
        strides: 1 or more, the same for both axes.
        dilation_rate: Distance between taps, the same for both axes.
        **kwargs: As for `keras.layers.Conv2D`; `padding` is not one of them.
    """

    def __init__(self, filters, kernel_size, strides=1, dilation_rate=1, **kwargs):
        kwargs.pop("padding", None)  # get_config of the base class carries it
        super().__init__(
            filters, kernel_size, strides=strides, dilation_rate=dilation_rate, padding="valid", **kwargs
        )
        self.margin = self.dilation_rate[0] * (self.kernel_size[0] - 1) // 2

    def call(self, inputs, training=False):
        return super().call(
            _pad(inputs, self.margin, self.margin) if self.margin else inputs, training=training
        )

    def compute_output_shape(self, input_shape):
        window = self.dilation_rate[0] * (self.kernel_size[0] - 1) + 1
        sides = [_strided(side, window, self.strides[0], self.margin) for side in input_shape[1:3]]
        return (input_shape[0], *sides, self.filters)


@keras.saving.register_keras_serializable("keras_fracture")
class DilatedConv2D(Conv2D):
    """Keras's Conv2D of stride 1 and "same" padding, dilated by the convolution kernel itself.

    Keras, through `tf.nn.convolution`, cuts the maps into `dilation_rate ** 2` smaller ones with wider margins
    and joins what comes out: a step of DRN-D-22 takes a fifth longer. Same weights, configuration and outputs.
    Where the kernel has no gradient (on CPUs in float64, without oneDNN, or rewritten to a bfloat16 that they do not
    compute in), this takes Keras's path.
    """

    def convolution_op(self, inputs, kernel):
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if keras.backend.backend() != "tensorflow":
            return super().convolution_op(inputs, kernel)
        # Keras's operation is the one that cuts the maps up.
        import tensorflow as tf

        # What graphs are rewritten to counts too: bfloat16 has no such kernel on CPUs that do not compute in it.
        rewrites = sorted(tf.config.optimizer.get_experimental_options().items())
        if not _dilation_has_gradient(dtype, tuple(rewrites)):
            return super().convolution_op(inputs, kernel)
        return tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME", dilations=self.dilation_rate)


@functools.cache
def _dilation_has_gradient(dtype, rewrites):
    """Whether graphs can train TensorFlow's own dilated convolution here, under these options of the optimiser."""
    # Only a trial tells, and it is TensorFlow's own kernel that is tried.
    import tensorflow as tf

    @tf.function
    def gradient(kernel):
        return tf.gradients(
            tf.nn.conv2d(tf.ones((1, 4, 4, 1), dtype), kernel, strides=1, padding="SAME", dilations=2), kernel
        )

    try:
        with tf.init_scope():
            gradient(tf.ones((3, 3, 1, 1), dtype))
    except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError):
        return False
    return True


@keras.saving.register_keras_serializable("keras_fracture")
class PaddedMaxPooling2D(layers.MaxPooling2D):
    """MaxPooling2D 3x3, stride 2, with one zero on every side: only for maps without negatives (ReLU's)."""

    def __init__(self, pool_size=3, strides=2, **kwargs):
        kwargs.pop("padding", None)
        super().__init__(pool_size, strides=strides, padding="valid", **kwargs)
        self.margin = (self.pool_size[0] - 1) // 2

    def call(self, inputs):
        return super().call(_pad(inputs, self.margin, self.margin))

    def compute_output_shape(self, input_shape):
        sides = [_strided(s, self.pool_size[0], self.strides[0], self.margin) for s in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[3])


@keras.saving.register_keras_serializable("keras_fracture")
class ReflectConv2D(PaddedConv2D):
    """PaddedConv2D that mirrors maps at their border instead of adding zeros; for even kernels too.

    It adds `(kernel_size - 1) // 2` pixels on every side, so maps must be larger than that.
    """

    def call(self, inputs, training=False):
        sides = (self.margin, self.margin)
        maps = ops.pad(inputs, ((0, 0), sides, sides, (0, 0)), mode="reflect")
        return Conv2D.call(self, maps, training=training)


@keras.saving.register_keras_serializable("keras_fracture")
class NearestUpSampling2D(layers.Layer):
    """What `UpSampling2D` does, each value four times, with a height and a width that TFLite knows, too."""

    def call(self, maps):
        _, height, width, channels = maps.shape
        rows = ops.reshape(ops.concatenate([maps, maps], axis=3), (-1, height, 2 * width * channels))
        return ops.reshape(ops.concatenate([rows, rows], axis=2), (-1, 2 * height, 2 * width, channels))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *(2 * side for side in input_shape[1:3]), input_shape[3])


@keras.saving.register_keras_serializable("keras_fracture")
class CroppedConv2DTranspose(Conv2DTranspose):
    """Conv2DTranspose 3x3, stride 2, that doubles a map as PyTorch's with padding 1 and output_padding 1 does.

    Keras's "same" cuts off the last row and column of what "valid" gives, PyTorch the first.
    """

    def __init__(self, filters, kernel_size=3, strides=2, **kwargs):
        kwargs.pop("padding", None)
        super().__init__(filters, kernel_size, strides=strides, padding="valid", **kwargs)

    def call(self, inputs, training=False):
        maps = super().call(inputs, training=training)
        # A slice, whose gradient is padding; that of [:, 1:, 1:] takes ten times as long.
        return ops.slice(
            maps, (0, 1, 1, 0), (ops.shape(maps)[0], *self.compute_output_shape(inputs.shape)[1:])
        )

    def compute_output_shape(self, input_shape):
        sides = [side and 2 * side for side in input_shape[1:3]]
        return (input_shape[0], *sides, self.filters)


@keras.saving.register_keras_serializable("keras_fracture")
class InstanceNormalization(layers.Layer):
    """Each channel of each sample less its mean, over its deviation (biased, epsilon 1e-5): no weights.

    `GroupNormalization(groups=-1, center=False, scale=False)` in a fifth of the operations.
    """

    def call(self, inputs):
        maps = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        maps = maps - ops.mean(maps, axis=(1, 2), keepdims=True)
        scale = ops.rsqrt(ops.mean(ops.square(maps), axis=(1, 2), keepdims=True) + 1e-5)
        return ops.cast(maps * scale, inputs.dtype)


@keras.saving.register_keras_serializable("keras_fracture")
class SampleNormalization(layers.GroupNormalization):
    """Each sample less its mean, over its standard deviation plus epsilon, then a gain and a shift a channel.

    Source: the layer normalisation in the code of MUNIT (Huang et al. 2018). Unlike GroupNormalization of one
    group it divides by the unbiased deviation (n - 1), adds epsilon to that and not to the variance, and gains
    start uniform between 0 and 1.
    """

    def __init__(self, groups=1, epsilon=1e-5, gamma_initializer=None, **kwargs):
        start = gamma_initializer or keras.initializers.RandomUniform(0.0, 1.0)
        super().__init__(groups=groups, epsilon=epsilon, gamma_initializer=start, **kwargs)

    def call(self, inputs):
        maps = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        maps = maps - ops.mean(maps, axis=(1, 2, 3), keepdims=True)
        degrees = math.prod(inputs.shape[1:]) - 1
        variance = ops.sum(maps * maps, axis=(1, 2, 3), keepdims=True) / degrees
        # The root of 0 has no derivative, and a blank image has no variance.
        maps = maps / (ops.sqrt(ops.maximum(variance, 1e-12)) + self.epsilon)
        return ops.cast(
            maps * ops.cast(self.gamma, maps.dtype) + ops.cast(self.beta, maps.dtype), inputs.dtype
        )


def conv(filters, kernel_size, strides=1, dilation=1, use_bias=False, initializer=HE_FAN_OUT, **kwargs):
    """Returns a convolution padded as PyTorch's `padding=dilation * (kernel_size - 1) // 2`.

    At stride 1 Keras's "same" is that already and needs no separate padding.
    """
    kwargs |= {"use_bias": use_bias, "kernel_initializer": keras.initializers.get(initializer)}
    if strides == 1:
        kind = Conv2D if dilation == 1 else DilatedConv2D
        return kind(filters, kernel_size, padding="same", dilation_rate=dilation, **kwargs)
    return PaddedConv2D(filters, kernel_size, strides=strides, dilation_rate=dilation, **kwargs)


@keras.saving.register_keras_serializable("keras_fracture")
class NarrowConv2D(layers.Conv2D):
    """Conv2D with few filters, such as a generator's last: same weights and outputs, twice as fast on CPUs.

    oneDNN is slow where a convolution has one to three filters. A convolution with the kernel's rows laid out
    as further filters, and a sum of its outputs shifted by a row each, is the same function. Stride 1, padding
    "same", odd kernels and channels last only.
    """

    def call(self, inputs):
        rows, columns, channels, filters = self.kernel.shape
        height, half = inputs.shape[1], rows // 2
        kernel = ops.transpose(ops.convert_to_tensor(self.kernel), (1, 2, 0, 3))
        kernel = ops.reshape(kernel, (1, columns, channels, rows * filters))
        parts = ops.conv(inputs, kernel, strides=1, padding="same")
        parts = ops.pad(parts, ((0, 0), (half, half), (0, 0), (0, 0)))
        outputs = sum(
            parts[:, row : row + height, :, row * filters : (row + 1) * filters] for row in range(rows)
        )
        return self.activation(add_bias(outputs, self.bias) if self.use_bias else outputs)


@keras.saving.register_keras_serializable("keras_fracture")
class SpectralConv2D(layers.Conv2D):
    """Conv2D with its kernel divided by its spectral norm, the largest singular value of `(taps, filters)`.

    Source: Miyato et al. 2018, Algorithm 1: each call in training takes one step of the power iteration, and
    gradients pass through the norm. Keras's `SpectralNormalization` overwrites the kernel instead: after an
    update by the optimizer the norm is no longer 1, and images of one step meet different kernels.
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.singular = self.add_weight(
            shape=(self.filters,), initializer="random_normal", trainable=False, name="singular"
        )

    def call(self, inputs, training=False):
        kernel = ops.convert_to_tensor(self.kernel)
        flat, right = ops.reshape(kernel, (-1, self.filters)), ops.convert_to_tensor(self.singular)
        left = ops.stop_gradient(ops.normalize(ops.matmul(flat, right)))
        if training:
            right = ops.stop_gradient(ops.normalize(ops.matmul(left, flat)))
            self.singular.assign(right)
        outputs = self.convolution_op(inputs, kernel / ops.sum(left * ops.matmul(flat, ops.normalize(right))))
        return self.activation(add_bias(outputs, self.bias) if self.use_bias else outputs)

    def save_own_variables(self, store):  # Conv2D saves its kernel and bias and nothing else
        super().save_own_variables(store)
        store["singular"] = self.singular

    def load_own_variables(self, store):
        super().load_own_variables(store)
        self.singular.assign(store["singular"])


def told(training):
    """The argument `training` of a layer's call, or none where it is None.

    Without it Keras tells a layer what the model is called with within whose `call` it is, or what a layer before it in
    that call was told outright, and outside of any False; a None that is passed on would be taken for an answer.
    """
    return {} if training is None else {"training": training}


def run_through(parts, maps, training=None):
    """Returns what comes out of layers applied one after another; `training` as in `told`."""
    for part in parts:
        maps = part(maps, **told(training))
    return maps
