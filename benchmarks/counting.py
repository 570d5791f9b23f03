"""How much arithmetic and memory traffic a training step of a PyTorch twin asks for."""

import math


def work(step):
    """What a step of the twins asks of a machine.

    Args:
        step: What `twins.theirs` returned.

    Returns:
        A dict: `operations`, the floating-point ones of convolutions and matrix products, a multiplication and an
        addition being two; `bytes` that all kernels together read and write if each goes to memory; `kernels`, how
        many there are.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode

    class Traffic(TorchDispatchMode):
        bytes = kernels = 0

        def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
            outputs = kernel(*args, **(kwargs or {}))
            if not kernel.is_view:
                leaves = tree_leaves((args, kwargs, outputs))
                tensors = [leaf for leaf in leaves if hasattr(leaf, "element_size")]
                self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
                self.kernels += 1
            return outputs

    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _operations_of_gradients}
    )
    with Traffic() as traffic, counter:
        step()
    return {"operations": counter.get_total_flops(), "bytes": traffic.bytes, "kernels": traffic.kernels}


def _operations_of_gradients(
    upstream, maps, kernel, _bias, _stride, _padding, _dilation, transposed, *rest, **_kwargs
):
    """Each gradient of a convolution takes as many as itself; PyTorch's own formula counts grouped ones as full."""
    _output_padding, _groups, wanted = rest
    places = math.prod((maps if transposed else upstream)[2:])
    return 2 * maps[0] * places * math.prod(kernel) * sum(wanted[:2])
