"""The client against servers written here from the protocols alone: HTTP, and the stubs of TensorFlow Serving."""

import base64
import contextlib
import json
import subprocess
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from keras_fracture import cli, serving
from keras_fracture.data import decoding
from keras_fracture.errors import ImageError, ServerError
from keras_fracture.serving import client as clients
from keras_fracture.serving import limits
from tests.serving.asking import free_port, saved

CONFIG = Path(__file__).parents[2] / "serving"
LIMITS = {"timeout": 60, "retries": 2}


def answer_of(data):
    """What the servers here say of an image, to tell images and their order apart."""
    return [len(data) / 1e6, sum(data) % 1000 / 1e3]


@pytest.fixture(scope="module")
def contents():
    rng = np.random.default_rng(0)
    return [saved(rng.integers(0, 256, (9, 9 + k), np.uint8), "PNG") for k in range(limits.MAX_IMAGES + 6)]


class Busy:
    """Fails the first so many requests of each test, and remembers all."""

    def __init__(self):
        self.failures, self.asked = 0, []

    def fails(self):
        self.failures -= 1
        return self.failures >= 0


@pytest.fixture(scope="module")
def rest():
    busy = Busy()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            busy.asked.append((self.path, body))
            if self.path.startswith("/v1/models/slow"):
                time.sleep(1)
            if busy.fails():
                self._say(503, {"error": "busy"})
            elif not self.path.startswith("/v1/models/cnn"):
                self._say(404, {"error": "Servable not found for request:\n Latest(nope)"})
            else:
                files = [base64.b64decode(row["b64"]) for row in body["instances"]]
                self._say(200, {"predictions": [answer_of(data) for data in files]})

        def _say(self, status, body):
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield busy, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def remote():
    busy = Busy()

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802
            busy.asked.append(request)
            if request.model_spec.name == "slow":
                time.sleep(1)
            if busy.fails():
                context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
            if request.model_spec.name != "cnn":
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request:\n Latest(nope)")
            response = predict_pb2.PredictResponse()
            made = [answer_of(data) for data in tf.make_ndarray(request.inputs["bytes"])]
            response.outputs["probabilities"].CopyFrom(tf.make_tensor_proto(np.array(made, "float32")))
            return response

    server = grpc.server(futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield busy, f"grpc://127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture(params=["rest", "remote"])
def either(request):
    busy, url = request.getfixturevalue(request.param)
    busy.failures, busy.asked = 0, []
    return busy, url


def test_many_images_are_sent_in_order_in_requests_that_servers_take(either, contents):
    busy, url = either
    with serving.connect(url, "cnn", **LIMITS) as client:
        made = client.predict(contents)
    np.testing.assert_allclose(made, [answer_of(data) for data in contents], atol=1e-6)
    assert made.dtype == np.float32 and len(busy.asked) == 2


def test_large_images_are_sent_in_smaller_requests(either, contents, monkeypatch):
    busy, url = either
    monkeypatch.setattr(limits, "MAX_REQUEST", 6 * len(contents[0]))
    with serving.connect(url, "cnn", **LIMITS) as client:
        client.predict(contents[:5])
    assert len(busy.asked) > 1


def test_what_is_asked_is_tensorflow_servings_contract(rest, remote, contents):
    (over_http, _), (over_grpc, _) = rest, remote
    for busy, url in (rest, remote):
        busy.failures, busy.asked = 0, []
        with serving.connect(url, "cnn", version=4, **LIMITS) as client:
            client.predict(contents[:2])
    ((path, body),) = over_http.asked
    assert path == "/v1/models/cnn/versions/4:predict"
    coded = [{"b64": base64.b64encode(data).decode()} for data in contents[:2]]
    assert body == {"signature_name": "serve_bytes", "instances": coded}
    (request,) = over_grpc.asked
    spec = request.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("cnn", 4, "serve_bytes")
    assert list(request.inputs) == ["bytes"] and request.inputs["bytes"].dtype == tf.string.as_datatype_enum
    assert list(request.inputs["bytes"].string_val) == contents[:2]


@pytest.mark.parametrize("version", [0, -1, "latest", True])
def test_what_is_no_version_is_not_taken_for_the_highest(version):
    for url in ("http://localhost:1", "grpc://localhost:1"):
        with pytest.raises(ServerError, match=f"^A version is a number from 1; .* Received: {version!r}$"):
            serving.connect(url, "cnn", version=version)


def test_a_busy_server_is_asked_again_as_often_as_allowed(either, contents):
    busy, url = either
    with serving.connect(url, "cnn", **LIMITS) as client:
        busy.failures = 2
        np.testing.assert_allclose(client.predict(contents[:1]), [answer_of(contents[0])], atol=1e-6)
        assert len(busy.asked) == 3
        busy.failures = 3
        with pytest.raises(ServerError, match="busy"):
            client.predict(contents[:1])
        assert len(busy.asked) == 6


def test_more_than_five_tries_are_tries(either, contents, monkeypatch):
    """Of gRPC's own there are five at most, whatever it is told."""
    busy, url = either
    monkeypatch.setattr(clients, "_BACKOFF", 0.01)
    with serving.connect(url, "cnn", timeout=60, retries=8) as asking:
        busy.failures = 8
        np.testing.assert_allclose(asking.predict(contents[:1]), [answer_of(contents[0])], atol=1e-6)
    assert len(busy.asked) == 9


def test_a_server_that_says_no_is_not_asked_again(either, contents):
    busy, url = either
    with serving.connect(url, "nope", **LIMITS) as client, pytest.raises(ServerError) as caught:
        client.predict(contents[:1])
    assert "404: Servable" in str(caught.value) or "NOT_FOUND: Servable" in str(caught.value)
    assert "\n" not in str(caught.value) and len(busy.asked) == 1


def test_a_slow_server_is_not_waited_for(either, contents):
    _, url = either
    with (
        serving.connect(url, "slow", timeout=0.2, retries=0) as client,
        pytest.raises(ServerError, match=r"does not answer|DEADLINE_EXCEEDED"),
    ):
        client.predict(contents[:1])


def test_a_bad_image_is_never_sent(either, contents, tmp_path, capsys):
    busy, url = either
    with serving.connect(url, "cnn", **LIMITS) as client:
        for data, words in (
            (b"", "b.png is empty"),
            (b"text", "b.png must be"),
            (contents[0][:-9], "cut off"),
        ):
            with pytest.raises(ImageError, match=words):
                client.predict([contents[0], data], ["a.png", "b.png"])
    assert cli.main(["predict", str(tmp_path / "none.png"), "--server", url, "--model", "cnn"]) == 2
    assert "none.png does not exist" in capsys.readouterr().err
    assert busy.asked == []


def test_of_dicom_the_image_alone_is_sent(either, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    busy, url = either
    data = (Path(pydicom.data.__file__).parent / "test_files" / "MR_small.dcm").read_bytes()
    png = decoding.encode_png(decoding.decode(data).image)
    with serving.connect(url, "cnn", **LIMITS) as client:
        made = client.predict([data, png])
    np.testing.assert_allclose(made, [answer_of(png)] * 2, atol=1e-6)
    assert len(busy.asked) == 1
    with pytest.raises(ImageError, match="turns DICOM into PNG"):
        limits.check(data)


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_nobody_there_is_one_line(contents, kind):
    url = f"{kind}://127.0.0.1:{free_port()}"
    with serving.connect(url, "cnn", timeout=60, retries=1) as client, pytest.raises(ServerError) as caught:
        client.predict(contents[:1])
    assert url in str(caught.value) and "\n" not in str(caught.value)


def test_a_client_of_rest_does_not_wait_for_tensorflow():
    program = (
        "import sys; from keras_fracture import serving; serving.connect('http://localhost:8501', 'cnn')"
    )
    program += "; sys.exit('tensorflow' in sys.modules or 'kserve' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_wrong_addresses_are_refused():
    for url in ("localhost:8501", "ftp://localhost", "http://"):
        with pytest.raises(ServerError, match=r"http://, https:// or grpc://HOST:PORT. Received: "):
            serving.connect(url, "cnn")
    with pytest.raises(ServerError, match="Received: no name"):
        serving.connect("grpc://localhost:8500")


def test_the_compose_file_mounts_what_it_names():
    yaml = pytest.importorskip("yaml")
    (service,) = yaml.safe_load((CONFIG / "compose.yaml").read_text())["services"].values()
    mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
    where = {inside: (CONFIG / outside).resolve() for outside, inside in mounts.items()}
    assert where["/models"] == CONFIG.parent / "saved_models"
    files = [flag.partition("=")[2] for flag in service["command"] if "_file=" in flag]
    assert len(files) == 3
    for file in files:
        folder, _, name = file.rpartition("/")
        assert (where[folder] / name).is_file()
    assert {port.rpartition(":")[2] for port in service["ports"]} == {"8500", "8501"}
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
