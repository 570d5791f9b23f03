"""SavedModels: written and served.

The functions are imported on first use: a client of a server should not wait for TensorFlow.
"""

from keras_fracture.lazy import on_first_use

_HOMES = {
    "export": "exporting",
    "connect": "client",
}
__all__ = ["connect", "export"]

__getattr__, __dir__ = on_first_use(__name__, __all__, _HOMES)
