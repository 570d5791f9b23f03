"""What a training step does so that several replicas together equal one process with the whole batch.

Shares of a batch need not be equal: Keras cuts an epoch's last one, of 7 images for two replicas, into 4 and 3. Without
a strategy, and in a step of one replica, all of it does nothing.
"""

import tensorflow as tf

from keras_fracture.models.layers import replica_context


def drawn(draw, shape, axis=0):
    """Random numbers for a replica's rows: drawn for the global batch, as one process draws them, and cut.

    Args:
        draw: Function of a shape that returns a tensor.
        shape: Of this replica's numbers.
        axis: That of the rows.
    """
    context = replica_context()
    if context is None:
        return draw(shape)
    counts = tf.cast(_counts(context, shape[axis]), "int32")
    whole = draw((*shape[:axis], tf.reduce_sum(counts), *shape[axis + 1 :]))
    first = tf.reduce_sum(counts[: context.replica_id_in_sync_group])
    return tf.gather(whole, first + tf.range(shape[axis]), axis=axis)


def weight_of(count):
    """What a mean over this replica's `count` rows weighs: 1 where shares are equal; None without other replicas."""
    context = replica_context()
    if context is None:
        return None
    counts = _counts(context, count)
    return counts[context.replica_id_in_sync_group] * context.num_replicas_in_sync / tf.reduce_sum(counts)


def share_of(loss, weight=None):
    """This replica's part of a loss or decay whose gradients the optimizers sum over replicas.

    Args:
        loss: Scalar tensor or float.
        weight: By `weight_of`, where it is a mean over rows.
    """
    context = replica_context()
    if context is None:
        return loss
    weighted = loss if weight is None else tf.math.multiply_no_nan(loss, tf.cast(weight, loss.dtype))
    return weighted / context.num_replicas_in_sync


def mean(value, weight):
    """The mean of a tensor over replicas, each of which weighs what `weight_of` says."""
    context = replica_context()
    return value if context is None else context.all_reduce("MEAN", tf.math.multiply_no_nan(value, weight))


def track(tracker, value, weight):
    """Updates a `keras.metrics.Mean`, in which a replica that has no rows, whose mean is NaN, counts nothing."""
    tracker.update_state(value if weight is None else tf.where(weight > 0, value, 0.0), weight)


def rows(count):
    """Rows of the global batch, given those of this replica."""
    context = replica_context()
    return count if context is None else tf.reduce_sum(_counts(context, count))


def _counts(context, count):
    """Rows of each replica, float32: collective operations know that on every device."""
    number, replicas = context.replica_id_in_sync_group, context.num_replicas_in_sync
    return context.all_reduce("SUM", tf.one_hot(number, replicas) * tf.cast(count, "float32"))
