"""What all experiments share: settings, splits as arrays, a run folder that can be resumed, provenance."""

import importlib

__all__ = ["config", "limits", "runs", "splits"]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
