"""Tables, figures and report files from results; no training in here."""

import importlib

__all__ = ["figures", "galleries", "markdown", "notebook", "results"]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
