"""Training's preprocessing as TensorFlow operations, for SavedModels that are given the bytes of files.

What `data.decoding` does with OpenCV and Pillow, for images whose sizes are known only when it runs: no Python
function and no operation that is not TensorFlow's own, so that any server of SavedModels can carry it out.
"""

import functools
import math

import tensorflow as tf

from keras_fracture.data.levels import DEPTHS

_LEVELS = 256
# Behind a truncated file it lets libjpeg keep what there is, elsewhere it is not read.
_JPEG_END = b"\xff\xd9"
_HEAD = 4096  # bytes of a file that an animation's first chunk lies in, right behind the header as a rule
_ANIMATED = rb"\C*\x00\x00\x00\x08acTL\C*"
_FIXED = 2**22  # Pillow's weights are whole numbers of this fraction
_LUMA = (9797, 19234, 3737)  # ITU-R 601 in 1/32768, cut off as libpng does


def decode(data, settings=None):
    """Decodes JPEG or PNG to 8-bit grey, equal to `data.decoding.decode`.

    16-bit PNGs are scaled by the bits that they really use, colour is turned to luma (ITU-R 601), what is transparent
    is composited on black, a truncated JPEG keeps what was there before the cut (in colour, some levels off). What
    TensorFlow cannot do: turn an image upright as its EXIF orientation says, read CMYK JPEGs, recover a truncated
    PNG, or read other formats.

    Args:
        data: Scalar string tensor, the file's bytes.
        settings: A `data.Preprocess`, which may say that JPEG files are decoded with fewer pixels.

    Returns:
        uint8 `(height, width)`.

    Raises:
        tf.errors.InvalidArgumentError: When run: neither JPEG nor PNG, damaged, or an animation.
    """
    return tf.cond(
        tf.strings.substr(data, 0, 4) == b"\x89PNG",
        lambda: _decode_png(data),
        lambda: _decode_jpeg(data, settings),
    )


def _decode_jpeg(data, settings):
    def decoded(ratio=1):
        jpeg = data + _JPEG_END
        return tf.io.decode_jpeg(jpeg, channels=1, ratio=ratio, dct_method="INTEGER_ACCURATE")[..., 0]

    if settings is None or settings.jpeg == "full":
        return decoded()
    shape = tf.io.extract_jpeg_shape(data)[:2]
    side = tf.reduce_min(shape) if settings.crop else tf.reduce_max(shape)
    # `data.Preprocess.reduction`.
    halvings = sum(tf.cast(side >= 2 * times * settings.size, tf.int32) for times in (2, 4, 8))
    return tf.switch_case(halvings, [functools.partial(decoded, 2**power) for power in range(4)])


def _decode_png(data):
    head = tf.strings.substr(data, 0, _HEAD)
    with tf.control_dependencies(
        [tf.debugging.Assert(~tf.strings.regex_full_match(head, _ANIMATED), ["A PNG must hold one image."])]
    ):
        header = tf.io.decode_raw(tf.strings.substr(data, 0, 26), tf.uint8, fixed_length=26)
    bits, kind = tf.cast(header[24], tf.int32), header[25]
    grey = tf.cond(
        bits == 16,
        lambda: _to_levels(_on_black(tf.io.decode_png(data, 4, tf.uint16), 16384, 256)),
        lambda: _on_black(_in_colour(data, kind), 0, 1),  # OpenCV's libpng does not round 8-bit luma
    )
    # Asked for four channels, TensorFlow leaves grey levels of fewer bits unstretched.
    few = (kind == 0) & (bits < 8) & (tf.reduce_max(grey) < 2**bits)
    return tf.cast(grey * tf.where(few, 255 // (2**bits - 1), 1), tf.uint8)


def _in_colour(data, kind):
    """uint8 `(height, width, 4)` of a PNG of up to 8 bits."""

    def of_palette():
        # Asked for four channels, TensorFlow calls a palette of fewer than 8 bits nearly transparent.
        colours = tf.io.decode_png(data)  # three, or four if some are transparent
        opaque = 255 * tf.ones_like(colours[..., :1])
        return tf.ensure_shape(tf.concat([colours, opaque], axis=2)[..., :4], (None, None, 4))

    return tf.cond(kind == 3, of_palette, lambda: tf.io.decode_png(data, 4))


def _on_black(colours, half, alpha):
    """Luma of `(height, width, 4)` on black, int32; opacity counts in whole levels of `alpha`."""
    red, green, blue, opacity = (tf.cast(each, tf.int32) for each in tf.unstack(colours, axis=2))
    luma = (red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2] + half) // 32768
    return (luma * (opacity // alpha) + 127) // 255


def _to_levels(values):
    """`data.levels.to_levels` of whole numbers that are not negative."""
    depths = tf.constant([2**bits - 1 for bits in DEPTHS])
    full = tf.reduce_min(tf.where(depths >= tf.reduce_max(values), depths, depths[-1]))
    return (values * 510 + full) // (2 * full)


def clahe(image, clip_limit=2.0, tiles=8):
    """Contrast-limited adaptive histogram equalisation, equal to OpenCV's bit for bit.

    Args:
        image: uint8 `(height, width)`.
        clip_limit: Highest a tile's histogram may be, in multiples of its mean; 0 for no limit.
        tiles: Tiles a side.

    Returns:
        uint8 `(height, width)`.
    """
    shape = tf.shape(image)
    # OpenCV extends both sides, by a whole row of pixels a tile, if either cannot be divided.
    tile = shape // tiles + tf.cast(tf.reduce_any(shape % tiles != 0), tf.int32)
    curves = tf.reshape(_curves(image, tile, clip_limit, tiles), [-1])
    above, below, down = _neighbours(shape[0], tile[0], tiles)
    left, right, across = _neighbours(shape[1], tile[1], tiles)
    levels = tf.cast(image, tf.int32)

    def mapped(rows, columns):
        return tf.gather(curves, (rows[:, None] * tiles + columns) * _LEVELS + levels)

    upper = mapped(above, left) * (1 - across) + mapped(above, right) * across
    lower = mapped(below, left) * (1 - across) + mapped(below, right) * across
    return tf.cast(tf.round(upper * (1 - down)[:, None] + lower * down[:, None]), tf.uint8)


def _curves(image, tile, clip_limit, tiles):
    """The equalising curve of every tile: float32 levels `(tiles * tiles, 256)`."""
    for axis in (0, 1):
        mirrored = _mirrored(tf.shape(image)[axis], tile[axis] * tiles)
        image = tf.gather(image, mirrored, axis=axis)
    area = tile[0] * tile[1]
    blocks = tf.transpose(tf.reshape(image, (tiles, tile[0], tiles, tile[1])), (0, 2, 1, 3))
    blocks = tf.cast(tf.reshape(blocks, (tiles * tiles, area)), tf.int32)
    counts = tf.math.bincount(blocks, minlength=_LEVELS, maxlength=_LEVELS, axis=-1)
    if clip_limit > 0:
        limit = tf.maximum(tf.cast(clip_limit * tf.cast(area, tf.float64) / _LEVELS, tf.int32), 1)
        clipped = tf.minimum(counts, limit)
        excess = tf.reduce_sum(counts - clipped, axis=1, keepdims=True)
        rest = excess % _LEVELS
        step = tf.maximum(_LEVELS // tf.maximum(rest, 1), 1)
        level = tf.range(_LEVELS)
        extra = (level % step == 0) & (level // step < rest)
        counts = clipped + excess // _LEVELS + tf.cast(extra, tf.int32)
    share = tf.constant(_LEVELS - 1.0) / tf.cast(area, tf.float32)
    return tf.clip_by_value(tf.round(tf.cast(tf.cumsum(counts, axis=1), tf.float32) * share), 0, 255)


def _mirrored(length, wanted):
    """Indices 0 to `wanted`, going back and forth over `length` pixels without repeating an end."""
    period = tf.maximum(2 * (length - 1), 1)
    index = tf.range(wanted) % period
    return tf.minimum(index, period - index)


def _neighbours(length, tile, tiles):
    """The tiles whose centres lie round each pixel of a side, and the second one's weight in float32."""
    position = tf.cast(tf.range(length), tf.float32) * (1 / tf.cast(tile, tf.float32)) - 0.5
    first = tf.floor(position)
    number = tf.cast(first, tf.int32)
    return tf.maximum(number, 0), tf.minimum(number + 1, tiles - 1), position - first


def fit_and_pad(image, size, resize="lanczos"):
    """Scales to fit a `size` x `size` square and centres it on black, equal to `data.decoding.fit_and_pad`.

    Args:
        image: uint8 `(height, width)`.
        size: Side in pixels.
        resize: "lanczos" or "bilinear".

    Returns:
        uint8 `(size, size)`.
    """
    shape = tf.shape(image)
    fitted = tf.maximum(_scaled(shape, size, tf.reduce_max(shape)), 1)
    image = _resample(image, fitted, tf.zeros(2, tf.int32), fitted, resize)
    before = (size - fitted) // 2
    square = tf.pad(image, tf.stack([before, size - fitted - before], axis=1))
    return tf.ensure_shape(square, (size, size))


def resize_and_crop(image, size, resize="lanczos"):
    """Scales the shorter side to `size` and crops the centre, equal to `data.decoding.resize_and_crop`.

    Takes and gives what `fit_and_pad` does.
    """
    shape = tf.shape(image)
    scaled = tf.maximum(_scaled(shape, size, tf.reduce_min(shape)), size)
    cropped = _resample(image, scaled, (scaled - size) // 2, tf.fill([2], size), resize)
    return tf.ensure_shape(cropped, (size, size))


def _scaled(shape, size, side):
    factor = size / tf.cast(side, tf.float64)
    return tf.cast(tf.round(tf.cast(shape, tf.float64) * factor), tf.int32)


def _resample(image, scaled, first, count, resize):
    """Pillow's resampling: to `scaled` pixels, of which `count` from `first` on are made; all (rows, columns).

    `tf.image.resize` does not round and clip between the two directions: up to 8 levels on drawn radiographs and 34
    on noise. Products of levels and whole weights are exact in float64, in whatever order they are summed.
    """
    height, width = tf.unstack(tf.shape(image))
    image = tf.cast(image, tf.float64)
    down = _weights(height, scaled[0], first[0], count[0], resize)
    across = _weights(width, scaled[1], first[1], count[1], resize)
    # As `data.decoding` does it.
    tall = (height > scaled[0]) & (height - scaled[0] > 2 * (width - scaled[1]))
    return tf.cast(
        tf.cond(
            tall,
            lambda: _rounded(tf.matmul(_rounded(tf.matmul(down, image)), across, transpose_b=True)),
            lambda: _rounded(tf.matmul(down, _rounded(tf.matmul(image, across, transpose_b=True)))),
        ),
        tf.uint8,
    )


def _rounded(sums):
    return tf.clip_by_value(tf.floor(sums / _FIXED + 0.5), 0, 255)


def _weights(length, scaled, first, count, resize):
    """Whole weights, in float64, of `length` pixels in each of the wanted ones: `(count, length)`."""
    ratio = tf.cast(length, tf.float64) / tf.cast(scaled, tf.float64)
    stretch = tf.maximum(ratio, 1)
    centre = (tf.cast(first + tf.range(count), tf.float64)[:, None] + 0.5) * ratio
    pixel = tf.cast(tf.range(length), tf.float64)
    support, kernel = _KERNELS[resize]
    reach = support * stretch
    inside = (pixel >= tf.floor(centre - reach + 0.5)) & (pixel < tf.floor(centre + reach + 0.5))
    distance = (pixel - centre + 0.5) / stretch
    inside &= (distance >= -support) & (distance < support)
    weights = tf.where(inside, kernel(distance), 0)
    weights *= _FIXED / tf.reduce_sum(weights, axis=1, keepdims=True)
    return tf.sign(weights) * tf.floor(tf.abs(weights) + 0.5)


def _sinc(distance):
    angle = distance * math.pi
    return tf.where(angle == 0, tf.ones_like(angle), tf.math.divide_no_nan(tf.sin(angle), angle))


_KERNELS = {  # how far each reaches, in pixels of the larger image
    "lanczos": (3, lambda place: _sinc(place) * _sinc(place / 3)),
    "bilinear": (1, lambda place: 1 - tf.abs(place)),
}


def preprocess(data, settings, pixel_range):
    """The bytes of a file to what a model is given, as `data.Preprocess` and `models.preprocessing.scale` do.

    Args:
        data: Scalar string tensor, the bytes of a JPEG or PNG file; see `decode`.
        settings: A `data.Preprocess`.
        pixel_range: `(low, high)`, the model's.

    Returns:
        float32 `(size, size, channels)`.
    """
    # It comes with every network, which a server, that decodes alone, does without.
    from keras_fracture.models.preprocessing import scale

    image = decode(data, settings)
    image = 255 - image if settings.invert else image
    if settings.clahe:
        image = clahe(image, *settings.clahe)
    image = (resize_and_crop if settings.crop else fit_and_pad)(image, settings.size, settings.resize)
    return scale(tf.repeat(image[..., None], settings.channels, axis=2), pixel_range)
