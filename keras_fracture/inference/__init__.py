"""Trained models applied to files and data sets: predict, evaluate, generate, explain.

The functions are imported on first use, since they import TensorFlow.
"""

import importlib

_HOMES = {"generate": "generating", "predict": "predicting", "evaluate": "scoring", "occlusion": "heat"}
__all__ = ["evaluate", "generate", "occlusion", "predict"]


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
