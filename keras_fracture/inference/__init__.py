"""Trained models applied to files and data sets: predict, evaluate, generate, explain.

The functions are imported on first use, since they import TensorFlow.
"""

from keras_fracture.lazy import on_first_use

_HOMES = {"generate": "generating", "predict": "predicting", "evaluate": "scoring", "occlusion": "heat"}
__all__ = ["evaluate", "generate", "occlusion", "predict"]

__getattr__, __dir__ = on_first_use(__name__, __all__, _HOMES)
