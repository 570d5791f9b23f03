import io

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from keras_fracture.data import decoding, levels, phantom
from keras_fracture.errors import ImageError
from keras_fracture.serving import limits


@pytest.fixture(scope="module")
def grey():
    """A drawn radiograph, not square."""
    return phantom.records(sources=2, size=96)[0]["image"][8:80, :, 0]


@pytest.fixture(scope="module")
def colour(grey):
    return np.stack([grey, 255 - grey, np.roll(grey, 9, 1)], -1)


def _bytes(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _luma(colour):
    """ITU-R 601, by its definition."""
    return colour.astype(float) @ [0.299, 0.587, 0.114]


def test_grey_png_and_bmp_are_lossless(grey):
    for kind in ("PNG", "BMP", "TIFF"):
        decoded = decoding.decode(_bytes(Image.fromarray(grey), kind))
        np.testing.assert_array_equal(decoded.image, grey)
        assert decoded.image.dtype == np.uint8 and not decoded.truncated


def test_jpeg_equals_pillow(grey, colour):
    for image in (Image.fromarray(grey), Image.fromarray(colour)):
        data = _bytes(image, "JPEG", quality=90)
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(int)
        # Colour is decoded to luma by libjpeg itself, without the rounding on the way through RGB.
        allowed = 0 if image.mode == "L" else 40
        assert np.abs(decoding.decode(data).image - expected).max() <= allowed
        assert np.abs(decoding.decode(data).image - expected).mean() <= 1


def test_colour_is_turned_to_luma(colour):
    for image in (Image.fromarray(colour), Image.fromarray(colour).convert("RGBA")):  # opaque
        np.testing.assert_allclose(decoding.decode(_bytes(image)).image, _luma(colour), atol=1.01)


def test_palette_is_looked_up(grey):
    image = Image.fromarray(grey).quantize(16)
    expected = _luma(np.asarray(image.convert("RGB")))
    np.testing.assert_allclose(decoding.decode(_bytes(image)).image, expected, atol=1.01)


def test_sixteen_bits_are_scaled_not_clipped(grey):
    deep = grey.astype(np.uint16) * 257
    deep[0, :2] = 128, 129  # the border of rounding: 128 / 257 < 0.5 < 129 / 257
    decoded = decoding.decode(_bytes(Image.fromarray(deep))).image
    np.testing.assert_array_equal(decoded[1:], grey[1:])
    assert decoded[0, :2].tolist() == [0, 1]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "PGM", "TIFF"])
def test_the_bits_really_used_are_found(grey, kind, bits):
    full = 2**bits - 1
    deep = np.rint(grey * (full / 255)).astype(np.uint16)
    deep[0, 0] = full
    data = cv2.imencode(f".{kind.lower()}", deep)[1].tobytes()
    if kind == "PGM":
        assert b"65535" in data[:20]
        data = data.replace(b"65535", str(max(full, 256)).encode(), 1)
    decoded = decoding.decode(data)
    expected = np.concatenate([[255], grey.ravel()[1:]]).reshape(grey.shape)
    np.testing.assert_allclose(decoded.image, expected, atol=1 if bits < 10 else 0)
    assert kind == "PGM" or decoded.bits == bits


def test_a_pgm_says_its_range_itself(grey):
    dark = (grey.astype(np.uint16) * 4).tobytes()  # at most a quarter of what it says
    swapped = np.frombuffer(dark, np.uint16).astype(">u2").tobytes()
    data = f"P5 {grey.shape[1]} {grey.shape[0]} 4095\n".encode() + swapped
    np.testing.assert_allclose(decoding.decode(data).image, grey * (4 * 255 / 4095), atol=0.51)


def _tiff(values):
    return cv2.imencode(".tiff", values)[1].tobytes()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_from_0_to_1_are_scaled_and_whole_ones_read_as_they_are(grey, kind):
    np.testing.assert_array_equal(decoding.decode(_tiff((grey / 255).astype(kind))).image, grey)
    np.testing.assert_array_equal(decoding.decode(_tiff(grey.astype(kind))).image, grey)
    deep = grey.astype(kind) * 16
    deep[0, 0] = 4095
    np.testing.assert_allclose(
        decoding.decode(_tiff(deep)).image[1:], grey[1:] * (16 * 255 / 4095), atol=0.51
    )


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
REFUSED = {
    "negative": (RAMP.astype(np.int16) - 50, "no negative value.*Received: -50"),
    "NaN": (np.where(RAMP > 200, np.nan, RAMP / 255).astype(np.float32), "finite.*Received: NaN"),
    "overshooting": ((RAMP / 250).astype(np.float32), "floats from 0 to 1.*Received: float32 up to 1.02"),
    "more than 16 bits": (RAMP.astype(np.int32) * 1000, "to 65535.*Received: int32 up to 255000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_without_a_meaning_are_refused_in_files_and_arrays(case):
    values, words = REFUSED[case]
    for read in (
        lambda: decoding.decode(_tiff(values), "scan-7"),
        lambda: levels.to_levels(values, "scan-7"),
    ):
        with pytest.raises(ImageError, match=f"scan-7 .*{words}") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_signed_values_are_read_where_they_are_not_negative(grey):
    np.testing.assert_array_equal(decoding.decode(_tiff(grey.astype(np.int16))).image, grey)
    np.testing.assert_array_equal(levels.to_levels(grey.astype(np.int32) * 257).image, grey)
    # All that 16 signed bits hold is 15 bits.
    deep = np.int16([[0, 16384, 32767]])
    assert levels.to_levels(deep)[0].tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    "values", [np.zeros((4, 4, 3)), np.zeros((0, 4)), np.array([["a"]]), np.ones((2, 2), complex)]
)
def test_what_is_no_grey_array_is_refused(values):
    with pytest.raises(ImageError, match=r"must (be grey|hold real numbers).*Received"):
        levels.to_levels(values)


def _transparent(grey):
    """An image whose hidden half is white, and the same on black."""
    alpha = np.full_like(grey, 255)
    alpha[:, :30] = 0
    alpha[:, 30:40] = 100
    visible = np.where(alpha, grey, 255)
    return visible, alpha, np.rint(visible * (alpha / 255))


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "LA"), ("PNG", "RGBA"), ("TIFF", "RGBA"), ("WEBP", "RGBA")]
)
def test_what_is_transparent_is_black(grey, kind, mode):
    visible, alpha, expected = _transparent(grey)
    image = Image.merge("LA", [Image.fromarray(visible), Image.fromarray(alpha)]).convert(mode)
    data = _bytes(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_allclose(decoding.decode(data).image, expected, atol=1)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_is_black(grey, kind):
    image = Image.fromarray(np.where(grey > 60, grey, 0).astype(np.uint8))
    image.putpalette([255] * 3 + [level for level in range(1, 256) for _ in range(3)])
    data = _bytes(image, kind, transparency=0)
    np.testing.assert_allclose(decoding.decode(data).image, np.where(grey > 60, grey, 0), atol=1)


@pytest.mark.parametrize("deep", [1, 257])
def test_a_transparent_level_is_black(grey, deep):
    values = np.where(grey > 60, grey, 255).astype(np.uint8 if deep == 1 else np.uint16) * deep
    data = _bytes(Image.fromarray(values), transparency=255 * deep)
    np.testing.assert_array_equal(decoding.decode(data).image, np.where(grey > 60, grey, 0) * (grey < 255))


def test_the_depth_is_that_of_what_is_seen():
    """Hidden white does not make an image of 12 bits one of 16."""
    deep = np.full((6, 5, 4), 4095, np.uint16)
    deep[..., 3] = 65535
    deep[:2] = 65535
    deep[:2, :, 3] = 0
    decoded = decoding.decode(cv2.imencode(".png", deep)[1].tobytes())
    assert decoded.bits == 12
    np.testing.assert_array_equal(decoded.image, [[0] * 5] * 2 + [[255] * 5] * 4)


@pytest.mark.parametrize("deep", [False, True])
def test_a_tiff_whose_zero_is_white_is_turned(grey, deep):
    values = grey.astype(np.uint16) * 257 if deep else grey
    data = _bytes(Image.fromarray(np.iinfo(values.dtype).max - values), "TIFF")
    tag = data.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00") + 8
    np.testing.assert_array_equal(decoding.decode(data[:tag] + b"\0\0" + data[tag + 2 :]).image, grey)


def test_inverted_radiographs_are_told_from_upright_ones_and_from_white_frames():
    records = phantom.records(sources=30, size=96)
    drawn = [records[number]["image"][..., 0] for number in range(0, len(records), 2)]
    assert not any(levels.looks_inverted(image) for image in drawn)
    assert np.mean([levels.looks_inverted(255 - image) for image in drawn]) > 0.95
    framed = [np.pad(image, 40, constant_values=250) for image in drawn]
    assert np.mean([levels.looks_inverted(image) for image in framed]) < 0.02
    for shape in ((1, 1), (1, 50), (3, 2)):
        assert not levels.looks_inverted(np.full(shape, 200, np.uint8))


def test_cmyk_jpeg_is_read_as_pillow_reads_it(colour):
    data = _bytes(Image.fromarray(colour).convert("CMYK"), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "CMYK"
        expected = _luma(np.asarray(image.convert("RGB")))
    difference = np.abs(decoding.decode(data).image - expected)
    assert difference.max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_file_keeps_what_was_before_the_cut(grey, kind):
    image = cv2.resize(grey, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    whole = _bytes(Image.fromarray(image), kind)
    decoded = decoding.decode(whole[: int(0.6 * len(whole))])
    assert decoded.truncated and decoded.image.shape == image.shape
    top, bottom = slice(0, len(image) // 3), slice(-len(image) // 8, None)
    reference = decoding.decode(whole).image.astype(int)
    np.testing.assert_array_equal(decoded.image[top], reference[top])
    assert np.abs(decoded.image[bottom] - reference[bottom]).mean() > 10


def test_truncated_sixteen_bits_are_scaled_too(grey):
    whole = _bytes(Image.fromarray(np.tile(grey, (4, 4)).astype(np.uint16) * 257))
    decoded = decoding.decode(whole[: int(0.6 * len(whole))])
    assert decoded.truncated
    np.testing.assert_array_equal(decoded.image[:72, :96], grey)


def test_padding_after_the_end_marker_is_no_truncation(grey):
    for kind in ("JPEG", "PNG"):
        assert not decoding.decode(_bytes(Image.fromarray(grey), kind) + b"\0" * 200).truncated


def test_rotated_by_exif_is_turned_upright_also_when_truncated(grey):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _bytes(Image.fromarray(grey), "JPEG", quality=95, exif=exif)
    plain = decoding.decode(_bytes(Image.fromarray(grey), "JPEG", quality=95)).image
    np.testing.assert_array_equal(decoding.decode(data).image, np.rot90(plain, -1))
    assert decoding.decode(data[:-2]).truncated
    np.testing.assert_array_equal(decoding.decode(data[:-2]).image, np.rot90(plain, -1))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "zero bytes"),
        (b"these are words, not an image", "not an image"),
        (b"\xff\xd8\xff", "Received: 3 bytes"),
    ],
)
def test_what_is_no_image_is_an_image_error_naming_the_file(data, words):
    with pytest.raises(ImageError, match=words) as caught:
        decoding.decode(data, "folder/words.jpg")
    assert "folder/words.jpg" in str(caught.value) and "\n" not in str(caught.value)


def test_plain_files_are_those_every_decoder_reads_alike(grey, colour):
    exif = Image.Exif()
    exif[0x0112] = 3
    jpeg = _bytes(Image.fromarray(grey), "JPEG")
    assert decoding.is_plain(jpeg) and decoding.is_plain(_bytes(Image.fromarray(grey)))
    assert decoding.is_plain(_bytes(Image.fromarray(colour), "JPEG"))
    assert not decoding.is_plain(jpeg[:-40])
    assert not decoding.is_plain(_bytes(Image.fromarray(grey), transparency=0))
    assert not decoding.is_plain(_bytes(Image.fromarray(grey), "JPEG", exif=exif))
    assert not decoding.is_plain(_bytes(Image.fromarray(grey.astype(np.uint16))))
    assert not decoding.is_plain(_bytes(Image.fromarray(colour).convert("CMYK"), "JPEG"))


def test_fit_and_pad_equals_pillow_pasted_on_black(grey):
    height, width = grey.shape
    for size in (48, 96, 200):
        fitted = size, round(height * size / width)
        expected = Image.new("L", (size, size), 0)
        expected.paste(
            Image.fromarray(grey).resize(fitted, Image.Resampling.LANCZOS), (0, (size - fitted[1]) // 2)
        )
        np.testing.assert_array_equal(decoding.fit_and_pad(grey, size), np.asarray(expected))


def test_fit_and_pad_of_a_flat_image_has_the_area_it_should():
    square = decoding.fit_and_pad(np.full((300, 100), 200, np.uint8), 60)
    assert (square == 200).sum() == 60 * 20 and (square == 0).sum() == 60 * 40
    assert (square[:, 20:40] == 200).all()
    thin = decoding.fit_and_pad(np.full((1000, 2), 200, np.uint8), 10)
    assert (thin > 0).any(0).sum() == 1


def test_resize_and_crop_equals_pillow_cropped_in_the_middle(grey):
    height, width = grey.shape
    for size in (31, 64, 144):
        scaled = round(width * size / height), size
        left = (scaled[0] - size) // 2
        expected = (
            Image.fromarray(grey).resize(scaled, Image.Resampling.LANCZOS).crop((left, 0, left + size, size))
        )
        np.testing.assert_array_equal(decoding.resize_and_crop(grey, size), np.asarray(expected))


def test_square_of_the_right_size_is_left_alone(grey):
    square = np.ascontiguousarray(grey[:64, :64])
    for resize in (decoding.fit_and_pad, decoding.resize_and_crop):
        np.testing.assert_array_equal(resize(square, 64), square)


def test_clahe_is_opencvs(grey):
    expected = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(4, 4)).apply(grey)
    np.testing.assert_array_equal(decoding.clahe(grey, 3.0, 4), expected)
    assert decoding.clahe(grey, 3.0, 4).std() > grey.std()


@pytest.mark.parametrize("shape", [(300, 200), (120, 400), (50, 50)])
def test_boxes_lie_where_a_drawn_rectangle_lands(shape):
    height, width = shape
    image = np.zeros(shape, np.uint8)
    top, left, bottom, right = height // 5, width // 4, height // 2, 3 * width // 4
    image[top:bottom, left:right] = 255
    boxes = [[top / height, left / width, bottom / height, right / width]]
    rows, columns = np.nonzero(decoding.fit_and_pad(image, 200) > 127)
    landed = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]) / 200
    np.testing.assert_allclose(decoding.fit_boxes(boxes, height, width)[0], landed, atol=1.01 / 200)


def test_no_boxes_stay_none():
    assert decoding.fit_boxes(np.zeros((0, 4)), 30, 40).shape == (0, 4)


def test_png_round_trip(grey, colour):
    np.testing.assert_array_equal(decoding.decode(decoding.encode_png(grey)).image, grey)
    with Image.open(io.BytesIO(decoding.encode_png(colour))) as image:
        np.testing.assert_array_equal(np.asarray(image), colour)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_is_that_of_the_image_as_it_is_turned_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _bytes(Image.fromarray(np.zeros((20, 40), np.uint8)), kind, exif=exif)
    upright = (40, 20) if orientation > 4 else (20, 40)
    assert decoding.size_of(data) == decoding.decode(data).image.shape == upright
    assert decoding.is_turned(data) == (orientation > 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_orientation_that_stands_in_xmp_alone_turns_nothing(kind):
    """OpenCV knows EXIF's alone, Pillow both: size, boxes and what servers take go by what is decoded."""
    words = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    chunk = PngImagePlugin.PngInfo()
    chunk.add_itxt("XML:com.adobe.xmp", words.decode())
    drawn = Image.fromarray(np.arange(800, dtype=np.uint8).reshape(20, 40))
    data = _bytes(drawn, kind, **({"xmp": words} if kind == "JPEG" else {"pnginfo": chunk}))
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[0x0112] == 6, "Pillow would turn it"
    assert decoding.size_of(data) == decoding.decode(data).image.shape == (20, 40)
    assert not decoding.is_turned(data) and decoding.is_plain(data)
    limits.check(data)
    cut = decoding.decode(data[:-1], "cut off") if kind == "JPEG" else decoding.decode(data)
    assert cut.image.shape == (20, 40)
