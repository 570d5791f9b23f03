"""The compact CNN of the `ibrahim_gan` poster: 13,585 parameters, convolutions that divide by three."""

import keras
from keras import layers

from keras_fracture.errors import ModelError
from keras_fracture.models.biases import Dense
from keras_fracture.models.convolution import Conv2D
from keras_fracture.models.layers import FusedBatchNormalization, run_through
from keras_fracture.models.preprocessing import UNIT, checked_normalisation, normalise
from keras_fracture.models.registry import register

_HEAD = 3  # layers of the body up to the last convolution


@register("compact_cnn")
@keras.saving.register_keras_serializable("keras_fracture")
class CompactCNN(keras.Model):
    """Compact classifier for small grey X-rays.

    Source: Ibrahim and Bukhari, "Leveraging GANs for Improved Medical Image Classification", Architecture -
    Convolutional Neural Network. The poster does not state activations or dropout rates: ReLU, 0.25 and 0.5.

    Input: float32 `(batch, image_size, image_size, channels)`, range 0 to 1.
    Output: float logits `(batch, num_classes)`; with one class, the logit of "finding".

    Args:
        num_classes: Width of the output.
        image_size: Side of the square input in pixels.
        channels: 1 (grey) or 3.
        dropout: Rates after the convolutions and after the dense layer, each 0 or more and below 1.
        mean: What `(images - mean) / std` takes off pixels of 0 to 1 before the first layer: a number, or one a
            channel; ImageNet's are in `models.preprocessing.IMAGENET`.
        std: What it divides by, alike.

    Raises:
        ModelError: `dropout`, `mean` or `std` is out of range.
    """

    pixel_range = UNIT

    def __init__(
        self,
        num_classes=1,
        image_size=64,
        channels=1,
        dropout=(0.25, 0.5),
        mean: float | tuple = 0.0,
        std: float | tuple = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes, self.image_size, self.channels = num_classes, image_size, channels
        self.dropout = tuple(dropout) if isinstance(dropout, list | tuple) else (dropout,)
        if len(self.dropout) != 2 or not all(0 <= rate < 1 for rate in self.dropout):
            raise ModelError(f"dropout must be two rates, each 0 or more and below 1. Received: {dropout}")
        self.mean, self.std = checked_normalisation(mean, std, channels)
        self.body = keras.Sequential(
            [
                keras.Input((image_size, image_size, channels)),
                Conv2D(32, 3, strides=3, activation="relu", name="conv1"),
                FusedBatchNormalization(name="bn1"),
                Conv2D(16, 3, strides=3, activation="relu", name="conv2"),
                layers.MaxPooling2D(3, name="maxpool"),
                FusedBatchNormalization(name="bn2"),
                layers.Dropout(self.dropout[0], name="dropout1"),
                layers.Flatten(name="flatten"),
                Dense(128, activation="relu", name="fc1"),
                layers.Dropout(self.dropout[1], name="dropout2"),
                layers.Dense(num_classes, dtype="float32", name="fc2"),
            ],
            name="body",
        )
        self.build((None, image_size, image_size, channels))

    def build(self, input_shape):
        self.built = True

    def features(self, images, training=None):
        """Returns the second convolution's maps `(batch, image_size // 9, image_size // 9, 16)`."""
        images = normalise(images, self.mean, self.std)
        return run_through(self.body.layers[:_HEAD], images, training)

    def classify(self, maps, training=None):
        """Returns the logits of what `features` gave."""
        return run_through(self.body.layers[_HEAD:], maps, training)

    def call(self, images, training=False):
        return self.classify(self.features(images, training), training)

    def get_config(self):
        return super().get_config() | {
            "num_classes": self.num_classes,
            "image_size": self.image_size,
            "channels": self.channels,
            "dropout": self.dropout,
            "mean": self.mean,
            "std": self.std,
        }
