"""A classifier that says where, too."""

import math

import keras
from keras import layers, ops

from keras_fracture.errors import ModelError
from keras_fracture.models.compiling import for_logits
from keras_fracture.models.registry import by_own_policy, in_own_range

_PRIOR = 0.01  # share of cells on a finding that training starts from


@for_logits
@in_own_range
@by_own_policy
@keras.saving.register_keras_serializable("keras_fracture")
class LocatingClassifier(keras.Model):
    """A classifier whose last maps are asked twice: as a whole by its own top, and cell by cell.

    A 1x1 convolution gives each position of the last maps, a cell, the log-odds of a finding there. The log-odds of the
    image are what the network's own top says plus the logarithm of the sum of the cells' odds, so that a small finding
    is not averaged away. `training.WithBoxes` teaches the cells where annotated boxes lie.

    Input: float32 `(batch, image_size, image_size, channels)` in the network's `pixel_range`.
    Output: float32 logits `(batch, num_classes)`, of two classes the second is the finding.

    Args:
        network: A classifier with its top, of one or two classes.

    Raises:
        ModelError: The network is no such classifier.
    """

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        if not hasattr(network, "classify") or not getattr(network, "include_top", True):
            raise ModelError(
                f"A locating classifier needs features and classify of its network. Received: {type(network).__name__}"
            )
        if network.image_size is None:
            raise ModelError("A locating classifier needs a network of one image_size. Received: None")
        if network.num_classes > 2:
            raise ModelError(
                "A locating classifier tells one kind of finding: its network has one or two classes. "
                f"Received: {network.num_classes}"
            )
        self.network, self.include_top = network, True
        self.num_classes, self.channels, self.image_size = (
            network.num_classes,
            network.channels,
            network.image_size,
        )
        self.pixel_range = network.pixel_range
        # As RetinaNet begins, or the many cells beside findings outweigh all else in the first steps.
        rare = keras.initializers.Constant(math.log(_PRIOR / (1 - _PRIOR)))
        self.head = layers.Conv2D(1, 1, bias_initializer=rare, dtype="float32", name="head")
        self.build((None, self.image_size, self.image_size, self.channels))

    def build(self, input_shape):
        side = self.image_size
        maps = self.network.features(ops.zeros((1, side, side, self.channels)))
        self.head.build(maps.shape)
        self.grid = tuple(maps.shape[1:3])  # rows and columns of cells
        self.built = True  # the network is

    def features(self, images, training=False):
        """Returns the network's last maps."""
        return self.network.features(images, training=training)

    def cells(self, maps):
        """Returns the log-odds of a finding in each cell of what `features` gave: float32 `(batch, rows, columns)`."""
        return self.head(maps)[..., 0]

    def classify(self, maps, training=False):
        """Returns the logits of what `features` gave."""
        logits = ops.cast(self.network.classify(maps, training=training), "float32")
        cells = ops.logsumexp(self.cells(maps), axis=(1, 2))[:, None]
        if self.num_classes == 1:
            return logits + cells
        return logits + ops.concatenate([-cells / 2, cells / 2], axis=1)

    def call(self, images, training=False):
        return self.classify(self.features(images, training), training)

    def get_config(self):
        network = {"architecture": type(self.network).__name__, "config": self.network.get_config()}
        return super().get_config() | {"network": network}

    @classmethod
    def from_config(cls, config):
        """The model with fresh weights; a `dtype` at the top is that of its network, too."""
        dtype = {"dtype": config["dtype"]} if isinstance(config.get("dtype"), str) else {}
        kind = keras.saving.get_registered_object(f"keras_fracture>{config['network']['architecture']}")
        if kind is None:
            raise ModelError(
                f"This package has no such architecture. Received: {config['network']['architecture']!r}"
            )
        return cls(**config | {"network": kind.from_config(config["network"]["config"] | dtype)})
