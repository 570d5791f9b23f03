"""What a training step does so that several replicas together equal one process with the whole batch.

Without a strategy, and in a step of one replica, all of it does nothing.
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
    rows = shape[axis]
    whole = draw((*shape[:axis], rows * context.num_replicas_in_sync, *shape[axis + 1 :]))
    first = context.replica_id_in_sync_group * rows
    return tf.gather(whole, tf.range(first, first + rows), axis=axis)


def share_of(loss):
    """This replica's part of a loss or decay whose gradients the optimizers sum over replicas."""
    context = replica_context()
    return loss if context is None else loss / context.num_replicas_in_sync


def mean(value):
    """The mean of a tensor over replicas."""
    context = replica_context()
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.MEAN, value)


def rows(count):
    """Rows of the global batch, given those of this replica."""
    context = replica_context()
    return count if context is None else count * context.num_replicas_in_sync
