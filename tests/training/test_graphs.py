"""What a training step is made of: nothing that would call a GPU's step back to the host."""

import pytest
import tensorflow as tf

from benchmarks import twins

HOST = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "Print", "PrintV2", "HashTableV2", "LookupTableFindV2"}
SIZES = {
    "compact_cnn": (2, 64), "inception_net": (2, 32), "resnet18": (2, 32), "drn_d_22": (2, 32), "dcgan": (2, 32),
    "efficientnet_lite0": (2, 32), "dense_gan": (2, 32), "unit": (1, 32), "unit_munit": (1, 64),
}  # fmt: skip


def nodes(function, batch):
    """All nodes of a traced function, and of the functions that it calls."""
    definition = function.get_concrete_function(batch).graph.as_graph_def(add_shapes=False)
    return [*definition.node, *(node for called in definition.library.function for node in called.node_def)]


@pytest.mark.parametrize("name", SIZES)
def test_a_training_step_neither_calls_python_nor_asks_for_the_cpu(name):
    batch_size, image_size = SIZES[name]
    found = nodes(*twins.graph(name, twins.networks(name, image_size), batch_size, image_size))
    assert len(found) > 100, "it was traced"
    assert not {node.op for node in found} & HOST
    assert not [node.name for node in found if "CPU" in node.device.upper()]


def test_what_calls_python_is_found():
    @tf.function
    def step(values):
        return tf.cond(
            values[0] > 0, lambda: tf.numpy_function(lambda x: x, [values], tf.float32), lambda: values
        )

    assert {node.op for node in nodes(step, tf.ones(2))} & HOST
