"""DICOM files: pydicom's own, and some written here, against what pydicom's functions and the standard say."""

import io
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_fracture.data import decoding, dicom
from keras_fracture.errors import DataError, ImageError
from tests.data.own import NAME
from tests.data.own import dicom as written

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.pixels import apply_modality_lut, apply_voi_lut  # noqa: E402
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian  # noqa: E402

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def shipped(name):
    """One of the files in pydicom's package; others would be downloaded."""
    return (FOLDER / name).read_bytes()


def levels_of(data):
    """By pydicom's functions, scaled from the range they map to."""
    file = pydicom.dcmread(io.BytesIO(data))
    values = apply_voi_lut(apply_modality_lut(file.pixel_array, file), file)
    if "VOILUTSequence" in file:
        low, high = 0, 2 ** file.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "WindowWidth" in file:
        half = 2 ** (file.BitsStored - 1)
        ends = np.array([-half, half - 1]) if file.PixelRepresentation else np.array([0, 2 * half - 1])
        low, high = apply_modality_lut(ends, file)
    else:
        low, high = values.min(), values.max()
    levels = np.floor((values - low) / (high - low) * 255 + 0.5)
    return 255 - levels if file.PhotometricInterpretation == "MONOCHROME1" else levels


def near(image, levels):
    """Equal but for what lies between two levels."""
    assert image.dtype == np.uint8 and image.shape == levels.shape
    different = np.abs(image - levels.astype(float))
    assert different.max() <= 1 and (different > 0).mean() < 1e-3


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_padded.dcm",
        "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "CT_small.dcm", "693_J2KI.dcm",
        "J2K_pixelrep_mismatch.dcm", "JPEG2000.dcm", "JPGExtended.dcm", "JPEGLSNearLossless_16.dcm",
        "examples_overlay.dcm",
    ],
)  # fmt: skip
def test_files_of_pydicom_are_as_its_functions_show_them(name):
    decoded = decoding.decode(shipped(name), name)
    near(decoded.image, levels_of(shipped(name)))
    assert decoded.bits == pydicom.dcmread(FOLDER / name).BitsStored and not decoded.truncated
    assert decoded.image.std() > 5


@pytest.mark.parametrize("name", ["JPEGLSNearLossless_08.dcm", "liver_1frame.dcm"])
def test_few_bits_are_all_used(name):
    file = pydicom.dcmread(FOLDER / name)
    full = 2**file.BitsStored - 1
    np.testing.assert_array_equal(decoding.decode(shipped(name)).image, file.pixel_array * (255 // full))


@pytest.mark.parametrize(
    "name",
    ["SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_small_odd_big_endian.dcm", "GDCMJ2K_TextGBR.dcm",
     "SC_ybr_full_422_uncompressed.dcm", "examples_jpeg2k.dcm"],
)  # fmt: skip
def test_colour_is_turned_to_luma_as_pillow_does(name):
    colours = pydicom.dcmread(FOLDER / name).pixel_array
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    np.testing.assert_array_equal(decoding.decode(shipped(name)).image, expected)


def test_palette_and_deep_colour_are_turned_to_luma():
    deep = decoding.decode(shipped("SC_rgb_rle_16bit.dcm")).image
    expected = pydicom.dcmread(FOLDER / "SC_rgb_rle_16bit.dcm").pixel_array @ [0.299, 0.587, 0.114] / 257
    np.testing.assert_allclose(deep, expected, atol=0.51)
    file = pydicom.dcmread(FOLDER / "examples_palette.dcm")
    colours = pydicom.pixels.apply_color_lut(file.pixel_array, file)
    luma = colours @ [0.299, 0.587, 0.114] / (2 ** (8 * colours.itemsize) - 1) * 255
    np.testing.assert_allclose(decoding.decode(shipped("examples_palette.dcm")).image, luma, atol=0.51)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_of_every_depth(bits, function):
    dtype = np.uint8 if bits == 8 else np.uint16
    stored = np.linspace(0, 2**bits - 1, 4096).round().astype(dtype).reshape(64, 64)
    centre, width = 2**bits * 0.4, 2**bits * 0.3
    tags = {"WindowCenter": [centre, 1], "WindowWidth": [width, 2], "VOILUTFunction": function}
    data = written(stored, bits, RescaleSlope=2, RescaleIntercept=-100, **tags)
    near(decoding.decode(data).image, levels_of(data))
    assert decoding.decode(data).bits == bits
    inverted = written(
        stored, bits, RescaleSlope=2, RescaleIntercept=-100, PhotometricInterpretation="MONOCHROME1", **tags
    )
    near(decoding.decode(inverted).image, 255 - levels_of(data))


def test_a_window_of_the_standards_example():
    # PS3.3 C.11.2.1.2.1: centre 2048, width 4096 takes 0 to 0 and 4095 to 255; centre 0, width 1 is a step at 0.
    image = decoding.decode(written(RAMP, 12, WindowCenter=2048, WindowWidth=4096)).image
    np.testing.assert_array_equal(image, np.floor(RAMP / 4095 * 255 + 0.5))
    signed = written((RAMP.astype(np.int16) - 2048), 12, WindowCenter=0, WindowWidth=1)
    np.testing.assert_array_equal(decoding.decode(signed).image, np.where(RAMP >= 2048, 255, 0))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("bits", "first"), [(8, 0), (8, 100), (12, 100), (16, 0)])
def test_look_up_tables_come_before_windows(bits, first, syntax):
    table = np.linspace(2**bits - 1, 0, 3000).astype(np.uint16)  # darker where values are higher
    lut = Dataset()
    lut.LUTDescriptor = [3000, first, bits]
    lut.LUTData = table.astype("<u2" if syntax.is_little_endian else ">u2").tobytes()
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    data = written(RAMP, 12, syntax, VOILUTSequence=[lut], WindowCenter=10, WindowWidth=20)
    expected = table[np.clip(RAMP.astype(int) - first, 0, 2999)] / (2**bits - 1)
    np.testing.assert_array_equal(decoding.decode(data).image, np.floor(expected * 255 + 0.5))
    if bits > 8:  # pydicom's own wraps at 256 where a table of 8 bits has more entries
        near(decoding.decode(data).image, levels_of(data))
    lut["LUTDescriptor"].VR = "US"
    modality = decoding.decode(written(RAMP, 12, syntax, ModalityLUTSequence=[lut])).image
    assert (modality[0, 0], modality[-1, -1]) == (255, 0) and (
        np.diff(modality.ravel().astype(int)) <= 0
    ).all()


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_without_a_window_padding_is_black_and_does_not_count(kind):
    stored = (RAMP // 4 + 1000).astype(np.int16)
    stored[:4], stored[4] = -2000, -1990
    tags = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990, "PhotometricInterpretation": kind}
    image = decoding.decode(written(stored, 16, **tags)).image
    least, most = stored[5:].min(), stored.max()
    shares = (stored[5:] - least) / (most - least)
    levels = np.floor((1 - shares if kind == "MONOCHROME1" else shares) * 255 + 0.5)
    assert not image[:5].any()
    near(image[5:], levels)
    assert not decoding.decode(written(np.full((4, 4), 7, np.uint16), 12, PixelPaddingValue=7)).image.any()


def test_what_eight_bits_hold_stays():
    stored = np.random.default_rng(0).integers(20, 90, (30, 40)).astype(np.uint8)
    np.testing.assert_array_equal(decoding.decode(written(stored, 8)).image, stored)
    moved = written(stored, 8, RescaleSlope=-3, RescaleIntercept=7)
    np.testing.assert_array_equal(decoding.decode(moved).image, 255 - stored)
    signed = written((stored.astype(int) - 128).astype(np.int8), 8)
    np.testing.assert_array_equal(decoding.decode(signed).image, stored)


def test_an_overlay_in_unused_bits_is_not_shown():
    data = written(RAMP | 0x8000 * (RAMP % 2).astype(np.uint16), 12, WindowCenter=2048, WindowWidth=4096)
    np.testing.assert_array_equal(decoding.decode(data).image, np.floor(RAMP / 4095 * 255 + 0.5))


def test_it_is_the_image_that_its_png_is():
    image = decoding.decode(shipped("MR_small.dcm")).image
    np.testing.assert_array_equal(decoding.decode(decoding.encode_png(image)).image, image)
    assert not decoding.is_plain(shipped("MR_small.dcm"))


def test_facts_hold_no_identity_and_are_the_same_for_one_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / "one"))
    tags = {"BodyPartExamined": " HAND", "ViewPosition": "AP", "BurnedInAnnotation": "YES"}
    image, facts = dicom.read(written(RAMP, 12, **tags))
    assert (facts.body_part, facts.view, facts.burnt_in) == ("hand", "ap", True)
    assert re.fullmatch("dicom-[0-9a-f]{8}-[0-9a-f]{16}", facts.patient)
    np.testing.assert_array_equal(image, decoding.decode(written(RAMP, 12)).image)
    again = dicom.read(written(RAMP, 12, PatientID="4711 "))[1]
    assert again.patient == facts.patient
    assert dicom.read(written(RAMP, 12, PatientID="4712"))[1].patient != facts.patient
    (salt,) = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert "4711" not in repr(facts) and NAME not in repr(facts) and b"4711" not in salt.read_bytes()
    if sys.platform != "win32":
        assert salt.stat().st_mode & 0o777 == 0o600
    dicom._salt.cache_clear()
    assert dicom.read(written(RAMP, 12))[1].patient == facts.patient
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path / "other"))
    assert dicom.read(written(RAMP, 12))[1].patient != facts.patient


def test_facts_that_are_not_said(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_FRACTURE_CACHE", str(tmp_path))
    said = {"PatientID": "", "BodyPartExamined": None, "BurnedInAnnotation": "NO"}
    assert dicom.read(written(RAMP, 12, **said))[1] == ("", "", "", False, "")
    assert dicom.read(written(RAMP, 12))[1][1:4] == ("", "", None)
    region = Dataset()
    region.CodeMeaning = "Wrist joint"
    _, facts = dicom.read(written(RAMP, 12, AnatomicRegionSequence=[region], ViewCodeSequence=[region]))
    assert facts.body_part == facts.view == "wrist joint"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SC_rgb_rle_2frame.dcm", "must hold one image: .*Received: DICOM of 2$"),
        ("rtdose_rle.dcm", "must hold one image: .*Received: DICOM of 15$"),
        ("rtplan.dcm", "without an image"),
        ("MR_truncated.dcm", "image cannot be read: fetch it again"),
        ("JPEG-lossy.dcm", "image cannot be read"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", r"damaged DICOM file: its tags say \(1024, 256\)"),
        ("badVR.dcm", "image cannot be read"),
        ("image_dfl.dcm", "packed as a whole: .*dcmconv"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(name, words):
    with pytest.raises(ImageError, match=f"^scan-7 .*{words}") as caught:
        decoding.decode(shipped(name), "scan-7")
    assert "\n" not in str(caught.value)


def test_levels_at_the_top_of_the_word_are_refused():
    with pytest.raises(
        ImageError, match=r"^scan-7 must hold its levels in the lowest bits.*BitsStored 12, HighBit 15"
    ):
        decoding.decode(written(RAMP << 4, 12, HighBit=15), "scan-7")


@pytest.mark.parametrize("window", [(5, 0), (5, 0.5), (5, -3)])
def test_a_window_that_is_none_is_refused(window):
    data = written(RAMP, 12, WindowCenter=window[0], WindowWidth=window[1])
    with pytest.raises(ImageError, match=r"a window .*of width"):
        decoding.decode(data)


def test_a_decompression_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(
        Dataset, "pixel_array", property(lambda self: pytest.fail("it was unpacked")), raising=True
    )
    for side in (15_000, 65_535):
        with pytest.raises(ImageError, match="scan-7 is too large to decode"):
            decoding.decode(written(RAMP, 12, Rows=side, Columns=side), "scan-7")
    # Tags that say little of a compressed image that says much.
    stream, large = shipped("MR_small_jp2klossless.dcm"), (60_000).to_bytes(4, "big")
    start = stream.index(b"\xff\x4f\xff\x51") + 8
    with pytest.raises(ImageError, match=r"its tags say \(64, 64\).*Received: \(60000, 60000\)"):
        decoding.decode(stream[:start] + 2 * large + stream[start + 8 :], "scan-7")
    for name in ("JPGExtended.dcm", "MR_small_jpeg_ls_lossless.dcm"):
        stream = shipped(name)
        frame = next(stream.index(mark) for mark in (b"\xff\xc1\0", b"\xff\xf7\0") if mark in stream)
        with pytest.raises(ImageError, match=r"Received: \(65535, 65535\)"):
            decoding.decode(stream[: frame + 5] + b"\xff" * 4 + stream[frame + 9 :])
    packed = zlib.compress(bytes(10**7))
    with pytest.raises(ImageError, match="packed as a whole"):
        decoding.decode(shipped("image_dfl.dcm")[:400] + packed)


def test_no_error_says_what_a_tag_says():
    for tags in ({"WindowWidth": 5, "WindowCenter": 5}, {"NumberOfFrames": 1}, {}):
        data = written(RAMP, 12, StudyDescription=NAME, **tags)
        for place in range(132, len(data) - RAMP.nbytes):
            damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            try:
                decoding.decode(damaged, "scan-7")
            except ImageError as error:
                assert "\n" not in str(error) and "JANE" not in str(error) and "4711" not in str(error)


def test_without_pydicom_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(
        DataError, match=r"^scan-7 is a DICOM file: `pip install keras-fracture\[dicom\]`"
    ) as caught:
        decoding.decode(shipped("MR_small.dcm"), "scan-7")
    # Not as a damaged image, which a scan leaves out and remembers.
    assert not isinstance(caught.value, ImageError) and "\n" not in str(caught.value)
