"""Decoding and geometry of single X-ray images, with OpenCV and Pillow (source of truth for training).

All functions take and return uint8 grey images of shape (height, width), levels 0 to 255.
"""

import io
import warnings
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from keras_fracture.data import dicom, levels, segments
from keras_fracture.data.library_settings import recover_truncated
from keras_fracture.errors import ImageError

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_SYNTHETIC, _HEAD = b"tEXtsynthetic\0true", 4096  # a text field, and the bytes in which it stands
_ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
# Texts in which an orientation may stand, too.
_NO_EXIF = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_LYING = (5, 6, 7, 8)  # its values whose width is the upright image's height
_PHOTOMETRIC = 262  # TIFF's tag; 0 is WhiteIsZero
_REDUCIBLE = ("JPEG", "MPO")  # Pillow's names of what JPEG decoders read
_REDUCED = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_PNG_BITS = 24  # index in the file of the byte that says how many a value has
RESIZING = {"lanczos": Image.Resampling.LANCZOS, "bilinear": Image.Resampling.BILINEAR}  # both antialiased


class Decoded(NamedTuple):
    """An image, whether its file ended before its end marker (the rest was recovered), and the depth of its values."""

    image: np.ndarray
    truncated: bool
    bits: int = 8


class _Header(NamedTuple):
    """What a file says of its pixels that OpenCV does not heed."""

    kind: str = ""  # Pillow's name of the format
    shape: tuple = (0, 0)  # height and width, before it is turned upright
    transparent: bool = False
    dark_is_high: bool = False  # TIFF's WhiteIsZero


def is_truncated(data):
    """Whether JPEG or PNG bytes lack their end marker. Padding after the marker is not truncation."""
    if data.startswith(_JPEG_START):
        return _JPEG_END not in data[-1024:]
    return data.startswith(_PNG_START) and _PNG_END not in data[-1024:]


@recover_truncated
def decode(data, name="image", reduction=None):
    """Decodes JPEG, PNG, DICOM or any format Pillow reads, to 8-bit grey.

    Values of other depths are brought to 8 bits by `levels.to_levels`, colour is turned to luma (ITU-R 601), what is
    transparent is composited on black, a truncated file keeps what was there before the cut. DICOM: see `dicom.decode`.

    Args:
        data: The file's bytes.
        name: What errors call it.
        reduction: Function of a JPEG's height and width by how many times fewer pixels a side it is decoded: 1, 2, 4
            or 8; libjpeg leaves frequencies out then. A truncated file is decoded in full. None decodes all in full.

    Returns:
        `Decoded(image, truncated, bits)`.

    Raises:
        DataError: A DICOM file, and pydicom is not installed.
        ImageError: Empty, or not an image, or so damaged that nothing can be recovered; or of several pages or
            frames, or values that `levels.to_levels` refuses; or of more pixels than Pillow takes for an attack
            (twice `PIL.Image.MAX_IMAGE_PIXELS`), or what `segments.check` refuses.
    """
    if not data:
        raise ImageError(f"{name} is empty (zero bytes): fetch it again or delete it")
    if dicom.is_dicom(data):
        image, bits = dicom.decode(data, name)
        return Decoded(image, False, bits)
    segments.check(data, name)
    header = _header(data, name)
    truncated = is_truncated(data)
    # OpenCV does not stretch values to the range that a PGM names, and has its own ways with alpha but in PNG.
    plain = header.kind != "PPM" and (header.kind == "PNG" or not header.transparent)
    times = reduction(*header.shape) if reduction and header.kind in _REDUCIBLE else 1
    values = _decode_opencv(data, _REDUCED[times]) if plain and not truncated else None
    if values is None:
        # Pillow keeps what there is, without words on stderr; libjpeg does once there is an end marker.
        values = _decode_pillow(data, name, _JPEG_END if truncated and data.startswith(_JPEG_START) else b"")
    if header.transparent:
        values = levels.on_black(values, _alpha(data, name, values.shape))
    image, bits = levels.to_levels(values, name, 16 if header.kind == "PPM" else None)
    if header.dark_is_high and values.dtype != np.uint8:  # both decoders see to 8 bits, neither to more
        image = 255 - image
    return Decoded(np.ascontiguousarray(image), truncated, bits)


def _header(data, name):
    """The `_Header` of a file.

    Raises:
        ImageError: It announces more pixels than any X-ray has (unpacking them takes gigabytes), or several pages.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            # The further images of an MPO, a JPEG file of some cameras, are previews of the first.
            count = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
            white_is_zero = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0
            header = _Header(image.format, image.size[::-1], image.has_transparency_data, white_is_zero)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large to decode: {error}") from None
    except Exception:  # what Pillow does not know OpenCV may, and else `decode` says so
        return _Header()
    if count > 1:
        raise ImageError(
            f"{name} must hold one image: write the page or frame that is meant as a PNG file. "
            f"Received: {header.kind} of {count}"
        )
    return header


def _decode_opencv(data, mode=cv2.IMREAD_GRAYSCALE):
    """The image as OpenCV reads it, or None."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_ANYDEPTH)
    except cv2.error:  # of some damaged headers
        return None


def _decode_pillow(data, name, end=b""):
    """The formats OpenCV does not read, and what is truncated; `end` is put behind the bytes."""
    try:
        with Image.open(io.BytesIO(data + end)) as image:
            image.load()
            upright = ImageOps.exif_transpose(_by_exif_alone(image))
            # Pillow would clip more than 8 bits, and scale no float.
            deep = upright.mode == "F" or upright.mode.startswith("I")
            return np.asarray(upright if deep else upright.convert("L"))
    except Exception:
        raise _unreadable(data, name) from None


def _alpha(data, name, shape):
    """How opaque the pixels of a file are, uint8 of `shape`: 255 is wholly."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            key = image.info.get("transparency")
            if image.format == "PNG" and image.mode != "P" and key is not None:
                # One colour is transparent, which Pillow finds where values have 1 or 8 bits alone.
                key = np.multiply(key, {2: 85, 4: 17}.get(data[_PNG_BITS], 1))
                colours = _decode_opencv(data, cv2.IMREAD_COLOR)[..., ::-1]
                alpha = np.where((colours == key).all(axis=2), np.uint8(0), np.uint8(255))
            else:
                image.load()
                upright = ImageOps.exif_transpose(_by_exif_alone(image))
                alpha = np.asarray(upright.convert("RGBA").getchannel("A"))
    except Exception:
        raise _unreadable(data, name) from None
    if alpha.shape != shape:
        raise _unreadable(data, name)
    return alpha


def _unreadable(data, name):
    return ImageError(
        f"{name} is not an image that can be read (JPEG or PNG expected): "
        f"fetch it again or delete it. Received: {len(data)} bytes starting {data[:12]!r}"
    )


@recover_truncated
def size_of(data):
    """(height, width) in pixels of a file's bytes as `decode` turns it upright, without decoding it but if DICOM."""
    if dicom.is_dicom(data):
        return dicom.decode(data)[0].shape
    segments.check(data)
    with Image.open(io.BytesIO(data)) as image:
        # Of TIFF Pillow says the upright size.
        lying = image.format != "TIFF" and orientation(image, data) in _LYING
        return image.size if lying else image.size[::-1]


def is_turned(data):
    """Whether `decode` turns or mirrors an image, as its file's EXIF asks."""
    if dicom.is_dicom(data):
        return False
    segments.check(data)
    with Image.open(io.BytesIO(data)) as image:
        return orientation(image, data) != 1


def orientation(image, data):
    """How the EXIF of a file, opened by Pillow, says that it is stored: 1 is upright."""
    if data.startswith(_PNG_START):
        if b"eXIf" not in data:
            return 1
        image.load()  # it may be behind the pixels
    return _by_exif_alone(image).getexif().get(_ORIENTATION, 1)


def _by_exif_alone(image):
    """The image without what Pillow, unlike OpenCV, turns images by as well."""
    for name in _NO_EXIF:
        image.info.pop(name, None)
    return image


def clahe(image, clip_limit=2.0, tiles=8):
    """Contrast-limited adaptive histogram equalisation, OpenCV's, on a `tiles` x `tiles` grid."""
    return cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(image)


def fit_and_pad(image, size, resize="lanczos"):
    """Scales to fit a `size` x `size` square (one of `RESIZING`) and centres it on black.

    Pillow's resampling, because OpenCV's Lanczos does not antialias. Images smaller than the square are
    enlarged to fill it, so that anatomy has one scale.
    """
    height, width = image.shape
    factor = size / max(height, width)
    fitted = max(1, round(width * factor)), max(1, round(height * factor))
    if fitted != (width, height):
        image = _resized(image, *fitted, resize)
    square = np.zeros((size, size), np.uint8)
    top, left = (size - image.shape[0]) // 2, (size - image.shape[1]) // 2
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


def resize_and_crop(image, size, resize="lanczos"):
    """Scales the shorter side to `size` (one of `RESIZING`) and crops the centre square."""
    height, width = image.shape
    factor = size / min(height, width)
    scaled = max(size, round(width * factor)), max(size, round(height * factor))
    if scaled != (width, height):
        image = _resized(image, *scaled, resize)
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def _resized(image, width, height, resize):
    """Pillow's resampling, one direction after the other.

    Which comes first moves single pixels by a level, and Pillow's own choice changed with version 13.
    """
    rows, columns = image.shape
    first = (width, rows)
    if rows > height and rows - height > 2 * (columns - width):  # clearly more is removed so
        first = (columns, height)
    halfway = Image.fromarray(image).resize(first, RESIZING[resize])
    return np.asarray(halfway.resize((width, height), RESIZING[resize]))


def fit_boxes(boxes, height, width):
    """Boxes of an image, as they lie after `fit_and_pad`.

    Args:
        boxes: Array (n, 4) of ymin, xmin, ymax, xmax, each a fraction of the image.
        height: The image's height in pixels, before.
        width: The image's width in pixels, before.
    """
    longest = max(height, width)
    scale = np.array([height, width, height, width], np.float32) / longest
    offset = (1 - scale) / 2
    return np.asarray(boxes, np.float32).reshape(-1, 4) * scale + offset


def encode_png(image, text=None):
    """PNG bytes of a uint8 image, grey (h, w) or RGB (h, w, 3).

    Args:
        image: The image.
        text: A dict of str to str kept in the file's text fields, or None.
    """
    if text:
        fields = PngInfo()
        for name, words in text.items():
            fields.add_text(name, words)
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG", pnginfo=fields)
        return stream.getvalue()
    image = image if image.ndim == 2 else image[..., ::-1]
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()


def is_synthetic(path):
    """Whether a file is a PNG that says so in a text field before its pixels, as `synthesis.encode` marks images."""
    with open(path, "rb") as stream:
        head = stream.read(_HEAD)
    return head.startswith(_PNG_START) and _SYNTHETIC in head.partition(b"IDAT")[0]


@recover_truncated
def is_plain(data):
    """Whether the bytes are a whole, upright JPEG (grey or YCbCr) or opaque 8-bit grey PNG.

    TensorFlow reads the luma of such files as this module does, JPEG with `dct_method="INTEGER_ACCURATE"`; its default
    is faster and some levels off.
    """
    if dicom.is_dicom(data):
        return False
    segments.check(data)
    with Image.open(io.BytesIO(data)) as image:
        plain = (image.format, image.mode) in (("JPEG", "L"), ("JPEG", "RGB"), ("PNG", "L"))
        plain = plain and not image.has_transparency_data
        return plain and not is_truncated(data) and orientation(image, data) == 1
