"""Hostile requests to a server that was really started: 4xx and one line, and it goes on answering as before."""

import copy
import functools
import io
import json
import re
import struct
import zlib

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as v2_pb2
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as v2_grpc
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from keras_fracture.serving import limits
from tests.faults import counting
from tests.serving.asking import PREDICT, TOKEN, WAIT, channel, coded, predictions, rows, v2_request

INFER = "/v2/models/cnn/infer"
JSON = {"Content-Type": "application/json"}
REFUSED = ("INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED")
SECRETS = re.compile(r"Traceback|site-packages|\.py\b|keras_fracture|saved_models")


@pytest.fixture(autouse=True)
def unharmed(server, files):
    """After each test a good request has the answer it had before."""
    before = predictions(server.post(PREDICT, rows(*files)))
    yield
    np.testing.assert_allclose(predictions(server.post(PREDICT, rows(*files))), before, atol=1e-6)


@pytest.fixture(scope="module")
def line(server):
    with requests.Session() as session:
        yield session


@pytest.fixture(scope="module")
def opened(server):
    with channel(server) as one:
        yield one


@pytest.fixture(scope="module")
def expected(server, files):
    """What the first file is answered."""
    return predictions(server.post(PREDICT, rows(files[0]))).item()


def clear(reason):
    assert reason and "\n" not in reason and len(reason) < 300 and not SECRETS.search(reason), reason


def post(server, line, path, body, headers=JSON):
    """What a request is answered, or None if it is refused; any other end of it is a fault."""
    counting.tried["requests"] += 1
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = line.post(server.url + path, data, headers=headers, timeout=WAIT)
    if answer.status_code == 200:
        return answer
    assert 400 <= answer.status_code < 500, answer.text
    clear(answer.json()["error"])
    return None


def ask(call, request):
    """The same over gRPC."""
    counting.tried["requests"] += 1
    try:
        return call(request, timeout=WAIT)
    except grpc.RpcError as error:
        assert error.code().name in REFUSED, error
        clear(error.details())
        return None


def probabilities(answer):
    said = answer.json()
    values = said["predictions"] if "predictions" in said else said["outputs"]
    if isinstance(values[0], dict):
        values = values[0]["data"]
    values = np.ravel(values)
    assert values.size and np.isfinite(values).all() and ((values >= 0) & (values <= 1)).all()
    return values


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["b64", "bytes", "images", "name", "data", "shape", "datatype", "inputs"])
            | st.text(st.characters(exclude_categories=()), max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@counting.examples(300)
@given(
    st.binary(max_size=200),
    st.sampled_from([PREDICT, INFER, "/v1/models/gan:predict"]),
    st.sampled_from(
        ["application/json", "application/octet-stream", "application/cloudevents+json", "", "é"]
    ),
    st.none() | st.integers(-5, 300) | st.text("0123456789+-_ex", max_size=6),
)
def test_bytes_at_random(server, line, body, path, kind, length):
    headers = {"Content-Type": kind.encode("latin-1")}
    if length is not None:
        headers["Inference-Header-Content-Length"] = str(length)
    assert post(server, line, path, body, headers) is None


@counting.examples(500)
@given(
    st.sampled_from(
        [
            lambda given: (PREDICT, given),
            lambda given: (PREDICT, {"instances": given}),
            lambda given: (PREDICT, {"instances": [given]}),
            lambda given: (PREDICT, {"inputs": {"bytes": given}, "signature_name": "serve_bytes"}),
            lambda given: (PREDICT, {"instances": [{"b64": given}]}),
            lambda given: (PREDICT, {"instances": [{"b64": "eA=="}], "signature_name": given}),
            lambda given: ("/v1/models/gan:predict", {"inputs": given}),
            lambda given: (INFER, given),
            lambda given: (INFER, {"inputs": given}),
            lambda given: (INFER, {"inputs": [given]}),
        ]
    ),
    anything,
)
def test_json_at_random(server, line, wrap, content):
    assert post(server, line, *wrap(content)) is None


def places(tree, path=()):
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from places(tree[key], (*path, key))


def mutated(tree, number, change, value):
    """A copy with something else at one place: nothing, another name, twice, or `value`."""
    *before, key = list(places(tree))[1:][number % (len(list(places(tree))) - 1)]
    tree = copy.deepcopy(tree)
    inside = tree
    for step in before:
        inside = inside[step]
    if change == "dropped":
        del inside[key]
    elif change == "replaced":
        inside[key] = value
    elif isinstance(inside, list):
        inside.insert(key, inside[key])
    else:
        inside[str(value)] = inside.pop(key) if change == "renamed" else inside[key]
    return tree


def v2_body(data):
    tensor = {"name": "bytes", "datatype": "BYTES", "shape": [1], "data": [coded(data)["b64"]]}
    tensor["parameters"] = {"content_type": "x"}
    outputs = [{"name": "probabilities", "parameters": {"binary_data": False}}]
    return {"id": "7", "parameters": {"binary_data_output": False}, "inputs": [tensor], "outputs": outputs}


changes = (
    st.integers(0, 40),
    st.sampled_from(["dropped", "renamed", "twice", "replaced", "replaced"]),
    st.sampled_from(["", "%%%", "eA==", [], {}, -1, 2**70, 1e300, True, None, ["x"], [2**62, 4], "\ud800"])
    | anything,
)


@counting.examples(500)
@given(st.sampled_from(["v1", "v2", "v2, binary"]), *changes)
@example("v1", 0, "replaced", ["serve_bytes"])
@example("v2, binary", 0, "replaced", 7)
@example("v2, binary", 3, "replaced", "x")
@example("v2", 0, "replaced", "\ud800")
@example("v2", 4, "twice", None)
def test_a_good_request_with_one_thing_changed(
    server, line, files, expected, protocol, number, change, value
):
    good = v2_body(files[0]) if protocol != "v1" else rows(files[0]) | {"signature_name": "serve_bytes"}
    body = json.dumps(mutated(good, number, change, value)).encode()
    headers = JSON
    if protocol == "v2, binary":
        headers = {"Content-Type": "application/octet-stream"}
        headers["Inference-Header-Content-Length"] = str(len(body))
    answer = post(server, line, PREDICT if protocol == "v1" else INFER, body, headers)
    # Its `binary_data` may have become something true.
    if answer is not None and "inference-header-content-length" not in answer.headers:
        np.testing.assert_allclose(probabilities(answer), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("gan", {"instances": [{"noise": [1e300] * 100, "labels": 0}]}, "finite float32"),
        ("gan", {"instances": [{"noise": [0.0] * 100, "labels": 2**32}]}, "must fit into int32"),
        ("gan", {"instances": [{"noise": [0.0] * 100, "labels": 3}]}, "between 0 and 2"),
        ("gan", {"instances": [{"noise": [0.0] * 100, "labels": -1}]}, "between 0 and 2"),
        (
            "gan",
            {"signature_name": "generate", "inputs": {"n": 2**31 - 1, "seed": 0, "label": 0}},
            "n must lie between",
        ),
        ("cnn", {"instances": [1], "signature_name": {"x": 1}}, "has the endpoints"),
        ("cnn", {"inputs": {"x" * 100_000: 1, "\n": 2}}, "takes images. Received: xxx"),
    ],
)
def test_what_fits_no_tensor_is_refused(server, model, body, words):
    answer = server.post(f"/v1/models/{model}:predict", body)
    assert answer.status_code == 400 and words in answer.json()["error"], answer.text[:300]
    clear(answer.json()["error"])


@pytest.mark.parametrize(
    "window", [[0, 0, 2**31 - 1, 2**31 - 1], [2**31 - 1] * 4, [-5, 0, 20, 20], [0, 0, 1, 1]]
)
def test_a_window_beyond_the_image_takes_no_memory(server, files, window):
    body = {"signature_name": "translate", "instances": [{"bytes": coded(files[0]), "windows": window}]}
    answer = server.post("/v1/models/unit:predict", body)
    assert answer.status_code == 400 and "window" in answer.json()["error"]
    clear(answer.json()["error"])


@counting.examples(240)
@given(
    st.integers(0, 1),
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 7)), max_size=12),
    st.binary(max_size=16),
)
def test_damaged_images(server, line, opened, files, which, percent, flips, tail):
    data = bytearray(files[which][: len(files[which]) * percent // 100])
    for place, bit in flips:
        data[place % len(data)] ^= 1 << bit
    data = bytes(data) + tail
    answer = post(server, line, PREDICT, rows(data))
    over_grpc = ask(v2_grpc.GRPCInferenceServiceStub(opened).ModelInfer, v2_request([data]))
    assert (answer is None) == (over_grpc is None)
    if answer is not None:
        np.testing.assert_allclose(
            over_grpc.outputs[0].contents.fp32_contents[0], probabilities(answer).item(), atol=1e-5
        )


def drawn(kind, mode="L", size=(20, 20)):
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


def announced(width, height):
    """A small PNG that says it is that large."""
    data = bytearray(drawn("PNG"))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


ODD = {
    "a bomb": (announced(2**31 - 1, 2**31 - 1), "25,000,000 pixels"),
    "a line": (drawn("PNG", size=(limits.MAX_SIDE + 1, 1)), "20,000 pixels a side"),
    "no pixels": (announced(0, 20), "must be a JPEG or PNG"),
    "CMYK": (drawn("JPEG", "CMYK"), "grey or RGB"),
    "GIF": (drawn("GIF"), "must be a JPEG or PNG"),
    "TIFF": (drawn("TIFF"), "must be a JPEG or PNG"),
    "WebP": (drawn("WEBP"), "must be a JPEG or PNG"),
    "DICOM": (bytes(128) + b"DICM" + bytes(500), "turns DICOM into PNG"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "must be a JPEG or PNG"),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_images(server, opened, kind):
    data, words = ODD[kind]
    answer = server.post(PREDICT, rows(data))
    assert answer.status_code == 400 and words in answer.json()["error"], answer.text
    clear(answer.json()["error"])
    assert ask(v2_grpc.GRPCInferenceServiceStub(opened).ModelInfer, v2_request([data])) is None


@pytest.mark.parametrize("size", [(1, 1), (limits.MAX_SIDE, 1), (1, limits.MAX_SIDE)])
def test_extreme_sizes_are_answered(server, size):
    probabilities(server.post(PREDICT, rows(drawn("PNG", size=size))))


def v2_tensor(name, datatype, shape, data, raw):
    request = v2_pb2.ModelInferRequest(model_name="cnn")
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    if raw:
        request.raw_input_contents.append(data)
    else:
        request.inputs[0].contents.bytes_contents.append(data)
    return request


sizes = st.lists(st.integers(-3, 5) | st.sampled_from([2**62, -(2**63), 2**31, 10**9, 32]), max_size=5)
numbers = st.binary(max_size=40) | st.integers(0, 2**32 - 1).map(
    lambda size: struct.pack("<I", size) + b"abc"
)


@counting.examples(300)
@given(
    st.sampled_from(["bytes", "images", "", "x" * 50_000, "a\nb", "😀"]),
    st.sampled_from(["BYTES", "FP32", "FP16", "INT64", "BOOL", "", "x", "FP32 " * 9999]),
    sizes,
    numbers,
    st.booleans(),
)
def test_v2_tensors_at_random(opened, name, datatype, shape, data, raw):
    call = v2_grpc.GRPCInferenceServiceStub(opened).ModelInfer
    assert ask(call, v2_tensor(name, datatype, shape, data, raw)) is None


@counting.examples(300)
@given(
    st.sampled_from([("serve_bytes", "bytes"), ("serving_default", "images"), ("x" * 50_000, "bytes")]),
    st.integers(0, 40) | st.just(7) | st.just(1),
    sizes | st.just([10**10, 32, 32, 1]),
    numbers,
)
def test_tensors_of_tensorflow_serving_at_random(opened, endpoint, dtype, shape, data):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "cnn", endpoint[0]
    tensor = request.inputs[endpoint[1]]
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.string_val.append(data)
    tensor.float_val.append(0.5)
    answer = ask(prediction_service_pb2_grpc.PredictionServiceStub(opened).Predict, request)
    if answer is not None:  # one number may stand for all of an image
        assert shape[1:] == [32, 32, 1] and 0 <= tf.make_ndarray(answer.outputs["probabilities"]).min() <= 1


@counting.examples(200)
@given(
    st.sampled_from(
        ["inference.GRPCInferenceService/ModelInfer", "tensorflow.serving.PredictionService/Predict"]
    ),
    st.binary(min_size=1, max_size=100),
)
def test_messages_at_random(opened, method, data):
    assert ask(opened.unary_unary(f"/{method}"), data) is None


def test_a_changed_request_over_grpc_says_what_is_wrong(opened, files):
    infer = v2_grpc.GRPCInferenceServiceStub(opened)
    predict = prediction_service_pb2_grpc.PredictionServiceStub(opened).Predict
    twice = v2_request(files[:1])
    twice.inputs.add().CopyFrom(twice.inputs[0])
    unknown = v2_request(files[:1])
    unknown.outputs.add(name="logits")
    v2 = [(twice, "given once"), (unknown, "outputs are"), (v2_request(files[:1], shape=[-2]), "sizes")]
    calls = [(infer.ModelInfer, request, "INVALID_ARGUMENT", words) for request, words in v2]
    for change, status, words in (
        ({"model_spec": {"name": "cnn", "version_label": "canary"}}, "NOT_FOUND", "version canary"),
        ({"model_spec": {"name": "cnn"}, "output_filter": ["logits"]}, "INVALID_ARGUMENT", "outputs are"),
    ):
        calls.append((predict, predict_pb2.PredictRequest(**change), status, words))
    for call, request, status, words in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=WAIT)
        assert caught.value.code().name == status and words in caught.value.details(), caught.value
    for name, status in (("unit", True), ("nope", None)):
        load = functools.partial(infer.RepositoryModelLoad, metadata=[("authorization", f"Bearer {TOKEN}")])
        loaded = ask(load, v2_pb2.RepositoryModelLoadRequest(model_name=name))
        assert (loaded and loaded.isLoaded) == status
    request = predict_pb2.PredictRequest(model_spec={"name": "cnn", "signature_name": "serve_bytes"})
    request.inputs["bytes"].CopyFrom(tf.make_tensor_proto(files[:1]))
    request.output_filter.append("probabilities")
    assert list(predict(request, timeout=WAIT).outputs) == ["probabilities"]
    with pytest.raises(grpc.RpcError) as caught:
        opened.unary_unary("/tensorflow.serving.PredictionService/Classify")(b"", timeout=WAIT)
    assert caught.value.code().name == "UNIMPLEMENTED" and "Error" not in caught.value.details()
