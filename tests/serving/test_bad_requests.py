"""Requests that cannot be answered: 4xx and one line, over HTTP and gRPC, and the server goes on answering."""

import contextlib
import functools
import http.client
import io
import json
import struct
import zlib

import grpc
import numpy as np
import pytest
import tensorflow as tf
from kserve.protocol.grpc import grpc_predict_v2_pb2 as v2_pb2
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as v2_grpc
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from keras_fracture.serving import limits
from tests.serving.asking import (
    KNOWN,
    PREDICT,
    TOKEN,
    WAIT,
    channel,
    coded,
    predictions,
    rows,
    saved,
    v2_request,
)


def header_of(width, height):
    """A PNG that says it is that large, and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def jpeg(**options):
    return saved(np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8), "JPEG", **options)


def wide_jpeg():
    """Says it is 60,000 x 60,000."""
    data = jpeg()
    size = data.index(b"\xff\xc0") + 5
    return data[:size] + struct.pack(">HH", 60_000, 60_000) + data[size + 4 :]


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


def turned_behind():
    """A PNG whose EXIF stands behind the pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(np.zeros((9, 12), np.uint8), "PNG", exif=exif)
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    last = data.index(b"IEND") - 4
    return data[:start] + data[end:last] + data[start:end] + data[last:]


def palette():
    stream = io.BytesIO()
    Image.linear_gradient("L").quantize(16).save(stream, "PNG")
    return stream.getvalue()


def ink():
    stream = io.BytesIO()
    Image.new("CMYK", (20, 20)).save(stream, "JPEG")
    return stream.getvalue()


BAD_IMAGES = {
    "empty": (b"", "image 0 is empty"),
    "text": (b"this is no image", "image 0 must be a JPEG or PNG file"),
    "truncated JPEG": (jpeg()[:-200], "image 0 is cut off"),
    "truncated PNG": (saved(np.zeros((9, 9), np.uint8), "PNG")[:-20], "image 0 is cut off"),
    "20,000 x 20,000": (header_of(20_000, 20_000), "25,000,000 pixels at most"),
    "6,000 x 6,000": (header_of(6_000, 6_000), "25,000,000 pixels at most. Received: 6000 x 6000"),
    "60,000 x 60,000 JPEG": (wide_jpeg(), "25,000,000 pixels at most"),
    "without pixels": (header_of(20, 20), "cnn cannot read what it was given"),
    "turned": (turned(), "EXIF orientation 6"),
    "turned, as it says at its end": (turned_behind(), "EXIF orientation 6"),
    "CMYK": (ink(), "Received: CMYK"),
    "palette of 16 colours": (palette(), "save it as grey. Received: 4 bits"),
    "too many bytes": (jpeg() + b"\0" * limits.MAX_BYTES, "20,971,520 bytes at most"),
}
BAD_BODIES = {
    "nothing": (PREDICT, b"", 400, "empty document"),
    "no JSON": (PREDICT, b"hello", 400, "JSON"),
    "a list": (PREDICT, [1], 400, "instances"),
    "no instances": (PREDICT, {"instances": []}, 400, "1 to 64 images. Received: 0"),
    "1,000 images": (PREDICT, rows(*[jpeg()] * 1000), 400, "1 to 64 images. Received: 1000"),
    "no base64": (PREDICT, {"instances": [{"b64": "%%%"}]}, 400, "base64"),
    "base64 of a number": (PREDICT, {"instances": [{"b64": 3}]}, 400, "base64"),
    "words": (PREDICT, {"instances": ["hello"], "signature_name": "serve_bytes"}, 400, "base64"),
    "wrong shape": (PREDICT, {"instances": [[[0.5]]]}, 400, "shape (n, 32, 32, 1). Received: (1, 1, 1)"),
    "ragged": (PREDICT, {"instances": [[1], [1, 2]]}, 400, "one shape"),
    "NaN": (PREDICT, {"instances": [[float("nan")]]}, 400, "JSON"),
    "words for numbers": (
        PREDICT,
        {"instances": np.full((1, 32, 32, 1), "a").tolist()},
        400,
        "float32 numbers",
    ),
    "scaled twice": (
        PREDICT,
        {"instances": np.linspace(0, 0.0039, 2048).reshape(2, 32, 32, 1).tolist()},
        400,
        "scale them once. Received: 2 image(s) from 0 to 0.0039",
    ),
    "scaled twice, alone": (
        PREDICT,
        {"instances": np.linspace(0, 0.0039, 1024).reshape(1, 32, 32, 1).tolist()},
        400,
        "scale them once. Received: 1 image(s) from 0 to 0.0039",
    ),
    "rows and columns": (PREDICT, rows(jpeg()) | {"inputs": [coded(jpeg())]}, 400, "Received: both"),
    "more than base64": (
        PREDICT,
        {"instances": [coded(jpeg()) | {"x": 1}]},
        400,
        "and no more. Received: b64 beside x",
    ),
    "grey levels": (PREDICT, {"instances": np.full((1, 32, 32, 1), 90).tolist()}, 400, "between 0 and 1"),
    "other names": (PREDICT, {"instances": [{"pixels": [1]}]}, 400, "must hold images. Received:"),
    "unknown endpoint": (PREDICT, rows() | {"instances": [1], "signature_name": "x"}, 400, "Received: 'x'"),
    "unknown model": ("/v1/models/nope:predict", rows(jpeg()), 404, "nope does not exist"),
    "unknown version": (
        "/v1/models/cnn/versions/3:predict",
        rows(jpeg()),
        404,
        "in version 2. Received: version 3",
    ),
    "an older version": ("/v1/models/cnn/versions/1:predict", rows(jpeg()), 404, "Received: version 1"),
    "a version that is none": ("/v1/models/cnn/versions/x:predict", rows(jpeg()), 404, "Received: version x"),
    "classes of a generator": (
        "/v1/models/gan:predict",
        {"instances": [{"noise": [0.0] * 100, "labels": 0.5}]},
        400,
        "labels must be whole numbers",
    ),
    "loading what is not there": ("/v2/repository/models/nope/load", b"", 404, "nope does not exist"),
}


def refused(response, status, words):
    assert response.status_code == status, response.text
    reason = response.json()["error"]
    assert words in reason and "\n" not in reason and len(reason) < 300


def answers_on(server, files):
    response = predictions(server.post(PREDICT, rows(files[0])))
    np.testing.assert_allclose(response, server.own(bytes=tf.constant(files[:1])), atol=1e-6)


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_refused_in_one_line(server, files, kind):
    data, words = BAD_IMAGES[kind]
    refused(server.post(PREDICT, rows(data)), 400, words)
    refused(server.post(PREDICT, rows(files[0], data)), 400, words.replace("image 0", "image 1"))
    answers_on(server, files)


@pytest.mark.parametrize("kind", BAD_BODIES)
def test_a_bad_request_is_refused_in_one_line(server, files, kind):
    path, body, status, words = BAD_BODIES[kind]
    refused(server.post(path, body, headers=KNOWN), status, words)
    answers_on(server, files)


V2_BAD = {
    "no inputs": ({}, "inputs"),
    "no list": ({"inputs": 3}, "inputs"),
    "no data": ({"inputs": [{"name": "bytes", "datatype": "BYTES", "shape": [1]}]}, "data"),
    "other names": (
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]},
        "takes images or bytes",
    ),
    "other dtype": (
        {"inputs": [{"name": "images", "datatype": "INT32", "shape": [1], "data": [1]}]},
        "must be FP32",
    ),
    "short data": (
        {"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 9], "data": [1]}]},
        "shape [1, 9]",
    ),
    "a table": (
        {"inputs": [{"name": "bytes", "datatype": "BYTES", "shape": [1, 1], "data": ["eA=="]}]},
        "(1, 1)",
    ),
    "1,000 images": (
        {"inputs": [{"name": "bytes", "datatype": "BYTES", "shape": [1000], "data": ["eA=="] * 1000}]},
        "Received: 1000",
    ),
    "NaN": (
        {
            "inputs": [
                {"name": "images", "datatype": "FP32", "shape": [1, 32, 32, 1], "data": [float("nan")] * 1024}
            ]
        },
        "NaN",
    ),
}


@pytest.mark.parametrize("kind", V2_BAD)
def test_a_bad_v2_request_is_refused_in_one_line(server, files, kind):
    body, words = V2_BAD[kind]
    response = server.post("/v2/models/cnn/infer", body, headers={"Content-Type": "application/json"})
    refused(response, 400, words)
    answers_on(server, files)


def test_binary_v2_that_does_not_add_up_is_refused(server, files):
    for length, body in (("x", b"{}"), ("2", b"{}"), ("9", b"hello"), ("-1", b"")):
        headers = {"Inference-Header-Content-Length": length, "Content-Type": "application/octet-stream"}
        assert server.post("/v2/models/cnn/infer", body, headers=headers).status_code in (400, 422)
    answers_on(server, files)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_before_it_is_kept(server, files, chunked):
    line = http.client.HTTPConnection("127.0.0.1", server.rest, timeout=WAIT)
    line.putrequest("POST", PREDICT)
    if chunked:
        line.putheader("Transfer-Encoding", "chunked")
        line.endheaders()
        part = b"%x\r\n" % 2**20 + b"x" * 2**20 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(limits.MAX_REQUEST // 2**20 + 1):
                line.send(part)
    else:
        line.putheader("Content-Length", str(10**12))
        line.endheaders()
    response = line.getresponse()
    assert response.status == 413
    assert "67,108,864 bytes at most" in json.loads(response.read())["error"]
    line.close()
    answers_on(server, files)


def test_bad_requests_over_grpc_have_a_status_and_a_reason(server, files):
    prepared = [float("nan")] * 1024
    v2 = [
        (v2_request([b"this is no image"]), "INVALID_ARGUMENT", "must be a JPEG or PNG"),
        (v2_request([jpeg()] * 1000), "INVALID_ARGUMENT", "Received: 1000"),
        (
            v2_request(prepared, tensor="images", datatype="FP32", shape=[1, 32, 32, 1]),
            "INVALID_ARGUMENT",
            "NaN",
        ),
        (v2_request([jpeg()], name="nope"), "NOT_FOUND", "nope does not exist"),
        (v2_request([jpeg()], version="3"), "NOT_FOUND", "Received: version 3"),
        (v2_request([b"x" * limits.MAX_REQUEST]), "RESOURCE_EXHAUSTED", "larger than max"),
    ]
    with channel(server) as opened:
        stub = v2_grpc.GRPCInferenceServiceStub(opened)
        calls = [(stub.ModelInfer, *each) for each in v2]
        elsewhere = v2_pb2.RepositoryModelLoadRequest(model_name="..")
        load = functools.partial(stub.RepositoryModelLoad, metadata=[("authorization", f"Bearer {TOKEN}")])
        calls.append((load, elsewhere, "NOT_FOUND", ".. does not exist"))
        predict = prediction_service_pb2_grpc.PredictionServiceStub(opened).Predict
        for name, version, signature, data, status, words in (
            ("cnn", 0, "serve_bytes", [b"text"], "INVALID_ARGUMENT", "must be a JPEG or PNG"),
            ("cnn", 0, "serve_bytes", [[jpeg()]], "INVALID_ARGUMENT", "shape"),
            ("cnn", 0, "serving_default", [jpeg()], "INVALID_ARGUMENT", "takes images"),
            ("cnn", 0, "nope", [jpeg()], "INVALID_ARGUMENT", "Received: 'nope'"),
            ("cnn", 1, "serve_bytes", [jpeg()], "NOT_FOUND", "Received: version 1"),
            ("nope", 0, "serve_bytes", [jpeg()], "NOT_FOUND", "nope does not exist"),
        ):
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, signature
            request.model_spec.version.value = version
            request.inputs["bytes"].CopyFrom(tf.make_tensor_proto(data))
            calls.append((predict, request, status, words))
        for call, request, status, words in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call(request, timeout=WAIT)
            assert caught.value.code().name == status, caught.value
            assert words in caught.value.details() and "\n" not in caught.value.details()
    answers_on(server, files)
