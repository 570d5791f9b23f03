"""SavedModel export."""

from keras_fracture.serving.export import export

__all__ = ["export"]
