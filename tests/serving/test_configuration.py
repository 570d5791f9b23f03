"""The files of `serving/` that only TensorFlow Serving reads."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from keras_fracture.serving import limits
from keras_fracture.serving.versions import model_config

FOLDER = Path(__file__).parents[2] / "serving"
MODELS = FOLDER.parent / "saved_models"
_BOOL, _INT64, _STRING = (
    descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
)
_WRAPPED, _NAME = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
# TensorFlow Serving's messages that tensorflow-serving-api does not bring: fields in the order of their numbers.
_FIELDS = {
    "Batching": {
        "max_batch_size": _WRAPPED,
        "batch_timeout_micros": _WRAPPED,
        "max_enqueued_batches": _WRAPPED,
        "num_batch_threads": _WRAPPED,
        "thread_pool_name": _NAME,
        "allowed_batch_sizes": _INT64,
        "pad_variable_length_inputs": _BOOL,
    },
    "Prometheus": {"enable": _BOOL, "path": _STRING},
    "Monitoring": {"prometheus_config": ".serving.Prometheus"},
}


@pytest.fixture(scope="module")
def messages():
    kinds = descriptor_pb2.FieldDescriptorProto
    described = descriptor_pb2.FileDescriptorProto(
        name="serving.proto",
        package="serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _FIELDS.items():
        message = described.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            label = kinds.LABEL_REPEATED if field == "allowed_batch_sizes" else kinds.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                made.type, made.type_name = kinds.TYPE_MESSAGE, kind
            else:
                made.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    parsed = pool.AddSerializedFile(described.SerializeToString())
    return {name: message_factory.GetMessageClass(parsed.message_types_by_name[name]) for name in _FIELDS}


def test_a_batch_holds_the_largest_request(messages):
    parsed = text_format.Parse((FOLDER / "batching.config").read_text(), messages["Batching"]())
    assert parsed.max_batch_size.value == limits.MAX_IMAGES
    assert parsed.num_batch_threads.value >= 1 and parsed.max_enqueued_batches.value >= 1
    # TensorFlow Serving refuses to start unless they rise to the largest batch; without any, each size is allowed.
    sizes = list(parsed.allowed_batch_sizes)
    assert sizes == sorted(set(sizes)) and (not sizes or sizes[-1] == parsed.max_batch_size.value)
    assert not parsed.pad_variable_length_inputs, "our inputs have no sizes but rows to pad"


def test_every_shipped_model_is_listed():
    written = (FOLDER / "models.config").read_text()
    parsed = text_format.Parse(written, model_server_config_pb2.ModelServerConfig())
    entries = {each.name: each.base_path for each in parsed.model_config_list.config}
    shipped = sorted(path.name for path in MODELS.iterdir() if path.is_dir())
    assert entries == {name: f"/models/{name}" for name in shipped}
    assert written == model_config(MODELS)


def test_figures_are_exposed(messages):
    parsed = text_format.Parse((FOLDER / "monitoring.config").read_text(), messages["Monitoring"]())
    assert parsed.prometheus_config.enable
    assert parsed.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_the_server_is_started_with_them():
    compose = (FOLDER / "compose.yaml").read_text()
    for name in ("models", "batching", "monitoring"):
        assert f"=/config/{name}.config" in compose and (FOLDER / f"{name}.config").is_file()
    assert "--enable_batching=true" in compose
