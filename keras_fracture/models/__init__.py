"""Architectures, and nothing else: one a file, logits out, `create(name)` the only registry."""

from keras_fracture.models.compact_cnn import CompactCNN
from keras_fracture.models.dense_gan import DenseDiscriminator, DenseGenerator
from keras_fracture.models.registry import create, names

__all__ = ["CompactCNN", "DenseDiscriminator", "DenseGenerator", "create", "names"]
