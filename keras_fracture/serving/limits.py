"""What an image, and a request, may hold: checked before anything is decoded, alike by servers and clients."""

import io
import logging
from pathlib import Path

from PIL import Image

from keras_fracture.data import decoding, dicom, levels, segments
from keras_fracture.data.library_settings import recover_truncated
from keras_fracture.errors import ImageError

_LOG = logging.getLogger(__name__)
MAX_BYTES = 20 * 2**20  # of an image's file
MAX_PIXELS = 25_000_000  # of an image; `serve_bytes` takes about 30 bytes a pixel while it prepares one
MAX_SIDE = 20_000  # pixels; resampling takes about 45 bytes times this times the network's, of a line as well
MAX_IMAGES = 64  # of a request
MAX_ALL_PIXELS = 10 * MAX_PIXELS  # of all images of a request; a second or two each 100 million
MAX_REQUEST = 64 * 2**20  # bytes of a request; base64 makes 4 of 3
MAX_PARSED = 512 * 2**20  # bytes that a request may take once its JSON is read, see `parsed`
MAX_HELD = 768 * 2**20  # bytes of all requests together, as they came and parsed
MAX_CALLS = 32  # of gRPC at a time; each holds up to `MAX_REQUEST`
MAX_FIELDS = 10_000  # of a gRPC message, in those within it too
MAX_SECONDS = 60  # in which a request must arrive, and then be answered


def exists(path):
    """Refuses a path at which there is no file, as an `ImageError`."""
    if not Path(path).is_file():
        raise ImageError(f"{path} does not exist: name a JPEG, PNG or DICOM file")


def read(path):
    """The bytes of an image file.

    Raises:
        ImageError: There is no such file.
    """
    exists(path)
    return Path(path).read_bytes()


def inverted(contents, inverts=False):
    """How many image files look inverted, see `data.levels.looks_inverted`.

    Args:
        contents: Bytes of image files that can be read.
        inverts: Whether the model turns black and white itself.
    """
    decoded = (decoding.decode(data).image for data in contents)
    return sum(levels.looks_inverted(255 - image if inverts else image) for image in decoded)


def warn_of_inverted(count, total):
    """Warns in one line where some of `total` images look inverted."""
    if count:
        _LOG.warning(
            "%d of %d images look inverted (corners brighter than the middle), and models take bones to be bright: "
            "if bones are dark in them, turn black and white first",
            count,
            total,
        )


def parsed(body):
    """About how many bytes JSON takes once it is read, from its bytes alone; never much less than it does."""
    text = len(body) * (1 if body.isascii() else 4)
    lists = body.count(b"[") + body.count(b"{")
    return text + 72 * lists + 64 * body.count(b",") + 160 * body.count(b":")


@recover_truncated
def check(data, name="image"):
    """Refuses what `serve_bytes` cannot read, would read otherwise than training, or should not try to.

    Reads the header alone. A damaged file with a whole header and an end marker passes.

    Args:
        data: The file's bytes.
        name: What errors call it.

    Returns:
        How many pixels it has.

    Raises:
        ImageError: Empty, no JPEG or PNG, cut off, CMYK, a palette of fewer than 8 bits, not upright, an animation,
            or over a limit.
    """
    if not data:
        raise ImageError(f"{name} is empty (zero bytes): send a JPEG or PNG file")
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name} must have {MAX_BYTES:,} bytes at most. Received: {len(data):,}")
    if dicom.is_dicom(data):
        raise ImageError(
            f"{name} must be a JPEG or PNG file: `keras-fracture predict --server` turns DICOM into PNG, without "
            "the patient's data. Received: DICOM"
        )
    segments.check(data, name)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            (width, height), mode = image.size, image.mode
            count = image.n_frames if image.format == "PNG" else 1
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} must have {MAX_PIXELS:,} pixels at most. Received: {error}") from None
    except Exception:
        raise ImageError(
            f"{name} must be a JPEG or PNG file. Received: {len(data):,} bytes of another kind, or damaged ones"
        ) from None
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} must have {MAX_PIXELS:,} pixels at most. Received: {width} x {height}")
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"{name} must have {MAX_SIDE:,} pixels a side at most. Received: {width} x {height}")
    if count > 1:
        raise ImageError(f"{name} must hold one image: send one frame. Received: {count} frames")
    if decoding.is_truncated(data):
        raise ImageError(f"{name} is cut off (no end marker): fetch it again. Received: {len(data):,} bytes")
    if mode == "P" and data[24] < 8:  # which models exported by earlier versions take for nearly black
        raise ImageError(
            f"{name} must be grey or RGB, or have a palette of 8 bits: save it as grey. Received: {data[24]} bits"
        )
    if mode == "CMYK":
        raise ImageError(f"{name} must be grey or RGB: convert it. Received: CMYK")
    if (turned := _orientation(data, name)) != 1:
        raise ImageError(f"{name} must be stored upright: turn it. Received: EXIF orientation {turned}")
    return width * height


def _orientation(data, name):
    """As `decoding.orientation`, which may decode a PNG: only of what is not too large."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return decoding.orientation(image, data)
    except Exception:
        raise ImageError(f"{name} is damaged: fetch it again. Received: {len(data):,} bytes") from None
