"""The files of `serving/kubernetes/`, held against KServe's and Kubernetes' own classes of the resource's fields."""

import copy
import re
from pathlib import Path

import kserve.models
import kubernetes.client
import pytest
import requests
import yaml

from keras_fracture import cli
from tests.serving.asking import WAIT

FOLDER = Path(__file__).parents[2] / "serving" / "kubernetes"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
PLAIN = {"str": str, "int": int, "bool": bool, "ResourceQuantity": str}


def checked(kind, value, where):
    """An object of a kind of the schema's from YAML; fields that it does not have, or of other types, are refused."""
    if kind == "object":  # a port: a number, or a name
        return value
    if kind in PLAIN:
        assert type(value) is PLAIN[kind], f"{where} must be {kind}. Received: {value!r}"
        return value
    if of := re.fullmatch(r"list\[(\w+)\]", kind, re.I):
        assert isinstance(value, list), where
        return [checked(of[1], each, f"{where}[{number}]") for number, each in enumerate(value)]
    if of := re.fullmatch(r"dict[(\[]str, (\w+)[)\]]", kind, re.I):
        return {name: checked(of[1], each, f"{where}.{name}") for name, each in value.items()}
    model = getattr(kserve.models, kind, None) or getattr(kubernetes.client, kind)
    fields = {name: field for field, name in model.attribute_map.items()}
    assert set(value) <= set(fields), f"{where} has no {sorted(set(value) - set(fields))}"
    given = {
        fields[name]: checked(model.openapi_types[fields[name]], each, f"{where}.{name}")
        for name, each in value.items()
    }
    return model(**given)  # raises where a field is missing that must be there


def resource(name):
    return yaml.safe_load((FOLDER / name).read_text())


def server_of(content):
    """What the probes and limits are those of: the model's server or the container."""
    predictor = content["spec"]["predictor"]
    return predictor.get("model") or predictor["containers"][0]


@pytest.mark.parametrize("name", FILES)
def test_each_field_is_one_of_the_resource(name):
    content = resource(name)
    made = checked("V1beta1InferenceService", content, name)
    assert (made.api_version, made.kind) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made.metadata.name), "a name that Kubernetes takes"
    for where, change in (
        ("storageURI", lambda each: each.update(storageURI="pvc://x")),
        ("periodSeconds", lambda each: each["readinessProbe"].update(periodSeconds="5")),
        ("port", lambda each: each["livenessProbe"].update(httpGet={"path": "/"})),
    ):
        wrong = copy.deepcopy(content)
        change(server_of(wrong))
        with pytest.raises((AssertionError, ValueError), match=where):
            checked("V1beta1InferenceService", wrong, name)


@pytest.mark.parametrize("name", FILES)
def test_each_has_probes_and_limits(name):
    server = server_of(resource(name))
    assert all(server[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe"))
    for what in ("cpu", "memory"):
        assert server["resources"]["requests"][what] <= server["resources"]["limits"][what]


def test_tensorflow_serving_is_asked_for_the_model_by_its_name():
    content = resource("inference_service.yaml")
    model = server_of(content)
    for probe in ("startupProbe", "readinessProbe"):
        assert model[probe]["httpGet"]["path"] == f"/v1/models/{content['metadata']['name']}"
    shipped = FOLDER.parents[1] / "saved_models" / model["storageUri"].rsplit("/", 1)[1]
    assert (shipped / "1" / "saved_model.pb").is_file()


def test_our_server_takes_the_command_and_answers_the_probes(server):
    container = server_of(resource("own_server.yaml"))
    program, *arguments = container["command"]
    options = cli.build_parser().parse_args(arguments)
    assert program == "keras-fracture" and (options.folders[0], options.host) == ("/mnt/models", "0.0.0.0")
    ports = {options.rest_port, *(port["containerPort"] for port in container["ports"])}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        ports.add(asked["port"])
        assert requests.get(server.url + asked["path"], timeout=WAIT).status_code == 200
    assert ports == {8080}
