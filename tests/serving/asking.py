"""Requests in all protocols, and a server that was really started to put them to."""

import base64
import contextlib
import functools
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time

import grpc
import numpy as np
import requests
import tensorflow as tf
from kserve.protocol.grpc import grpc_predict_v2_pb2 as v2_pb2
from PIL import Image

# Exits 0 only if the server was told to stop, stopped by itself, and never imported an architecture.
PROGRAM = """
import sys
from keras_fracture.cli import main
code = main(sys.argv[1:])
sys.exit(code or "keras_fracture.models" in sys.modules)
"""
WAIT = 120  # seconds; only a machine that is very busy takes so long
PREDICT = "/v1/models/cnn:predict"
TOKEN = "a token of the tests"
KNOWN = {"Authorization": f"Bearer {TOKEN}"}  # who may load models


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Started:
    """Where the server is, and the SavedModels it should answer as."""

    def __init__(self, folder, host="127.0.0.1"):
        self.folder = folder
        self.rest, self.grpc = free_port(), free_port()
        self.url = f"http://[{host}]:{self.rest}" if ":" in host else f"http://{host}:{self.rest}"
        ports = ["--host", host, "--rest-port", str(self.rest), "--grpc-port", str(self.grpc)]
        self.log = folder.parent / f"log {self.rest}"
        with self.log.open("w") as log:
            command = [sys.executable, "-c", PROGRAM, "serve", str(folder), *ports]
            known = os.environ | {"KERAS_FRACTURE_TOKEN": TOKEN}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=known)
        while not self._ready():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def _ready(self):
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/v2/health/ready", timeout=WAIT).ok
        return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(WAIT) == 0, self.log.read_text()

    def own(self, name="cnn", version=2, endpoint="serve_bytes", **inputs):
        """What the SavedModel answers in this process."""
        loaded = _loaded(self.folder / name / str(version))
        (output,) = loaded.signatures[endpoint](**inputs).values()
        return output.numpy()

    def post(self, path, body, **options):
        data = body if isinstance(body, bytes) else json.dumps(body)
        return requests.post(f"{self.url}{path}", data, timeout=WAIT, **options)


@functools.cache
def _loaded(version):
    return tf.saved_model.load(str(version))


def saved(image, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def coded(data):
    return {"b64": base64.b64encode(data).decode()}


def rows(*contents):
    return {"instances": [coded(data) for data in contents]}


def predictions(response):
    assert response.status_code == 200, response.text
    return np.array(response.json()["predictions"])


@contextlib.contextmanager
def channel(server, compression=None):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}", compression=compression) as opened:
        yield opened


def v2_request(data, name="cnn", version="", tensor="bytes", datatype="BYTES", shape=None):
    request = v2_pb2.ModelInferRequest(model_name=name, model_version=version)
    request.inputs.add(name=tensor, datatype=datatype, shape=shape or [len(data)])
    contents = request.inputs[0].contents
    (contents.bytes_contents if datatype == "BYTES" else contents.fp32_contents).extend(data)
    return request
