"""Weights from and to other frameworks, and data for them: `keras_fracture.interop.torch`, imported on first use."""

from keras_fracture.lazy import on_first_use

__all__ = ["convert", "layout", "names", "reading", "torch", "torch_data"]

__getattr__, __dir__ = on_first_use(__name__, __all__)
