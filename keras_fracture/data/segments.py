"""What JPEG and PNG files are made of, counted before a decoder takes time for each part of one."""

import re

from keras_fracture.errors import ImageError

MAX_SCANS = 50  # of a JPEG; encoders write 10 or so, and each takes as long as decoding the whole image
_FEW, _BYTES = 1000, 256  # parts that any file may have, and bytes that it must have for each further one
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")  # of what has a length, or the end
_SCAN, _END = 0xDA, 0xD9


def check(data, name="image"):
    """Refuses files that are made to take long: JPEG of many scans, JPEG and PNG of very many small parts.

    Args:
        data: A file's bytes; of other formats nothing is counted.
        name: What errors call it.

    Raises:
        ImageError: It has more than `MAX_SCANS` scans, or a part every few bytes.
    """
    walk = _of_jpeg if data.startswith(_JPEG) else _of_png if data.startswith(_PNG) else None
    most = _FEW + len(data) // _BYTES
    parts = scans = 0
    for is_scan in walk(data) if walk else ():
        parts, scans = parts + 1, scans + is_scan
        if scans > MAX_SCANS or parts > most:
            what = f"{MAX_SCANS} scans" if scans > MAX_SCANS else f"{most:,} segments for its size"
            raise ImageError(
                f"{name} is made to take long to decode: write the image anew. Received: more than {what}"
            )


def _of_jpeg(data):
    """Whether each segment starts a scan; found as libjpeg finds them, which passes over what is between."""
    place = len(_JPEG)
    while (found := _MARKER.search(data, place)) and (kind := data[found.start() + 1]) != _END:
        yield kind == _SCAN
        place = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))


def _of_png(data):
    place = len(_PNG)
    while place < len(data):
        yield False
        place += 12 + int.from_bytes(data[place : place + 4], "big")
