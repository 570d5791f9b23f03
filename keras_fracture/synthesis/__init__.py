"""Findings painted into healthy X-rays, and synthetic images that can always be told from real ones."""

from keras_fracture.synthesis.blending import blend, blend_graph, mix, weights
from keras_fracture.synthesis.filtering import above_threshold
from keras_fracture.synthesis.painting import copy_paste, paint
from keras_fracture.synthesis.patches import Patches, healthy_patches, lesion_patches, lesion_windows
from keras_fracture.synthesis.records import TABLE, describe, encode, file_name, read, write
from keras_fracture.synthesis.resampling import cut
from keras_fracture.synthesis.shortcut import border

__all__ = [
    "TABLE",
    "Patches",
    "above_threshold",
    "blend",
    "blend_graph",
    "border",
    "copy_paste",
    "cut",
    "describe",
    "encode",
    "file_name",
    "healthy_patches",
    "lesion_patches",
    "lesion_windows",
    "mix",
    "paint",
    "read",
    "weights",
    "write",
]


def __dir__():
    return sorted(__all__)
