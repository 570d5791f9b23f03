"""Models that are loaded, damaged or half copied, and who may load them."""

import asyncio
import functools
import logging
import shutil

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from kserve.errors import InvalidInput, ModelNotFound
from kserve.protocol.grpc import grpc_predict_v2_pb2 as v2_pb2
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as v2_grpc

from keras_fracture import cli
from keras_fracture.errors import ModelError, ServerError
from keras_fracture.serving import refusing
from keras_fracture.serving.repository import Extension, Repository
from keras_fracture.serving.versions import numbered, version_of
from tests.serving.asking import KNOWN, TOKEN, WAIT, Started, channel, free_port, predictions, rows

LOAD = "/v2/repository/models/{}/load"
PARTS = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "metadata.json",
)


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def folder(server, tmp_path):
    """A classifier in two versions and a generator, to be damaged."""
    shutil.copytree(server.folder / "cnn", tmp_path / "models" / "cnn")
    shutil.copytree(server.folder / "gan", tmp_path / "models" / "gan")
    return tmp_path / "models"


@pytest.mark.parametrize("part", PARTS)
def test_a_half_copied_version_changes_nothing(folder, part, caplog):
    version = shutil.move(folder / "cnn" / "2", folder.parent)
    repository = Repository(folder)
    before = repository.find("cnn")
    halve(shutil.copytree(version, folder / "cnn" / "2") / part)
    with pytest.raises(InvalidInput) as caught:
        repository.load("cnn")
    assert str(caught.value).startswith(
        "The highest version of cnn is damaged or not whole yet, and version 1"
    )
    assert str(folder) not in str(caught.value)
    assert repository.find("cnn") is before and before.version == 1
    (record,) = caplog.records
    assert str(folder) in record.getMessage() and "\n" not in record.getMessage() and not record.exc_info
    shutil.copytree(version, folder / "cnn" / "2", dirs_exist_ok=True)
    repository.load("cnn")
    assert repository.find("cnn").version == 2


def test_a_version_without_an_endpoint_that_it_promises_is_not_loaded(folder):
    described = folder / "cnn" / "2" / "metadata.json"
    described.write_text(described.read_text().replace('"serve_bytes"', '"other"'))
    with pytest.raises(InvalidInput, match="it is not served"):
        Repository(folder).load("cnn")


def test_a_newer_version_that_lacks_its_metadata_is_told(folder, caplog):
    described = shutil.move(folder / "cnn" / "2" / "metadata.json", folder.parent)
    repository = Repository(folder)
    (record,) = caplog.records
    assert record.getMessage().startswith("cnn is served, but not its newer version: ")
    before = repository.find("cnn")
    with pytest.raises(InvalidInput, match="not whole yet, and version 1 goes on answering"):
        repository.load("cnn")
    assert repository.find("cnn") is before and "2 is not whole, it has no metadata.json" in caplog.text
    shutil.move(described, folder / "cnn" / "2")
    assert asyncio.run(Extension(repository).load("cnn")) == {"name": "cnn", "load": True, "version": "2"}


def test_a_model_whose_versions_were_deleted_is_said_to_go_on(folder):
    repository = Repository(folder)
    shutil.rmtree(folder / "cnn")
    with pytest.raises(
        InvalidInput, match="no version in its folder any more, and version 2, as it was loaded"
    ):
        repository.load("cnn")
    assert repository.find("cnn").version == 2
    with pytest.raises(ModelNotFound):
        repository.load("nope")


def test_one_number_twice_is_refused(folder):
    shutil.copytree(folder / "cnn" / "1", folder / "cnn" / "01")
    for find in (version_of, functools.partial(numbered, version=1)):
        with pytest.raises(ModelError, match=r"version 1 twice: take one away. Received: 01 and 1$"):
            find(folder / "cnn")
    with pytest.raises(InvalidInput, match="it is not served"):
        Repository(folder).load("cnn")


def test_at_start_a_bad_model_is_named_and_the_others_serve(folder, caplog):
    halve(folder / "cnn" / "2" / "saved_model.pb")
    assert list(Repository(folder).models) == ["gan"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and record.getMessage().startswith("cnn is not served: ")


def test_no_model_that_can_be_loaded_is_an_error(folder, capsys):
    halve(folder / "cnn" / "2" / "saved_model.pb")
    shutil.rmtree(folder / "gan")
    with pytest.raises(ModelError, match="no whole SavedModel"):
        Repository(folder)
    ports = ["--rest-port", str(free_port()), "--grpc-port", str(free_port())]
    assert cli.main(["serve", str(folder), *ports]) == 2
    assert "holds no whole SavedModel" in capsys.readouterr().err


def test_a_half_copied_version_is_refused_over_both_protocols(server, files):
    new = server.folder / "half"
    shutil.copytree(server.folder / "cnn" / "1", new / "1")
    try:
        assert server.post(LOAD.format("half"), b"", headers=KNOWN).ok
        halve(shutil.copytree(server.folder / "cnn" / "2", new / "2") / "saved_model.pb")
        written = len(server.log.read_text())
        response = server.post(LOAD.format("half"), b"", headers=KNOWN)
        assert response.status_code == 400 and "version 1 goes on answering" in response.json()["error"]
        with channel(server) as opened, pytest.raises(grpc.RpcError) as caught:
            v2_grpc.GRPCInferenceServiceStub(opened).RepositoryModelLoad(
                v2_pb2.RepositoryModelLoadRequest(model_name="half"),
                metadata=[("authorization", f"Bearer {TOKEN}")],
                timeout=WAIT,
            )
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        for reason in (response.text, caught.value.details()):
            assert str(server.folder) not in reason and "\n" not in reason
        said = server.log.read_text()[written:]
        assert "half is not loaded: " in said and "Traceback" not in said
        answered = predictions(server.post("/v1/models/half/versions/1:predict", rows(*files)))
        np.testing.assert_allclose(answered, server.own(version=1, bytes=tf.constant(files)), atol=1e-6)
    finally:
        server.post("/v2/repository/models/half/unload", b"", headers=KNOWN)
        shutil.rmtree(new)


@pytest.mark.parametrize(
    "said", [{}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {TOKEN} "[:-2]}]
)
@pytest.mark.parametrize("action", ["load", "unload"])
def test_without_the_token_nobody_loads_or_unloads(server, action, said):
    response = server.post(f"/v2/repository/models/cnn/{action}", b"", headers=said)
    assert response.status_code == 403 and "needs `Authorization: Bearer TOKEN`" in response.json()["error"]
    with channel(server) as opened:
        stub = v2_grpc.GRPCInferenceServiceStub(opened)
        name = f"RepositoryModel{action.capitalize()}"
        request = getattr(v2_pb2, f"{name}Request")(model_name="cnn")
        metadata = [(key.lower(), value) for key, value in said.items()]
        with pytest.raises(grpc.RpcError) as caught:
            getattr(stub, name)(request, metadata=metadata, timeout=WAIT)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert requests.get(f"{server.url}/v2/models/cnn/ready", timeout=WAIT).ok


def test_without_a_model_the_server_lives_but_is_not_ready(server, tmp_path):
    shutil.copytree(server.folder / "cnn" / "2", tmp_path / "models" / "cnn" / "2")
    started = Started(tmp_path / "models")
    try:

        def said():
            paths = ("/v2/health/live", "/v2/health/ready", "/healthz")
            codes = [requests.get(started.url + path, timeout=WAIT).status_code for path in paths]
            with channel(started) as opened:
                ready = v2_grpc.GRPCInferenceServiceStub(opened).ServerReady(v2_pb2.ServerReadyRequest())
                health = opened.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=WAIT)
            return codes, ready.ready, health

        assert said() == ([200, 200, 200], True, b"\x08\x01")
        assert started.post("/v2/repository/models/cnn/unload", b"", headers=KNOWN).ok
        assert said() == ([200, 503, 503], False, b"\x08\x02")
        assert "Traceback" not in started.log.read_text()
    finally:
        started.stop()


def test_without_a_token_loading_is_off():
    with pytest.raises(refusing.RefusedError) as caught:
        refusing.Keeper(None).check("Bearer None")
    assert caught.value.status == 403
    with pytest.raises(ServerError, match=r"16 characters at least. Received: 5$"):
        refusing.Keeper("short")
