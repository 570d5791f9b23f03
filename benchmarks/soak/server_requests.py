"""Very many requests to one server, some malformed, while its memory, descriptors and threads are watched."""

import base64
import collections
import itertools
import json
import statistics
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import grpc
import numpy as np
import requests as rest
import tensorflow as tf
from kserve.protocol.grpc import grpc_predict_v2_pb2 as v2_pb2
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as v2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks import server
from keras_fracture.progress import Bar

CLIENTS = 4
IMAGES = 20
INTERVAL = 200  # requests between two samples of the server
TOLERANCE = 1e-5  # of a probability: TensorFlow's sums depend on how threads share them
GROWTH = 2.0  # percent of memory after warm-up that is still no leak
REFUSALS = ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED")
HUGE = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 2**31 - 1, 2**31 - 1) + b"\x08\0\0\0\0" + bytes(40)
)


class Connections:
    """One client's connections, kept open; every method sends an image to the server in one protocol.

    Args:
        http: The server's address for REST.
        remote: And for gRPC.
    """

    def __init__(self, http, remote):
        self._http, self._session = http, rest.Session()
        self._channel = grpc.insecure_channel(urlsplit(remote).netloc)
        self._infer = v2_grpc.GRPCInferenceServiceStub(self._channel).ModelInfer
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self._channel).Predict
        self._unparsed = self._channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        self.good = (self._rest_v1, self._grpc_predict, self._rest_v2, self._grpc_v2)
        self.bad = (
            lambda data: self._rest_v1(data[:-200]),
            lambda data: self._grpc_predict(data[: len(data) // 2]),
            lambda data: self._rest_v1(HUGE),
            lambda data: self._grpc_v2(HUGE),
            lambda data: self._post("/v1/models/cnn:predict", data),
            lambda data: self._grpc_v2(b"no image"),
            lambda data: self._post("/v2/models/cnn/infer", b'{"inputs": [' * 2000),
            lambda data: self._grpc_v2(data, [2**40]),
            lambda data: self._rest_v1(data, name="nope"),
            lambda data: self._grpc_predict(data, name="nope"),
            lambda data: self._rest_v1(data, text="%%%"),
            lambda data: self._unparsed(data, timeout=60),
        )

    def close(self):
        self._session.close()
        self._channel.close()

    def _post(self, path, body):
        kind = {"Content-Type": "application/json"}
        return self._session.post(self._http + path, body, headers=kind, timeout=60)

    def _rest_v1(self, data, name="cnn", text=None):
        row = {"b64": text or base64.b64encode(data).decode()}
        return self._post(f"/v1/models/{name}:predict", json.dumps({"instances": [row]}))

    def _rest_v2(self, data):
        text = base64.b64encode(data).decode()
        given = {"name": "bytes", "datatype": "BYTES", "shape": [1], "data": [text]}
        return self._post("/v2/models/cnn/infer", json.dumps({"inputs": [given]}))

    def _grpc_v2(self, data, shape=(1,)):
        request = v2_pb2.ModelInferRequest(model_name="cnn")
        given = request.inputs.add(name="bytes", datatype="BYTES", shape=shape)
        given.contents.bytes_contents.append(data)
        return self._infer(request, timeout=60)

    def _grpc_predict(self, data, name="cnn"):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, "serve_bytes"
        request.inputs["bytes"].CopyFrom(tf.make_tensor_proto([data]))
        return self._predict(request, timeout=60)


def _probability(answer):
    """Of an answer in any protocol; None of a refusal."""
    if isinstance(answer, v2_pb2.ModelInferResponse):
        return answer.outputs[0].contents.fp32_contents[0]
    if isinstance(answer, predict_pb2.PredictResponse):
        return tf.make_ndarray(answer.outputs["probabilities"]).item()
    if not answer.ok:
        return None
    content = answer.json()
    probabilities = content["predictions"] if "predictions" in content else content["outputs"][0]["data"]
    return np.ravel(probabilities).item()


def _refused(call, data):
    """Whether the server says that the request is the client's mistake."""
    try:
        answer = call(data)
    except grpc.RpcError as error:
        return error.code().name in REFUSALS
    return isinstance(answer, rest.Response) and 400 <= answer.status_code < 500 and "error" in answer.json()


def requests(options):
    """Puts very many requests to one server from several clients, one in ten malformed, in all protocols in turn."""
    with server.exported(IMAGES) as (folder, images), server.started(folder) as (process, http, remote):
        began = time.monotonic()
        tally, samples = _send(options.requests, images, process, http, remote)
        seconds = time.monotonic() - began
    details = {key: tally[key] for key in ("answered", "refused", "other")} | _summary(samples)
    details["requests_per_second"] = round(options.requests / seconds, 1)
    memory, descriptors = details["memory_MiB"], details["descriptors"]
    details["seen"] = (
        f"{tally['answered']:,} answered, {tally['refused']:,} refused; memory {memory[0]:,} to {memory[1]:,} MiB "
        f"({details['memory_growth_percent']:+.1f} %), descriptors {descriptors[0]} to {descriptors[1]}"
    )
    flat = details["memory_growth_percent"] < GROWTH and descriptors[1] <= descriptors[0]
    well = (tally["answered"] + tally["refused"]) * flat
    yield "requests", "requests to the server", options.requests, well, details


def _send(total, images, process, http, remote):
    """How requests were answered, and what the server held meanwhile: memory, descriptors, threads."""
    numbers, tally, samples = itertools.count(), collections.Counter(), []
    first, lock = {}, threading.Lock()

    def outcome_of(connections, number):
        which = number % len(images)
        turn, position = divmod(number, 10)
        if turn % 10 == position:  # another one in every ten, so that each protocol has its turn
            return (
                "refused"
                if _refused(connections.bad[turn % len(connections.bad)], images[which])
                else "other"
            )
        probability = _probability(connections.good[number % len(connections.good)](images[which]))
        if probability is None or abs(probability - first.setdefault(which, probability)) > TOLERANCE:
            return "other"
        return "answered"

    def work(_):
        connections = Connections(http, remote)
        for number in numbers:
            if number >= total:
                break
            try:
                outcome = outcome_of(connections, number)
            except (rest.RequestException, grpc.RpcError, ValueError) as error:
                bar.write(f"request {number}: {str(error)[:200]}")
                outcome = "other"
            with lock:
                tally[outcome] += 1
                bar.update()
                if number % INTERVAL == 0:
                    samples.append((process.memory_info().rss, process.num_fds(), process.num_threads()))
        connections.close()

    with (
        Bar(total=total, title="ask the server", unit=" requests") as bar,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        list(pool.map(work, range(CLIENTS)))
    return tally, samples


def _summary(samples):
    """What the server held after warm-up, the first tenth, and at the end."""
    samples = samples[len(samples) // 10 :]
    tenth = max(1, len(samples) // 10)
    start, end = (
        [statistics.median(column) for column in zip(*part, strict=True)]
        for part in (samples[:tenth], samples[-tenth:])
    )
    return {
        "memory_MiB": [round(value / 2**20, 1) for value in (start[0], end[0])],
        "memory_growth_percent": round(100 * (end[0] / start[0] - 1), 2),
        "memory_curve_MiB": [round(sample[0] / 2**20, 1) for sample in samples],
        "descriptors": [start[1], end[1]],
        "threads": [start[2], end[2]],
    }
