"""Clients that others wrote, as they come: NVIDIA's `tritonclient`, KServe's, TensorFlow Serving's, `requests`."""

import asyncio
import gzip
import importlib.util
import json
import subprocess
import sys
import zlib
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import json_format
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import InferInput, InferRequest
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from keras_fracture.serving import limits
from tests.serving.asking import PREDICT, WAIT, channel, coded, predictions, rows

WINDOWS = [[0, 0, 20, 20], [3, 4, 16, 30], [1, 1, 9, 9]]
PREPARED = np.random.default_rng(0).random((2, 32, 32, 1), "float32")
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def triton(server, files):
    """What NVIDIA's clients got, by protocol."""
    if not importlib.util.find_spec("tritonclient"):
        pytest.skip("tritonclient is not installed")
    given = {"http": server.rest, "grpc": server.grpc, "windows": WINDOWS, "prepared": PREPARED.tolist()}
    given["files"] = [data.hex() for data in files]
    command = [sys.executable, Path(__file__).with_name("triton.py")]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tritonclient_gets_the_saved_models_answers(server, files, triton, protocol):
    got = triton[protocol]
    expected = server.own(bytes=tf.constant(files))
    for kind in ("bytes", "version", "gzip", "deflate"):
        np.testing.assert_allclose(got[kind], expected, atol=1e-6)
    expected = server.own(endpoint="serving_default", images=tf.constant(PREPARED))
    for kind in ("numbers", "json")[: 2 if protocol == "http" else 1]:
        np.testing.assert_allclose(got[kind], expected, atol=1e-6)
    drawn = {"seed": [5, 5], "number": [0, 1], "label": [1, 1]}
    drawn = {key: tf.constant(row) for key, row in drawn.items()}
    np.testing.assert_array_equal(got["drawn"], server.own("gan", 4, "generate", **drawn))
    windows = tf.constant(WINDOWS, tf.int32)
    painted = server.own("unit", 1, "translate", bytes=tf.constant(files), windows=windows)
    assert got["painted"] == [data.hex() for data in painted]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tritonclient_learns_what_there_is_and_what_not(triton, protocol):
    got = triton[protocol]
    assert got["live"] and got["ready"] and got["models"] == [True, True, False]
    assert got["metadata"] == [["2"], ["bytes"], ["probabilities"]]
    assert got["another version"] == "cnn is served in version 2. Received: version 7"
    assert got["damaged"].startswith("image 0 is cut off") and "PNG" not in got["damaged"]
    assert "needs `Authorization: Bearer TOKEN`" in got["unload"]


@pytest.mark.parametrize("binary", [True, False])
def test_kserves_client_over_both_protocols(server, files, binary):
    def request():
        if not binary:
            given = InferInput("images", list(PREPARED.shape), "FP32")
            given.set_data_from_numpy(PREPARED, binary_data=False)
        else:
            given = InferInput("bytes", [len(files)], "BYTES")
            given.set_data_from_numpy(np.array(files, object))
        return InferRequest("cnn", [given])

    async def ask():
        async with InferenceRESTClient(RESTConfig(protocol="v2")) as rest:
            assert await rest.is_server_ready(server.url) and await rest.is_model_ready(server.url, "cnn")
            yield await rest.infer(server.url, request(), "cnn")
        async with InferenceGRPCClient(f"127.0.0.1:{server.grpc}") as remote:
            assert await remote.is_server_ready() and await remote.is_model_ready("cnn")
            yield await remote.infer(request())

    async def answers():
        return [answer.outputs[0].as_numpy() async for answer in ask()]

    if binary:
        expected = server.own(bytes=tf.constant(files))
    else:
        expected = server.own(endpoint="serving_default", images=tf.constant(PREPARED))
    for answer in asyncio.run(answers()):
        np.testing.assert_allclose(answer, expected, atol=1e-6)


def test_images_in_json_answers_are_base64(server, files):
    tensors = [
        {
            "name": "bytes",
            "datatype": "BYTES",
            "shape": [2],
            "data": [coded(data)["b64"] for data in files[:2]],
        },
        {"name": "windows", "datatype": "INT32", "shape": [2, 4], "data": np.ravel(WINDOWS[:2]).tolist()},
    ]
    response = server.post("/v2/models/unit/infer", {"inputs": tensors}, headers=JSON)
    assert response.status_code == 200, response.text
    windows = tf.constant(WINDOWS[:2], tf.int32)
    painted = server.own("unit", 1, "translate", bytes=tf.constant(files[:2]), windows=windows)
    assert response.json()["outputs"][0]["data"] == [coded(data)["b64"] for data in painted]


def test_no_refusal_quotes_an_image(server, files):
    """Neither its bytes nor their base64, in whatever place they are."""
    secret = b"\xff\xd8secret of a patient" * 9
    text = coded(secret)["b64"]
    tensor = {"name": "bytes", "datatype": "BYTES", "shape": [1]}
    binary = tensor | {"parameters": {"binary_data_size": len(secret)}}
    head = json.dumps({"inputs": [binary]}).encode()
    packed = {"Inference-Header-Content-Length": str(len(head))}
    responses = [
        server.post(PREDICT, rows(secret)),
        server.post(PREDICT, {"instances": [{"b64": "%" + text}]}),
        server.post(PREDICT, {"instances": [{"b64": text, "x": 1}]}),
        server.post(PREDICT, {"instances": [text]}),
        server.post(PREDICT, {"instances": [text], "signature_name": "serve_bytes"}),
        server.post(PREDICT, secret),
        server.post("/v2/models/cnn/infer", {"inputs": [tensor | {"data": [text]}]}, headers=JSON),
        server.post("/v2/models/cnn/infer", {"inputs": [tensor | {"data": ["%" + text]}]}, headers=JSON),
        server.post("/v2/models/cnn/infer", {"inputs": [tensor | {"data": text}]}, headers=JSON),
        server.post("/v2/models/cnn/infer", {"inputs": [tensor | {"data": [[text]]}]}, headers=JSON),
        server.post("/v2/models/cnn/infer", head + secret, headers=packed),
        server.post("/v2/models/cnn/infer", secret, headers=JSON),
    ]
    for number, response in enumerate(responses):
        assert response.status_code == 400, number
        for part in ("secret", "\\xff", "ÿ", text[:8], text[4:12]):
            assert part not in response.text, (number, response.text)


BINARY = {"name": "bytes", "datatype": "BYTES", "shape": [1]}
SIZES = {
    "more than there is": ({"binary_data_size": 9}, b"\1\0\0\0x", "binary_data_size that is there"),
    "less than there is": ({"binary_data_size": 5}, b"\1\0\0\0xyz", "2 bytes are no input's"),
    "below zero": ({"binary_data_size": -1}, b"", "binary_data_size that is there"),
    "no number": ({"binary_data_size": "5"}, b"\1\0\0\0x", "binary_data_size that is there"),
    "true": ({"binary_data_size": True}, b"x", "binary_data_size that is there"),
    "none": ({}, b"", "neither data nor"),
    "an image longer than the tensor": ({"binary_data_size": 5}, b"\2\0\0\0x", "cannot be read"),
    "more images than the shape says": ({"binary_data_size": 8}, bytes(8), "cannot be read"),
}


@pytest.mark.parametrize("kind", SIZES)
def test_sizes_of_binary_data_must_add_up(server, kind):
    parameters, data, words = SIZES[kind]
    head = json.dumps({"inputs": [BINARY | {"parameters": parameters}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    response = server.post("/v2/models/cnn/infer", head + data, headers=headers)
    assert response.status_code == 400 and words in response.json()["error"], response.text


def test_columns_as_tensorflow_serving_takes_them(server, files):
    expected = server.own(bytes=tf.constant(files))
    columns = [coded(data) for data in files]
    for inputs in (columns, {"bytes": columns}):
        response = server.post(PREDICT, {"signature_name": "serve_bytes", "inputs": inputs})
        np.testing.assert_allclose(response.json()["outputs"], expected, atol=1e-6)
    response = server.post(PREDICT, {"inputs": PREPARED.tolist()})
    expected = server.own(endpoint="serving_default", images=tf.constant(PREPARED))
    np.testing.assert_allclose(response.json()["outputs"], expected, atol=1e-6)
    refused = server.post("/v1/models/unit:predict", {"signature_name": "translate", "inputs": columns})
    assert refused.status_code == 400 and "bytes, windows: name them" in refused.json()["error"]


def test_packed_bodies(server, files):
    body = json.dumps(rows(*files)).encode()
    expected = server.own(bytes=tf.constant(files))
    for kind, data in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body)), ("identity", body)):
        response = server.post(PREDICT, data, headers={"Content-Encoding": kind})
        np.testing.assert_allclose(predictions(response), expected, atol=1e-6)
    whole = gzip.compress(body)
    for data, kind, status, words in (
        (gzip.compress(bytes(limits.MAX_REQUEST + 1)), "gzip", 413, "67,108,864 bytes at most"),
        (whole[:-20], "gzip", 400, "does not end"),
        (whole + b"more", "gzip", 400, "does not end"),
        (body, "gzip", 400, "cannot be unpacked"),
        (body, "br", 415, "Content-Encoding must be gzip or deflate. Received: br"),
    ):
        response = server.post(PREDICT, data, headers={"Content-Encoding": kind})
        assert response.status_code == status and words in response.json()["error"], response.text


def test_a_packed_call_is_bounded_too(server):
    request = predict_pb2.PredictRequest()
    request.inputs["bytes"].CopyFrom(tf.make_tensor_proto([bytes(limits.MAX_REQUEST + 1)]))
    with channel(server, grpc.Compression.Gzip) as opened, pytest.raises(grpc.RpcError) as caught:
        prediction_service_pb2_grpc.PredictionServiceStub(opened).Predict(request, timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_metadata_are_tensorflow_servings(server):
    saved = saved_model_pb2.SavedModel.FromString(
        (server.folder / "cnn" / "2" / "saved_model.pb").read_bytes()
    )
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=saved.meta_graphs[0].signature_def)
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "cnn"
    with channel(server) as opened:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(opened)
        known = stub.GetModelMetadata(request, timeout=WAIT)
        request.metadata_field[:] = ["other"]
        with pytest.raises(grpc.RpcError, match="metadata_field must be signature_def"):
            stub.GetModelMetadata(request, timeout=WAIT)
    assert (known.model_spec.name, known.model_spec.version.value) == ("cnn", 2)
    unpacked = get_model_metadata_pb2.SignatureDefMap()
    assert known.metadata["signature_def"].Unpack(unpacked) and unpacked == signatures
    for path in ("/v1/models/cnn/metadata", "/v1/models/cnn/versions/2/metadata"):
        said = requests.get(server.url + path, timeout=WAIT).json()
        assert said["model_spec"] == {"name": "cnn", "signature_name": "", "version": "2"}
        said = json_format.ParseDict(
            said["metadata"]["signature_def"], get_model_metadata_pb2.SignatureDefMap()
        )
        assert said == signatures
    assert requests.get(f"{server.url}/v1/models/cnn/versions/1/metadata", timeout=WAIT).status_code == 404


def test_status_is_tensorflow_servings(server):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "cnn"
    with channel(server) as opened:
        stub = model_service_pb2_grpc.ModelServiceStub(opened)
        (known,) = stub.GetModelStatus(request, timeout=WAIT).model_version_status
        request.model_spec.version.value = 7
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetModelStatus(request, timeout=WAIT)
    assert (known.version, known.state, known.status.error_code) == (2, known.State.AVAILABLE, 0)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    for path in ("/v1/models/cnn", "/v1/models/cnn/versions/2"):
        (said,) = requests.get(server.url + path, timeout=WAIT).json()["model_version_status"]
        assert said == {
            "version": "2",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    assert requests.get(f"{server.url}/v1/models/cnn/versions/7", timeout=WAIT).status_code == 404


def test_health(server):
    assert requests.get(f"{server.url}/healthz", timeout=WAIT).json() == {"ready": True}
    with channel(server) as opened:
        # On the wire: HealthCheckRequest{service}, HealthCheckResponse{status: SERVING}.
        check = opened.unary_unary("/grpc.health.v1.Health/Check")
        for service in (b"", b"\x0a\x03cnn"):
            assert check(service, timeout=WAIT) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\x0a\x04nope", timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_watching_health_is_not_offered_and_holds_no_call(server):
    with channel(server) as opened, pytest.raises(grpc.RpcError) as caught:
        next(opened.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=WAIT))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
