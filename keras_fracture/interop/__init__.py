"""Weights from and to other frameworks: `keras_fracture.interop.torch`, imported on first use."""

from keras_fracture.lazy import on_first_use

__all__ = ["convert", "layout", "names", "reading", "torch"]

__getattr__, __dir__ = on_first_use(__name__, __all__)
