"""The small model that most tests here load into, and its PyTorch twin."""

import pytest

from keras_fracture import models

NARROW = (4, 6, 8, 8, 12, 16, 16, 16)  # widths of a DRN


def tiny(**arguments):
    return models.create("resnet18", width=4, depths=(1, 1, 1, 1), image_size=32, num_classes=2, **arguments)


def tiny_twin(seed=0):
    import torch

    from tests.torch_twins.resnet import ResNet

    torch.manual_seed(seed)
    return ResNet((1, 1, 1, 1), False, width=4)


@pytest.fixture(scope="module")
def victim():
    return tiny()
