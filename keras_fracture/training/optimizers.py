"""Keras's Adam on TensorFlow's own kernel."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("keras_fracture")
class Adam(keras.optimizers.Adam):
    """Keras's Adam with the same state, whose update is one pass over a weight.

    Keras writes the update as ten operations, each of which goes through memory; for the 27 million weights of
    UNIT, trained on single images, that is a noticeable part of a step. The kernel takes 1 - beta_2 in float32,
    by which its steps differ from Keras's by up to 3e-5 of their length. Falls back to Keras's for sparse
    gradients, AMSGrad and under a `tf.distribute` strategy.

    Args:
        learning_rate: As in `keras.optimizers.Adam`, and so are all others.
    """

    def update_step(self, gradient, variable, learning_rate):
        if self.amsgrad or isinstance(gradient, tf.IndexedSlices) or tf.distribute.has_strategy():
            super().update_step(gradient, variable, learning_rate)
            return
        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        betas = [tf.cast(beta, dtype) for beta in (self.beta_1, self.beta_2)]
        weight, momentum, velocity = (
            state.value if isinstance(state, keras.Variable) else state
            for state in (variable, self._momentums[index], self._velocities[index])
        )
        tf.raw_ops.ResourceApplyAdam(
            var=weight.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=betas[0] ** step,
            beta2_power=betas[1] ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=betas[0],
            beta2=betas[1],
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )
