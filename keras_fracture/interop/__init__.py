"""Weights from and to other frameworks: `keras_fracture.interop.torch`, imported on first use."""

import importlib

__all__ = ["convert", "layout", "names", "reading", "torch"]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
