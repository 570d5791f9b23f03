"""SavedModel export and use."""

from keras_fracture.serving.export import export
from keras_fracture.serving.generating import generate
from keras_fracture.serving.predicting import predict

__all__ = ["export", "generate", "predict"]
