"""Tables, figures and report files from results; no training in here."""

from keras_fracture.lazy import on_first_use

__all__ = ["board", "figures", "galleries", "html", "markdown", "notebook", "results", "scored"]

__getattr__, __dir__ = on_first_use(__name__, __all__)
