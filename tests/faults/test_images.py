"""Damaged, odd and hostile images: decoded, or refused by an `ImageError` that names the file."""

import importlib.util
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keras_fracture.data import decoding, phantom
from keras_fracture.errors import ImageError
from tests.faults import counting

IMAGE = phantom.records(seed=0)[0]["image"][..., 0]
KINDS = {
    "JPEG": {"quality": 90},
    "JPEG, progressive": {"quality": 90, "progressive": True},
    "PNG": {},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "GIF": {},
    "WEBP": {"lossless": True},
}


def _bytes(image, kind, **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        stream, kind.partition(",")[0], **options
    )
    return stream.getvalue()


FILES = {kind: _bytes(IMAGE, kind, **options) for kind, options in KINDS.items()}
if found := importlib.util.find_spec("pydicom"):
    for name in (
        "MR_small",
        "MR_small_RLE",
        "MR_small_jp2klossless",
        "MR_small_jpeg_ls_lossless",
        "JPGExtended",
    ):
        path = Path(found.origin).parent / "data" / "test_files" / f"{name}.dcm"
        FILES[f"DICOM, {name}"] = path.read_bytes()


def _decoded_or_refused(data):
    """Whether it was decoded; any other error than ImageError is the test's."""
    counting.tried["images"] += 1
    try:
        image = decoding.decode(data, "scan-7").image
    except ImageError as error:
        assert "scan-7" in str(error) and "\n" not in str(error)
        return False
    assert image.dtype == np.uint8 and image.ndim == 2 and image.size
    return True


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_anywhere_is_decoded_as_far_as_it_goes_or_refused(kind):
    data = FILES[kind]
    decoded = [_decoded_or_refused(data[: len(data) * percent // 100]) for percent in range(100)]
    assert not decoded[0] and _decoded_or_refused(data)
    if kind in ("JPEG", "PNG"):
        assert all(decoded[20:]), "the header is whole, and so is a part of the image"


@counting.examples(300)
@given(
    st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 7)), max_size=20)
)
def test_flipped_bits_never_raise_anything_else(kind, flips):
    data = bytearray(FILES[kind])
    for place, bit in flips:
        data[place % len(data)] ^= 1 << bit
    _decoded_or_refused(bytes(data))


@counting.examples(200)
@given(st.sampled_from(sorted(FILES)), st.binary(max_size=64), st.integers(0, 64))
def test_bytes_behind_any_beginning_never_raise_anything_else(kind, tail, kept):
    _decoded_or_refused(FILES[kind][:kept] + tail)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_extreme_shapes_are_images(kind, shape):
    image = decoding.decode(_bytes(np.full(shape, 200, np.uint8), kind)).image
    np.testing.assert_allclose(image, np.full(shape, 200), atol=1)
    fitted = decoding.fit_and_pad(image, 32)
    lit = fitted > 100
    sides = sorted((lit.any(axis=1).sum(), lit.any(axis=0).sum()))
    assert sides == ([32, 32] if shape == (1, 1) else [1, 32])


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "1", "I;16", "F"])
def test_every_mode_gives_the_luma(mode):
    grey = np.tile(np.uint8([0, 255]), (16, 8))
    image = Image.fromarray(grey)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode != "L":
        image = (image.convert("RGB") if mode == "CMYK" else image).convert(mode)
    data = _bytes(image, "TIFF" if mode in ("CMYK", "F") else "PNG")
    np.testing.assert_allclose(decoding.decode(data).image, grey, atol=1)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_several_pages_or_frames_are_refused(kind):
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (40, 200)]
    data = _bytes(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=f"scan-7 must hold one image: .*Received: {kind} of 2$"):
        decoding.decode(data, "scan-7")


def test_previews_behind_a_cameras_jpeg_do_not_matter():
    stream = io.BytesIO()
    Image.fromarray(IMAGE).save(stream, "MPO", save_all=True, append_images=[Image.fromarray(IMAGE[::2])])
    assert decoding.decode(stream.getvalue()).image.shape == IMAGE.shape


def _bomb(width, height):
    """A PNG that announces more pixels than it holds bytes for."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [15_000, 40_000, 2**20, 2**31 - 1])
def test_a_decompression_bomb_is_not_unpacked(side):
    with pytest.raises(ImageError, match=r"scan-7 is (too large to decode|not an image)"):
        decoding.decode(_bomb(side, side), "scan-7")


def test_a_wrong_ending_does_not_matter(tmp_path):
    from keras_fracture import cli

    path = tmp_path / "hand.jpg"
    path.write_bytes(FILES["PNG"])
    np.testing.assert_array_equal(decoding.decode(path.read_bytes(), path.name).image, IMAGE)
    (tmp_path / "notes.png").write_bytes(b"not an image")
    assert cli.main(["predict", "--model", str(tmp_path), str(tmp_path / "notes.png")]) == 2


def test_opencvs_own_errors_are_not_let_through(monkeypatch):
    def fail(*given):
        raise cv2.error("assertion failed")

    monkeypatch.setattr(cv2, "imdecode", fail)
    np.testing.assert_array_equal(decoding.decode(FILES["PNG"]).image, IMAGE)
