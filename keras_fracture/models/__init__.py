"""Architectures, and nothing else: one a file, logits out, `create(name)` the only registry."""

from keras_fracture.models.compact_cnn import CompactCNN
from keras_fracture.models.dcgan import DCGANDiscriminator, DCGANGenerator
from keras_fracture.models.dense_gan import DenseDiscriminator, DenseGenerator
from keras_fracture.models.drn import DRN
from keras_fracture.models.efficientnet_lite import EfficientNetLite
from keras_fracture.models.ensemble import Ensemble
from keras_fracture.models.inception import InceptionNet
from keras_fracture.models.registry import arguments, create, names
from keras_fracture.models.resnet import ResNet
from keras_fracture.models.unit import UNIT, UNITDiscriminator

__all__ = [
    "DRN",
    "UNIT",
    "CompactCNN",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DenseDiscriminator",
    "DenseGenerator",
    "EfficientNetLite",
    "Ensemble",
    "InceptionNet",
    "ResNet",
    "UNITDiscriminator",
    "arguments",
    "create",
    "load",
    "names",
]


def __getattr__(name):
    if name == "load":  # from a SavedModel, which this room knows nothing of
        from keras_fracture.serving.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
