"""Small random changes that leave an X-ray an X-ray, drawn from the seed and the image's position in training alone."""

import dataclasses
import math
import numbers
import zlib

import numpy as np
import tensorflow as tf

from keras_fracture.data.counts import check_whole
from keras_fracture.data.levels import checked_range
from keras_fracture.errors import DataError
from keras_fracture.models.preprocessing import UNIT

_MOST = {"rotation": 0.5, "zoom": 1, "shift": 1, "contrast": 1}  # below it, but for rotation and contrast
FLIPS = (None, "horizontal", "vertical", "horizontal_and_vertical")
# In this order, also where some are switched off: what one draws does not depend on the others.
PARAMETERS = ("flip_horizontal", "flip_vertical", "rotation", "zoom", "shift_down", "shift_right", "contrast")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Flip, rotation, zoom and shift in one bilinear interpolation, then contrast; each image draws its own numbers.

        augment = Augmentation(seed=3)
        changed = augment(images, positions=range(len(images)))

    An image's numbers depend on `seed` and on its position, how many images the training took before it, and on
    nothing else: they are the same after a resume and on any number of workers or parallel calls.

    Attributes:
        flip: "horizontal", "vertical", "horizontal_and_vertical", or None; each with a chance of one half.
        rotation: Largest angle as a fraction of a full turn, up to 0.5, which is any angle.
        zoom: Largest change of scale, below 1.
        shift: Largest shift as a fraction of the side, each way, below 1.
        contrast: Largest change of the distance of grey levels from their mean, as a fraction, up to 1.
        value_range: The pixels' range; uncovered pixels get its low end, and contrast is clipped to it. None is the
            `pixel_range` of the batches that it changes, and 0 to 1 where it is called by itself.
        seed: Of the drawing, a whole number, 0 or more.

    Raises:
        DataError: A value is not allowed.
    """

    flip: str | None = "horizontal"
    rotation: float = 0.03
    zoom: float = 0.1
    shift: float = 0.05
    contrast: float = 0.1
    value_range: tuple | None = None
    seed: int = 0

    def __post_init__(self):
        if self.flip not in FLIPS:
            raise DataError(f"flip must be one of {', '.join(map(str, FLIPS))}. Received: {self.flip!r}")
        for name, most in _MOST.items():
            size, itself = getattr(self, name), name in ("rotation", "contrast")
            # More shows nothing of the image, or turns bright and dark round; NaN is no size.
            if not isinstance(size, numbers.Real) or not (0 <= size < most or (itself and size == most)):
                raise DataError(
                    f"{name} must be a number from 0 to {'' if itself else 'below '}{most}"
                    f"{', of full turns' if name == 'rotation' else ''}. Received: {size!r:.80}"
                )
        check_whole(DataError, seed=(self.seed, 0))
        if self.value_range is not None:
            checked_range(self.value_range, "value_range")

    def within(self, pixel_range):
        """This augmentation of pixels in `pixel_range`, `(low, high)`.

        Raises:
            DataError: It was made for another range.
        """
        if self.value_range is None:
            return dataclasses.replace(self, value_range=tuple(pixel_range))
        if tuple(self.value_range) != tuple(pixel_range):
            raise DataError(
                "value_range of an Augmentation must be the pixel_range of its batches: leave it out. "
                f"Received: {tuple(self.value_range)} for pixels in {tuple(pixel_range)}"
            )
        return self

    def draw(self, positions):
        """What is drawn for each image.

        Args:
            positions: int64 `(batch,)`, how many images the training took before each.

        Returns:
            A dict of `PARAMETERS` to float32 `(batch,)`: flips 0 or 1, rotation in radians, zoom and contrast as
            factors, shifts as fractions of the side.

        Raises:
            DataError: Positions are no whole numbers.
        """
        positions = tf.convert_to_tensor(positions)
        # Floats below 1 would all be 0.
        whole = positions.dtype.is_integer or positions.shape.num_elements() == 0
        if not whole or positions.shape.rank not in (1, None):
            raise DataError(
                "positions must be whole numbers, (batch,), as of range(len(images)). "
                f"Received: {positions.dtype.name} {positions.shape}"
            )
        # Not the seed itself, which also draws the order of the images.
        key = int(np.random.SeedSequence([self.seed, zlib.crc32(b"augmentation")]).generate_state(1)[0])
        uniform = tf.map_fn(
            lambda position: tf.random.stateless_uniform((len(PARAMETERS),), tf.stack([key, position])),
            tf.cast(positions, tf.int64),
            fn_output_signature=tf.TensorSpec((len(PARAMETERS),), tf.float32),
        )
        # From -1 to 1, or 0 or 1 for what is done or not.
        drawn = {name: 2 * uniform[:, column] - 1 for column, name in enumerate(PARAMETERS)}
        for name in PARAMETERS[:2]:
            wanted = name.removeprefix("flip_") in (self.flip or "").split("_and_")
            drawn[name] = tf.cast(drawn[name] > 0, tf.float32) * float(wanted)
        drawn["rotation"] *= self.rotation * 2 * math.pi
        for name in ("zoom", "contrast"):
            drawn[name] = 1 + drawn[name] * getattr(self, name)
        for name in ("shift_down", "shift_right"):
            drawn[name] *= self.shift
        return drawn

    def __call__(self, images, positions):
        """Changes a batch.

        Args:
            images: float32 `(batch, height, width, channels)` in `value_range`.
            positions: As in `draw`.

        Returns:
            A float32 tensor of the same shape, within `value_range`.

        Raises:
            DataError: No `value_range` is given, and images are not floats from 0 to 1; in a graph, such as that of
                `tf.data.Dataset.map`, only the type is known. Or images are no batch, or have no position each.
        """
        if self.value_range is None:
            _check_unit(images)
        images, positions = tf.convert_to_tensor(images, tf.float32), tf.convert_to_tensor(positions)
        # In a graph a shape may not be known. One position would be drawn for several images alike.
        if images.shape.rank not in (4, None) or not positions.shape.is_compatible_with(images.shape[:1]):
            raise DataError(
                "images must be a batch, (batch, height, width, channels), and positions (batch,), one an image: give "
                f"a single image as images[None]. Received: images {images.shape}, positions {positions.shape}"
            )
        drawn = self.draw(positions)
        low, high = UNIT if self.value_range is None else self.value_range
        images = self._moved(images, drawn, low)
        if self.contrast:
            mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
            changed = mean + (images - mean) * drawn["contrast"][:, None, None, None]
            images = tf.clip_by_value(changed, low, high)
        return images

    def with_masks(self, images, masks, positions):
        """Changes a batch, and what marks places in its images as these move.

        Args:
            images: As in `__call__`.
            masks: float32 `(batch, height, width, k)`, such as 1 on a finding and 0 beside it.
            positions: As in `draw`.

        Returns:
            A pair of float32 tensors: images as from `__call__`, and masks, 0 where nothing of the image lies; at edges
            they take values between.

        Raises:
            DataError: As in `__call__`.
        """
        changed = self(images, positions)
        masks = tf.convert_to_tensor(masks, tf.float32)
        return changed, self._moved(masks, self.draw(positions), 0.0)

    def _moved(self, images, drawn, fill):
        if self.flip or self.rotation or self.zoom or self.shift:
            return _transformed(images, drawn, fill)
        return images


def _check_unit(images):
    """Others would come out clipped to 0 to 1."""
    from keras_fracture.data.ranges import leaves  # here: it imports Keras

    symbolic = tf.is_tensor(images) and not hasattr(images, "numpy")
    values = images if symbolic else np.asarray(images)
    if not tf.as_dtype(values.dtype).is_floating or not (
        symbolic or values.size == 0 or not leaves(values, UNIT)
    ):
        received = (
            values.dtype.name if symbolic else f"{values.dtype} from {values.min():g} to {values.max():g}"
        )
        raise DataError(
            "images to augment must be floats from 0 to 1, or in the value_range that the Augmentation is made for: "
            f"use models.preprocessing.scale, or name the range. Received: {received}"
        )


def checked_augment(augment, pixel_range):
    """What augments pixels in `pixel_range`: `augment`, an `Augmentation` that names no range with this one.

    Raises:
        DataError: It is one of Keras's random layers, whose numbers come in the order in which batches happen to run,
            or an `Augmentation` of another range; or `pixel_range` is none.
    """
    import keras

    checked_range(pixel_range)
    if isinstance(augment, keras.layers.Layer):
        raise DataError(
            "augment must be a data.Augmentation, or a function of images and their positions in training: a Keras "
            f"layer draws from a state of its own, and a resumed training other numbers. Received: {augment.name}"
        )
    # `training.AugmentWithMasks` has it, too.
    return augment.within(pixel_range) if hasattr(augment, "within") else augment


def _transformed(images, drawn, fill):
    """Turns, scales and mirrors each image about its centre and shifts it; uncovered pixels become `fill`."""
    height, width = images.shape[1:3]
    middle = tf.constant([(width - 1) / 2, (height - 1) / 2])
    cosine, sine = (turn(drawn["rotation"]) * drawn["zoom"] for turn in (tf.cos, tf.sin))
    mirror_x, mirror_y = (1 - 2 * drawn[name] for name in ("flip_horizontal", "flip_vertical"))
    # From the position of a pixel of the result to the one that it is read from.
    across = tf.stack([cosine * mirror_x, -sine * mirror_x], axis=1)
    down = tf.stack([sine * mirror_y, cosine * mirror_y], axis=1)
    shifted = middle + tf.stack([drawn["shift_right"] * width, drawn["shift_down"] * height], axis=1)
    move_x, move_y = (
        middle[axis] - tf.reduce_sum(rows * shifted, axis=1) for axis, rows in enumerate((across, down))
    )
    none = tf.zeros_like(move_x)[:, None]
    matrices = tf.concat([across, move_x[:, None], down, move_y[:, None], none, none], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices,
        output_shape=[height, width],
        fill_value=float(fill),
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
