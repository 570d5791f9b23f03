"""What all experiments share: settings, splits as arrays, a run folder that can be resumed, provenance."""

from keras_fracture.lazy import on_first_use

__all__ = ["config", "limits", "runs", "splits"]

__getattr__, __dir__ = on_first_use(__name__, __all__)
