"""Uploads that are no X-rays, by what is wrong with them: name of the file, bytes, and words of the answer."""

import importlib.util
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(image, kind):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


def announced(width, height):
    """A PNG of a few hundred kilobytes that unpacks to `width` times `height` black pixels."""
    packer = zlib.compressobj(9)
    packed = [packer.compress(b"\0" * (1 + width // 8)) for _ in range(height)] + [packer.flush()]
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b"".join(packed)), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def dicom_without_pixels():
    """One of pydicom's own files."""
    found = importlib.util.find_spec("pydicom").origin
    return (Path(found).parent / "data" / "test_files" / "rtplan.dcm").read_bytes()


NOISE = np.random.default_rng(0).integers(0, 256, (200, 200), "uint8")
UPLOADS = {
    "text": ("text.png", b"this is no image\n" * 20, "is not an image that can be read"),
    "truncated": ("cut.jpg", encoded(NOISE, "JPEG")[:9000], "is cut off"),
    "bomb": ("bomb.png", announced(40_000, 20_000), "25,000,000 pixels"),
    "huge": ("huge.png", announced(6_000, 5_000), "25,000,000 pixels"),
    "empty": ("empty.png", b"", "is empty"),
}
if importlib.util.find_spec("pydicom"):
    UPLOADS["DICOM without pixels"] = "plan.dcm", dicom_without_pixels(), "without an image"
