"""DICOM files, by pydicom (the extra `dicom`): 8-bit grey as a viewer shows it first, and what the tags say of it."""

import functools
import hashlib
import hmac
import io
import re
import secrets
import struct
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_fracture import files
from keras_fracture.data import locations, segments, tables
from keras_fracture.errors import DataError, FractureError, ImageError, one_line

_MAGIC = b"DICM"  # behind 128 free bytes
_DEFLATED = b"1.2.840.10008.1.2.1.99"  # the transfer syntax that packs all of a file
_TAGS = [
    "PatientID", "BodyPartExamined", "AnatomicRegionSequence", "ViewPosition", "ViewCodeSequence", "BurnedInAnnotation",
]  # fmt: skip
_LUMA = np.array([19595, 38470, 7471])  # ITU-R 601 in 1/65536, as Pillow rounds it
_HASHED = re.compile("dicom-([0-9a-f]{8})-[0-9a-f]{16}")
_SIZED = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # JPEG's markers of a frame, JPEG-LS's too


class Facts(NamedTuple):
    """What the tags say of an image.

    Attributes:
        patient: `dicom-SALT-PATIENT`, which files of one PatientID share, hashed with a salt that lies in the cache:
            with another cache they have other names, which `salts` tells. '' where there is no PatientID.
        body_part: In lower case, '' where it is not said.
        view: In lower case, such as "ap", '' where it is not said.
        burnt_in: Whether words are said to be burnt into the pixels, a patient's name maybe; None where nothing is.
        folded_patient: As `patient`, and the same for spellings that may mean one patient, see `tables.folded_name`.
    """

    patient: str
    body_part: str
    view: str
    burnt_in: bool | None
    folded_patient: str = ""


def is_dicom(data):
    """Whether bytes are those of a DICOM file."""
    return data[128:132] == _MAGIC


def read(data, name="image"):
    """Decodes a DICOM file and reads its tags.

    Args:
        data: The file's bytes.
        name: What errors call it.

    Returns:
        Image, uint8 `(height, width)`, and its `Facts`.

    Raises:
        DataError: pydicom is not installed.
        ImageError: See `decode`.
    """
    dataset = _dataset(data, name)
    return _decoded(dataset, name)[0], _facts(dataset)


def facts(path):
    """What the tags of a file say, without its pixels.

    Args:
        path: The file.

    Returns:
        Its `Facts`; where the tags cannot be read, none is said.

    Raises:
        DataError: pydicom is not installed.
        OutputError: The cache cannot be written.
    """
    pydicom = _library(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            if pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID") != _DEFLATED.decode():
                return _facts(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS))
    except FractureError:
        raise
    except Exception:  # `decode` says what is wrong
        pass
    return Facts("", "", "", None)


def decode(data, name="image"):
    """Decodes a DICOM file to 8-bit grey, bones bright.

    Stored values are rescaled (slope and intercept, or modality LUT), then go through the first VOI LUT, else the first
    window, else from the least to the greatest of them that is not padding, or with 8 bits and fewer from the least to
    the greatest possible. MONOCHROME1 is inverted, padding is black, colour is turned to luma (ITU-R 601).

    Args:
        data: The file's bytes.
        name: What errors call it.

    Returns:
        Image, uint8 `(height, width)`, and the bits that were stored.

    Raises:
        DataError: pydicom is not installed.
        ImageError: No image, several frames, damaged, compressed in a way that is not known, or of more pixels than
            Pillow takes for an attack (twice `PIL.Image.MAX_IMAGE_PIXELS`).
    """
    return _decoded(_dataset(data, name), name)


def _library(name):
    try:
        import pydicom
    except ImportError as error:
        raise DataError(
            f"{name} is a DICOM file: `pip install keras-fracture[dicom]` to read it. Received: {error}"
        ) from None
    return pydicom


def _dataset(data, name):
    """The tags of a file, pixels still packed."""
    pydicom = _library(name)
    if _DEFLATED in data:  # pydicom would unpack it before its size is known
        raise ImageError(
            f"{name} is a DICOM file packed as a whole: write it unpacked, for example by DCMTK's "
            "`dcmconv +te`. Received: deflated explicit VR little endian"
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            return pydicom.dcmread(io.BytesIO(data))
    except Exception as error:  # whose words may be a patient's
        raise ImageError(
            f"{name} is a damaged DICOM file: fetch it again. Received: {type(error).__name__} in its tags"
        ) from None


def _decoded(dataset, name):
    try:
        with warnings.catch_warnings(action="ignore"):
            _check(dataset, name)
            image = _colour(dataset) if _is_colour(dataset) else _grey(dataset)
            if not np.isfinite(image).all():
                raise RuntimeError("values that are not finite")
            return np.floor(image * 255 + 0.5).astype(np.uint8), int(dataset.BitsStored)
    except ImageError:
        raise
    except Exception as error:
        # Decoders raise RuntimeError; what else says may hold what a tag says.
        reason = one_line(error) if isinstance(error, RuntimeError) else type(error).__name__
        raise ImageError(
            f"{name} is a DICOM file whose image cannot be read: fetch it again, or write its image as PNG. "
            f"Received: {reason}"
        ) from None


def _check(dataset, name):
    """Refuses what is not one image of sane size, before anything is unpacked."""
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    if "PixelData" not in dataset:
        raise ImageError(f"{name} is a DICOM file without an image. Received: {len(dataset)} other tags")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(
            f"{name} must hold one image: write the page or frame that is meant as a PNG file. "
            f"Received: DICOM of {frames}"
        )
    height, width = dataset.Rows, dataset.Columns
    most = 2 * Image.MAX_IMAGE_PIXELS
    if height * width > most:
        raise ImageError(f"{name} is too large to decode. Received: {width} x {height} of {most:,} pixels")
    bits, highest = dataset.get("BitsStored"), dataset.get("HighBit")
    if bits is not None and highest not in (None, bits - 1):
        raise ImageError(
            f"{name} must hold its levels in the lowest bits of each word, as DICOM has it today. "
            f"Received: BitsStored {bits}, HighBit {highest}, not {bits - 1}"
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax != RLELossless:
        # Decoders believe the stream, whatever the tags say.
        stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
        segments.check(stream, name)
        announced = _stream_size(stream)
        if announced != (height, width):
            raise ImageError(
                f"{name} is a damaged DICOM file: its tags say ({height}, {width}), its compressed image another size. "
                f"Received: {announced}"
            )


def _stream_size(stream):
    """(height, width) that a JPEG, JPEG-LS or JPEG 2000 stream begins with, or None."""
    if stream[4:8] == b"jP  ":  # boxes round it, which DICOM does not allow but some write
        while stream and stream[4:8] != b"jp2c":
            stream = stream[max(8, int.from_bytes(stream[:4], "big")) :]
        stream = stream[8:]
    if stream[:4] == b"\xff\x4f\xff\x51":
        width, height, left, top = struct.unpack(">4I", stream[8:24])
        return height - top, width - left
    place = 2
    while stream[:2] == b"\xff\xd8" and stream[place : place + 1] == b"\xff":
        if stream[place + 1] in _SIZED:
            return struct.unpack(">2H", stream[place + 5 : place + 9])
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return None


def _is_colour(dataset):
    return dataset.SamplesPerPixel > 1 or dataset.PhotometricInterpretation == "PALETTE COLOR"


def _colour(dataset):
    """Luma, 0 to 1."""
    from pydicom.pixels import apply_color_lut

    values, bits = dataset.pixel_array, dataset.BitsStored  # as RGB
    if dataset.SamplesPerPixel == 1:
        values = apply_color_lut(values, dataset)
        bits = 8 * values.itemsize
    luma = (values.astype(np.int64) @ _LUMA + 0x8000) >> 16
    return luma / (2**bits - 1)


def _grey(dataset):
    """Brightness, 0 to 1: PS3.3 C.11.1 and C.11.2 of the standard."""
    stored = dataset.pixel_array
    unused = 8 * stored.itemsize - dataset.BitsStored
    stored = (stored << unused) >> unused  # an overlay may lie there
    values, padded = _rescaled(dataset, stored), _padded(dataset, stored)
    if dataset.get("VOILUTSequence"):
        values, bits = _looked_up(dataset, dataset.VOILUTSequence[0], np.rint(values))
        shares = values / (2**bits - 1)
    elif dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        centre, width = (float(np.ravel(dataset[tag].value)[0]) for tag in ("WindowCenter", "WindowWidth"))
        shares = _windowed(values, centre, width, dataset.get("VOILUTFunction") or "LINEAR")
    else:
        shares = _stretched(dataset, values, padded)
    shares = np.clip(shares, 0, 1)
    return np.where(padded, 0, 1 - shares if dataset.PhotometricInterpretation == "MONOCHROME1" else shares)


def _rescaled(dataset, stored):
    if dataset.get("ModalityLUTSequence"):
        return _looked_up(dataset, dataset.ModalityLUTSequence[0], stored)[0]
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    return stored * float(1 if slope is None else slope) + float(intercept or 0)


def _looked_up(dataset, lut, values):
    """Values through a look-up table, and the bits of what comes out; what lies beyond takes its ends."""
    count, first, bits = lut.LUTDescriptor
    table = lut.LUTData
    if isinstance(table, bytes):
        wide = "<u2" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">u2"
        table = np.frombuffer(table, np.uint8 if len(table) < 2 * (count or 2**16) else wide)
    places = np.clip(values.astype(np.int64) - first, 0, (count or 2**16) - 1)  # unsigned ones would wrap
    return np.asarray(table)[places], bits


def _padded(dataset, stored):
    """Which pixels hold nothing."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    low, high = sorted((int(value), int(dataset.get("PixelPaddingRangeLimit", value))))
    return (stored >= low) & (stored <= high)


def _windowed(values, centre, width, function):
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or width < (1 if function == "LINEAR" else 1e-9):
        raise RuntimeError(f"a window of no known function, or of width {width:g}")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return (values - centre) / width + 0.5 if width else (values > centre).astype(float)


def _stretched(dataset, values, padded):
    """Without a window: few bits are all used, of more nobody knows which."""
    ends = values[~padded]
    if dataset.BitsStored <= 8 and not dataset.get("ModalityLUTSequence"):
        signed, count = dataset.PixelRepresentation, 2**dataset.BitsStored
        ends = _rescaled(dataset, np.array([0, count - 1]) - signed * count // 2)
    low, high = (ends.min(), ends.max()) if ends.size else (0, 0)
    return (values - low) / max(high - low, 1e-9)


def _facts(dataset):
    patient = " ".join(str(dataset.get("PatientID") or "").split())
    patient = "" if patient.lower() in tables.MISSING else patient
    salt = _salt(locations.cache_dir())
    name, folded = (
        f"dicom-{hashlib.sha256(salt).hexdigest()[:8]}-{hmac.new(salt, one.encode(), hashlib.sha256).hexdigest()[:16]}"
        for one in (patient, tables.folded_name(patient))
    )
    burnt_in = {"YES": True, "NO": False}.get(str(dataset.get("BurnedInAnnotation")).strip().upper())
    return Facts(
        name if patient else "",
        _words(dataset, "BodyPartExamined", "AnatomicRegionSequence"),
        _words(dataset, "ViewPosition", "ViewCodeSequence"),
        burnt_in,
        folded if patient else "",
    )


def salts(patients):
    """The salts that hashed patients among sources were named with: a set of 8 hex digits each."""
    found = (_HASHED.fullmatch(name) for name in patients)
    return {match[1] for match in found if match}


def _words(dataset, tag, codes):
    """What a tag says in lower case, else what the first of a sequence of codes means, else ''."""
    said = dataset.get(tag) or next((code.get("CodeMeaning") for code in dataset.get(codes) or ()), "")
    return " ".join(str(said or "").lower().split())


@functools.lru_cache
def _salt(folder):
    """Random bytes kept in a folder, written at the first use."""
    path = folder / "dicom-salt"
    if not path.is_file():
        with files.locked(folder / "dicom-salt.lock", wait=True):
            if not path.is_file():
                with files.writing(path) as beside:
                    beside.touch(0o600)
                    beside.write_text(secrets.token_hex(32), encoding="ascii")
    return path.read_bytes()
