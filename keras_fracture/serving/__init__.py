"""SavedModels: written and served.

The functions are imported on first use: a client of a server should not wait for TensorFlow.
"""

import importlib

_HOMES = {
    "export": "exporting",
    "connect": "client",
}
__all__ = ["connect", "export"]


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
