"""SavedModels: written, served, asked.

The functions are imported on first use: a client of a server should not wait for TensorFlow.
"""

import importlib

_HOMES = {
    "export": "exporting",
    "generate": "generating",
    "predict": "predicting",
    "evaluate": "scoring",
    "connect": "client",
}
__all__ = ["connect", "evaluate", "export", "generate", "predict"]


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
