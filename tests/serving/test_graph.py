"""Preprocessing in TensorFlow operations against OpenCV's and Pillow's, and SavedModels that are given files."""

import io
import json
import re
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.special import expit
from tensorflow.core.protobuf import saved_model_pb2

from keras_fracture import models, serving
from keras_fracture.data import Preprocess, decoding, phantom
from keras_fracture.errors import ImageError, RequestError
from keras_fracture.models.preprocessing import scale
from keras_fracture.serving import graph, limits
from keras_fracture.serving.served import Served

ANY = tf.TensorSpec((None, None), tf.uint8)
# A model that answers for bytes with weights drawn at random, and the preprocessing of two papers.
SERVED = {
    "compact_cnn": ({"image_size": 32}, Preprocess(size=32)),
    "resnet18": (
        {"image_size": 64, "width": 4, "num_classes": 2},
        Preprocess(size=64, clahe=(2.0, 8), channels=3),
    ),
}


def traced(function, *arguments):
    return tf.function(lambda image: function(image, *arguments), input_signature=[ANY], autograph=False)


def noise(rng, height, width, kind):
    """Noise on all levels, on black and white alone, or on few: no clipping, the sharpest edges, much clipping."""
    levels = (rng.integers(0, 256, (height, width)), rng.integers(0, 2, (height, width)) * 255)
    return (*levels, np.clip(rng.normal(90, 3, (height, width)), 0, 255))[kind].astype(np.uint8)


@pytest.fixture(scope="module")
def radiographs():
    return [record["image"][..., 0] for record in phantom.records(seed=3)[:4]]


@pytest.mark.parametrize("clip_limit", [0.0, 0.5, 2.0, 3.3, 40.0])
def test_clahe_is_opencvs_bit_for_bit(radiographs, clip_limit):
    rng = np.random.default_rng(0)
    ours = traced(graph.clahe, clip_limit)
    # Dividing by 8 on both sides, on one, on none; smaller than the grid; smaller than what is mirrored.
    sizes = [
        (64, 64),
        (64, 61),
        (61, 64),
        (50, 51),
        (7, 90),
        (9, 3),
        (2, 5),
        (1, 1),
        (1, 40),
        (130, 1),
        (200, 143),
    ]
    images = [noise(rng, *size, kind) for size in sizes for kind in range(3)]
    for image in [*images, *radiographs, radiographs[0][:251, 5:]]:
        np.testing.assert_array_equal(ours(image), decoding.clahe(image, clip_limit), str(image.shape))


@pytest.mark.parametrize("tiles", [1, 3, 16])
def test_clahe_on_other_grids(radiographs, tiles):
    np.testing.assert_array_equal(
        graph.clahe(radiographs[1], 2.0, tiles), decoding.clahe(radiographs[1], 2.0, tiles)
    )


@pytest.mark.parametrize("name", ["fit_and_pad", "resize_and_crop"])
@pytest.mark.parametrize("size", [1, 31, 112])
@pytest.mark.parametrize("resize", ["lanczos", "bilinear"])
def test_resizing_is_pillows_bit_for_bit(radiographs, name, size, resize):
    rng = np.random.default_rng(size)
    ours = traced(getattr(graph, name), size, resize)
    # Up and down, wide and tall (which Pillow does in the other order), the same size, half a pixel to round.
    sizes = [
        (300, 200),
        (200, 300),
        (301, 40),
        (40, 301),
        (20, 13),
        (size, size),
        (size, 2 * size),
        (1, 9),
        (9, 1),
    ]
    sizes += [(2 * size, 5), *rng.integers(1, 250, (8, 2)).tolist()]
    images = [noise(rng, *each, number % 3) for number, each in enumerate(sizes)]
    for image in [*images, radiographs[2]]:
        expected = getattr(decoding, name)(image, size, resize)
        np.testing.assert_array_equal(ours(image), expected, str(image.shape))


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def packed_png(levels, bits, clear):
    """A grey PNG of fewer bits than 8, in which the level `clear`, two bytes, is transparent."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    bits_of_level = (levels[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(bits_of_level.reshape(len(levels), -1), axis=1)
    header = struct.pack(">IIBBBBB", *levels.shape[::-1], bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", clear) if clear else b"")
        + chunk(b"IDAT", zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes()))
        + chunk(b"IEND", b"")
    )


def files(radiograph):
    """Name to bytes, one file of each kind that is to be read."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (9, 7, 4), np.uint8))
    smooth = colours.convert("RGB").resize((70, 90))
    sixteen = rng.integers(0, 65536, (50, 41, 4), np.uint16)
    grey = Image.fromarray(radiograph)
    whole = saved(grey, "JPEG")
    return {
        "grey JPEG": whole,
        "truncated JPEG": whole[: len(whole) // 2],
        "truncated progressive JPEG": saved(grey, "JPEG", progressive=True)[:-900],
        "colour JPEG": saved(smooth, "JPEG", quality=60),
        "progressive JPEG": saved(smooth, "JPEG", progressive=True),
        "grey PNG": saved(grey, "PNG"),
        "two-level PNG": saved(grey.convert("1"), "PNG"),
        "grey PNG with transparency": saved(colours.convert("LA"), "PNG"),
        "colour PNG": saved(colours.convert("RGB"), "PNG"),
        "colour PNG with transparency": saved(colours, "PNG"),
        "palette PNG": saved(smooth.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "palette PNG with transparency": saved(smooth.convert("P"), "PNG", transparency=3),
        **{
            f"{kind} of {count} colours": saved(smooth.quantize(count), "PNG", **options)
            for count in (2, 4, 16)  # of 1, 2 and 4 bits
            for kind, options in (("palette", {}), ("palette with transparency", {"transparency": 1}))
        },
        "16-bit grey PNG": cv2.imencode(".png", sixteen[..., 0])[1].tobytes(),
        "16-bit colour PNG": cv2.imencode(".png", sixteen[..., :3])[1].tobytes(),
        "16-bit colour PNG with transparency": cv2.imencode(".png", sixteen)[1].tobytes(),
        **{
            f"{bits}-bit grey PNG": packed_png(rng.integers(0, 2**bits, (5, 8)), bits, clear)
            for bits in (1, 2, 4)
            for clear in (b"", b"\0\1")
        },
        "grey PNG with a transparent level": saved(grey, "PNG", transparency=int(radiograph[100, 100])),
        "colour PNG with a transparent one": saved(smooth, "PNG", transparency=smooth.getpixel((3, 4))),
        "16-bit grey PNG with a transparent level": saved(
            Image.fromarray(sixteen[..., 0]), "PNG", transparency=int(sixteen[3, 4, 0])
        ),
        **{
            f"{bits}-bit values in a 16-bit PNG": cv2.imencode(".png", sixteen[..., 0] >> (16 - bits))[
                1
            ].tobytes()
            for bits in range(1, 16)
        },
        "black 16-bit PNG": cv2.imencode(".png", np.zeros((9, 7), np.uint16))[1].tobytes(),
    }


def test_files_are_read_as_training_reads_them(radiographs):
    ours = tf.function(graph.decode, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    for name, data in files(radiographs[0]).items():
        np.testing.assert_array_equal(ours(data), decoding.decode(data).image, name)


def test_what_cannot_be_read_is_an_error(radiographs):
    ours = tf.function(graph.decode, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    whole, grey = decoding.encode_png(radiographs[0]), Image.fromarray(radiographs[0])
    ink = saved(grey.convert("CMYK"), "JPEG")
    for data in (
        b"",
        b"\x89PNG",
        b"this is no image",
        b"\xff\xd8\xff\xe0cut off",
        whole[: len(whole) // 2],
        ink,
        saved(grey, "PNG", save_all=True, append_images=[grey.rotate(90)]),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError):
            ours(data)
        with pytest.raises(ImageError):  # and nobody has to try
            limits.check(data)


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("pixel_range", [(0.0, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("resize", ["lanczos", "bilinear"])
def test_preprocess_is_trainings(radiographs, crop, invert, pixel_range, resize):
    settings = Preprocess(size=40, clahe=(2.0, 8), crop=crop, channels=3, invert=invert, resize=resize)
    data = decoding.encode_png(radiographs[0][:200])
    made = graph.preprocess(tf.constant(data), settings, pixel_range)
    np.testing.assert_allclose(made, scale(settings(radiographs[0][:200]), pixel_range), atol=1e-6)


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("side", [20, 40, 79, 80, 81, 160, 320, 500])
def test_reduced_jpeg_files_are_read_alike(radiographs, crop, side):
    settings = Preprocess(size=10, crop=crop, jpeg="reduced")
    image = Image.fromarray(radiographs[0]).resize((side, 3 * side // 2))
    for data in (saved(image, "JPEG"), saved(image.convert("RGB"), "JPEG"), saved(image, "PNG")):
        ours = settings.decode(data)
        np.testing.assert_array_equal(graph.decode(tf.constant(data), settings), ours)
        longest = side if crop else 3 * side // 2
        times = 1 if data[1:4] == b"PNG" else max(k for k in (1, 2, 4, 8) if k == 1 or longest >= 20 * k)
        assert ours.shape == (-(-(3 * side // 2) // times), -(-side // times))


@pytest.fixture(scope="module", params=SERVED)
def served(request, tmp_path_factory):
    config, preprocess = SERVED[request.param]
    model = models.create(request.param, **config)
    folder = tmp_path_factory.mktemp("bytes") / request.param
    return model, preprocess, serving.export(model, folder, preprocess=preprocess)


def test_bytes_are_answered_as_the_python_pipeline_answers(served, radiographs):
    model, preprocess, version = served
    images = [*radiographs, radiographs[0][:97, 20:]]
    data = [saved(Image.fromarray(image), kind) for image in images for kind in ("JPEG", "PNG")]
    serve = tf.saved_model.load(str(version)).signatures["serve_bytes"]
    probabilities = serve(bytes=tf.constant(data))["probabilities"].numpy()
    prepared = np.stack([preprocess(decoding.decode(each).image) for each in data])
    logits = np.asarray(model(scale(prepared, model.pixel_range), training=False))
    expected = (
        expit(logits) if logits.shape[1] == 1 else np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    )
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert np.ptp(probabilities[:, 0]) > 1e-4  # the images, not the bias, decide


def test_our_server_answers_bytes_as_the_saved_model_does(served, radiographs):
    version = served[2]
    own = tf.saved_model.load(str(version)).signatures["serve_bytes"]
    ours = Served(version.parent)
    data = [
        each
        for name, each in files(radiographs[0]).items()
        if not re.search("truncated|palette.* colours", name)
    ]
    expected = own(bytes=tf.constant(data))["probabilities"].numpy()
    answers = ours.run("serve_bytes", {"bytes": np.array(data, object)})["probabilities"]
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-6)
    assert np.ptp(expected[:, 0]) > 1e-4


def test_our_server_refuses_what_the_saved_model_cannot_decode(served, radiographs):
    whole = decoding.encode_png(radiographs[0])
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes(64) + whole[middle + 64 :]
    assert limits.check(damaged) and decoding.decode(damaged).image.any()  # OpenCV would make something of it
    with pytest.raises(RequestError, match="cannot read what it was given"):
        Served(served[2].parent).run("serve_bytes", {"bytes": np.array([damaged], object)})


def test_a_jpeg_damaged_in_the_middle_is_answered_as_the_saved_model_does(served, radiographs):
    """A limit of libjpeg, which only prints a warning: `serving/README.md` says so."""
    whole = saved(Image.fromarray(radiographs[0]), "JPEG")
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes(64) + whole[middle + 64 :]
    expected = tf.saved_model.load(str(served[2])).signatures["serve_bytes"](bytes=tf.constant([damaged]))
    given = Served(served[2].parent).run("serve_bytes", {"bytes": np.array([damaged], object)})
    np.testing.assert_allclose(given["probabilities"], expected["probabilities"], rtol=0, atol=1e-6)


def test_every_operation_is_tensorflows_own(served):
    saved_model = saved_model_pb2.SavedModel.FromString((served[2] / "saved_model.pb").read_bytes())
    (graph_def,) = [meta.graph_def for meta in saved_model.meta_graphs]
    nodes = [
        *graph_def.node,
        *(node for function in graph_def.library.function for node in function.node_def),
    ]
    names = {function.signature.name for function in graph_def.library.function}
    used = {node.op for node in nodes}
    assert {"DecodeJpeg", "DecodePng"} <= used
    assert not used & {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
    registered = set(tf.raw_ops.__dict__)
    assert used - names <= registered, used - names - registered


@pytest.mark.parametrize("served", ["resnet18"], indirect=True)
def test_a_process_that_knows_only_tensorflow_gets_answers(served, radiographs, tmp_path):
    data = decoding.encode_png(radiographs[1])
    (tmp_path / "image.png").write_bytes(data)
    program = f"""
import sys
import tensorflow as tf
serve = tf.saved_model.load({str(served[2])!r}).signatures["serve_bytes"]
answer = serve(bytes=tf.stack([tf.io.read_file({str(tmp_path / "image.png")!r})]))["probabilities"]
assert "keras_fracture" not in sys.modules
print(answer.numpy().tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-500:]
    here = tf.saved_model.load(str(served[2])).signatures["serve_bytes"](bytes=tf.constant([data]))
    np.testing.assert_allclose(json.loads(done.stdout), here["probabilities"], atol=1e-5)
