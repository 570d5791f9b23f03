"""A server that was really started, asked over HTTP and gRPC; what it answers is compared with the SavedModel's own."""

import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as v2_grpc
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from keras_fracture import cli, serving
from keras_fracture.serving import limits
from keras_fracture.serving.versions import model_config
from tests.serving.asking import (
    KNOWN,
    WAIT,
    Started,
    channel,
    coded,
    free_port,
    predictions,
    rows,
    v2_request,
)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


CONFIG = Path(__file__).parents[2] / "serving"
PREDICT_CALL = "/tensorflow.serving.PredictionService/Predict"


def test_v1_answers_files_as_the_saved_model_does(server, files):
    expected = server.own(bytes=tf.constant(files))
    assert np.ptp(expected) > 1e-4
    named = {"instances": [{"bytes": coded(data)} for data in files], "signature_name": "serve_bytes"}
    for path, body in (
        ("/v1/models/cnn:predict", rows(*files)),
        ("/v1/models/cnn:predict", named),
        ("/v1/models/cnn/versions/2:predict", rows(*files)),
    ):
        np.testing.assert_allclose(predictions(server.post(path, body)), expected, atol=1e-6)


def test_v1_answers_prepared_images(server):
    prepared = np.random.default_rng(0).random((2, 32, 32, 1)).astype("float32")
    probabilities = predictions(server.post("/v1/models/cnn:predict", {"instances": prepared.tolist()}))
    expected = server.own(endpoint="serving_default", images=tf.constant(prepared))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_a_blank_image_is_answered(server):
    for level in (0.0, 0.002):
        images = np.full((1, 32, 32, 1), level, "float32")
        answered = predictions(server.post("/v1/models/cnn:predict", {"instances": images.tolist()}))
        expected = server.own(endpoint="serving_default", images=tf.constant(images))
        np.testing.assert_allclose(answered, expected, atol=1e-6)


def test_v1_draws_from_noise_and_labels(server):
    noise = np.random.default_rng(0).standard_normal((2, 100)).astype("float32")
    body = {"instances": [{"noise": row.tolist(), "labels": k} for k, row in enumerate(noise)]}
    tensors = {"noise": tf.constant(noise), "labels": tf.constant([0, 1])}
    expected = server.own("gan", 4, "serving_default", **tensors)
    images = predictions(server.post("/v1/models/gan:predict", body))
    np.testing.assert_allclose(images, expected, atol=1e-5)


def test_v2_over_http(server, files):
    given = {
        "name": "bytes",
        "datatype": "BYTES",
        "shape": [3],
        "data": [coded(data)["b64"] for data in files],
    }
    for path in ("/v2/models/cnn/infer", "/v2/models/cnn/versions/2/infer"):
        response = server.post(
            path, {"id": "7", "inputs": [given]}, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 200, response.text
        body = response.json()
        assert (body["id"], body["model_version"]) == ("7", "2")
        (output,) = body["outputs"]
        made = np.reshape(output["data"], output["shape"])
        np.testing.assert_allclose(made, server.own(bytes=tf.constant(files)), atol=1e-6)
    facts = requests.get(f"{server.url}/v2/models/cnn", timeout=WAIT).json()
    assert facts["inputs"] == [{"name": "bytes", "datatype": "BYTES", "shape": [-1]}]
    assert facts["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 1]}]


def test_v2_over_grpc(server, files):
    raw = v2_request([], shape=[len(files)])
    raw.inputs[0].ClearField("contents")
    raw.raw_input_contents.append(b"".join(struct.pack("<I", len(data)) + data for data in files))
    expected = server.own(bytes=tf.constant(files))
    with channel(server) as opened:
        stub = v2_grpc.GRPCInferenceServiceStub(opened)
        plain = stub.ModelInfer(v2_request(files, version="2"), timeout=WAIT)
        packed = stub.ModelInfer(raw, timeout=WAIT)
    made = np.reshape(plain.outputs[0].contents.fp32_contents, plain.outputs[0].shape)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    made = np.frombuffer(packed.raw_output_contents[0], "<f4").reshape(packed.outputs[0].shape)
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_grpc_as_tensorflow_serving_speaks_it(server, files):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "cnn", "serve_bytes"
    request.inputs["bytes"].CopyFrom(tf.make_tensor_proto(files))
    with channel(server) as opened:
        response = prediction_service_pb2_grpc.PredictionServiceStub(opened).Predict(request, timeout=WAIT)
    assert response.model_spec.version.value == 2
    made = tf.make_ndarray(response.outputs["probabilities"])
    np.testing.assert_allclose(made, server.own(bytes=tf.constant(files)), atol=1e-6)


def test_the_client_speaks_both_in_as_many_requests_as_it_takes(server, files):
    many = [files[k % 3] for k in range(limits.MAX_IMAGES + 3)]
    expected = np.resize(server.own(bytes=tf.constant(files)), (len(many), 1))
    for url in (server.url, f"grpc://127.0.0.1:{server.grpc}"):
        with serving.connect(url, "cnn", version=2) as client:
            np.testing.assert_allclose(client.predict(many), expected, atol=1e-6)


def test_predict_asks_the_server_what_it_asks_the_saved_model(server, files, tmp_path, capsys):
    names = [tmp_path / f"{number}.{kind}" for number, kind in enumerate(("png", "jpg", "png"))]
    for name, data in zip(names, files, strict=True):
        name.write_bytes(data)
    names = [str(name) for name in names]
    said, asked = [], ["--server", server.url, "--model", "cnn"]
    for number, where in enumerate(
        (asked, ["--model", str(server.folder / "cnn"), "--explain", "occlusion"])
    ):
        out = ["--csv", str(tmp_path / "table.csv"), "--overlays", str(tmp_path / f"heat{number}")]
        assert cli.main(["predict", *names, *where, *out]) == 0
        printed = capsys.readouterr()
        lines = printed.out.splitlines()
        assert lines[0].split() == ["file", "probability", "threshold", "verdict"]
        table = pd.read_csv(tmp_path / "table.csv")
        assert [line.split()[1] for line in lines[1:4]] == [f"{one:.4f}" for one in table["probability"]]
        assert (table["threshold"] == 0.5).all()
        assert list(table["verdict"] == "finding") == list(table["probability"] >= 0.5)
        assert printed.err.endswith("; not for clinical use\n") and printed.err.count("\n") == 1
        said.append((table["probability"], printed.err))
    np.testing.assert_allclose(said[0][0], said[1][0], atol=1e-4)
    assert said[0][1].startswith(
        "the server's one probability is taken for the finding's; threshold 0.5, as servers"
    )
    assert said[1][1].startswith("threshold 0.5 as the model names none")
    heats = [
        np.asarray(Image.open(tmp_path / f"heat{k}" / "0001-1.png").convert("RGB"), int) for k in range(2)
    ]
    assert heats[0].shape == heats[1].shape and np.abs(heats[0] - heats[1]).mean() < 2
    for wrong, words in (
        ([names[0], "--server", server.url], "cnn, gan, unit. Received: no name"),
        ([names[0], *asked, "--finding", "1"], "--finding is from 0 to 0 here. Received: 1"),
        ([names[0], *asked, "--explain", "gradcam", "--overlays", str(tmp_path / "none")], "with --server"),
    ):
        assert cli.main(["predict", *wrong]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_new_version_is_loaded_on_request(server, files):
    probabilities = []
    try:
        for version, source in ((9, 1), (10, 2)):
            shutil.copytree(server.folder / "cnn" / str(source), server.folder / "late" / str(version))
            answer = server.post("/v2/repository/models/late/load", b"", headers=KNOWN)
            assert answer.json() == {"name": "late", "load": True, "version": str(version)}
            probabilities.append(
                predictions(server.post(f"/v1/models/late/versions/{version}:predict", rows(*files)))
            )
            expected = server.own("cnn", source, bytes=tf.constant(files))
            np.testing.assert_allclose(probabilities[-1], expected, atol=1e-6)
    finally:
        server.post("/v2/repository/models/late/unload", b"", headers=KNOWN)
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-4
    assert server.post("/v1/models/late:predict", rows(*files)).status_code == 404


def test_metrics_count_the_answers_and_the_refusals(server, files):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "cnn", "serve_bytes"
    request.inputs["bytes"].CopyFrom(tf.make_tensor_proto(files))
    counters = (
        'request_predict_seconds_count{model_name="cnn"}',
        'keras_fracture_requests_total{code="200",method="predict",protocol="http"}',
        'keras_fracture_requests_total{code="400",method="predict",protocol="http"}',
        f'keras_fracture_requests_total{{code="OK",method="{PREDICT_CALL}",protocol="grpc"}}',
        f'keras_fracture_requests_total{{code="NOT_FOUND",method="{PREDICT_CALL}",protocol="grpc"}}',
    )

    def count():
        lines = requests.get(f"{server.url}/metrics", timeout=WAIT).text.splitlines()
        known = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return np.array([float(known.get(counter, 0)) for counter in counters])

    before = count()
    for _ in range(3):
        server.post("/v1/models/cnn:predict", rows(files[0]))
    server.post("/v1/models/cnn:predict", {"instances": []})
    with channel(server) as opened:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(opened).Predict
        for _ in range(2):
            predict(request, timeout=WAIT)
        request.model_spec.name = "nope"
        with pytest.raises(grpc.RpcError):
            predict(request, timeout=WAIT)
    # Three answers and a refusal over HTTP, two answers and a refusal over gRPC; the model saw all but the last.
    wanted, end = [6, 3, 1, 2, 1], time.monotonic() + WAIT
    while (count() - before != wanted).any() and time.monotonic() < end:
        time.sleep(0.1)  # a refusal is sent before it is counted
    np.testing.assert_array_equal(count() - before, wanted)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_ipv6(server, files):
    other = Started(server.folder, "::1")
    try:
        expected = server.own(bytes=tf.constant(files))
        for url in (other.url, f"grpc://[::1]:{other.grpc}"):
            with serving.connect(url, "cnn") as client:
                np.testing.assert_allclose(client.predict(files), expected, atol=1e-6)
        assert f"at http://[::1]:{other.rest} and grpc://[::1]:{other.grpc}" in other.log.read_text()
    finally:
        other.stop()


def test_another_server_at_the_same_port_is_refused(server, capsys):
    for ports in ((server.rest, free_port()), (free_port(), server.grpc)):
        arguments = ["--rest-port", str(ports[0]), "--grpc-port", str(ports[1])]
        assert cli.main(["serve", str(server.folder), *arguments]) == 2
        taken = {server.rest, server.grpc} & set(ports)
        error = capsys.readouterr().err
        assert f"127.0.0.1:{taken.pop()} cannot be listened at" in error and error.count("\n") == 1


def test_a_folder_without_models_is_refused(tmp_path, capsys):
    (tmp_path / "notes" / "1").mkdir(parents=True)
    ports = ["--rest-port", str(free_port()), "--grpc-port", str(free_port())]
    assert cli.main(["serve", str(tmp_path), *ports]) == 2
    assert "holds no SavedModels of this package" in capsys.readouterr().err


def test_the_list_of_models_is_tensorflow_servings(server, tmp_path, capsys):
    path = tmp_path / "models.config"
    assert cli.main(["serve", str(server.folder), "--write-config", str(path)]) == 0
    for text, names in ((path.read_text(), ("cnn", "gan")), ((CONFIG / "models.config").read_text(), None)):
        entries = text_format.Parse(
            text, model_server_config_pb2.ModelServerConfig()
        ).model_config_list.config
        assert names is None or {each.name for each in entries} >= set(names)
        for each in entries:
            assert each.base_path == f"/models/{each.name}" and each.model_platform == "tensorflow"


@pytest.mark.skipif(not shutil.which("tensorflow_model_server"), reason="tensorflow_model_server is not here")
def test_tensorflow_serving_answers_as_the_saved_model_does(server, files, tmp_path):
    ports = free_port(), free_port()
    (tmp_path / "models.config").write_text(model_config(server.folder, server.folder))
    command = [
        "tensorflow_model_server",
        f"--rest_api_port={ports[0]}",
        f"--port={ports[1]}",
        f"--model_config_file={tmp_path / 'models.config'}",
        "--enable_batching=true",
        f"--batching_parameters_file={CONFIG / 'batching.config'}",
        f"--monitoring_config_file={CONFIG / 'monitoring.config'}",
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for url in (f"http://127.0.0.1:{ports[0]}", f"grpc://127.0.0.1:{ports[1]}"):
            with serving.connect(url, "cnn", version=2, timeout=WAIT, retries=10) as client:
                expected = server.own(bytes=tf.constant(files))
                np.testing.assert_allclose(client.predict(files), expected, atol=1e-5)
    finally:
        process.terminate()
        process.wait(30)


def test_generate_is_asked_for_single_numbers(server):
    body = {"signature_name": "generate", "inputs": {"n": 2, "seed": 5, "label": 1}}
    response = server.post("/v1/models/gan:predict", body)
    assert response.status_code == 200, response.text
    rows = {"seed": [5, 5], "number": [0, 1], "label": [1, 1]}
    expected = server.own("gan", 4, "generate", **{key: tf.constant(each) for key, each in rows.items()})
    np.testing.assert_array_equal(np.array(response.json()["outputs"]), expected)
    instances = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    for asked, key in (({"instances": instances}, "predictions"), ({"inputs": rows}, "outputs")):
        response = server.post("/v1/models/gan:predict", {"signature_name": "generate"} | asked)
        np.testing.assert_array_equal(np.array(response.json()[key]), expected)
    for wrong, words in (
        ({"n": 65}, "n must lie between"),
        ({"n": [1, 2]}, "shape"),
        ({"n": None}, "n must be"),
    ):
        refused = server.post("/v1/models/gan:predict", body | {"inputs": body["inputs"] | wrong})
        assert refused.status_code == 400 and words in refused.json()["error"], refused.text


def test_translate_paints_into_files(server, files):
    windows = [[3, 4, 20, 30], [0, 0, 16, 16]]
    instances = [
        {"bytes": coded(data), "windows": window} for data, window in zip(files, windows, strict=False)
    ]
    response = server.post("/v1/models/unit:predict", {"signature_name": "translate", "instances": instances})
    assert response.status_code == 200, response.text
    expected = server.own(
        "unit", 1, "translate", bytes=tf.constant(files[:2]), windows=tf.constant(windows, tf.int32)
    )
    assert response.json()["predictions"] == [coded(data) for data in expected]
    instances[0]["windows"] = [0, 0, 9999, 9]
    refused = server.post("/v1/models/unit:predict", {"signature_name": "translate", "instances": instances})
    assert refused.status_code == 400 and "window" in refused.json()["error"], refused.text
