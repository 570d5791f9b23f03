"""The files of `serving/` that only TensorFlow Serving reads."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from keras_fracture.serving import limits

FOLDER = Path(__file__).parents[2] / "serving"
_BOOL, _STRING = (
    descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
)
_WRAPPED = ".google.protobuf.Int64Value"
# TensorFlow Serving's messages that tensorflow-serving-api does not bring: fields in the order of their numbers.
_FIELDS = {
    "Batching": {
        "max_batch_size": _WRAPPED,
        "batch_timeout_micros": _WRAPPED,
        "max_enqueued_batches": _WRAPPED,
        "num_batch_threads": _WRAPPED,
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
            made = message.field.add(name=field, number=number, label=kinds.LABEL_OPTIONAL)
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


def test_figures_are_exposed(messages):
    parsed = text_format.Parse((FOLDER / "monitoring.config").read_text(), messages["Monitoring"]())
    assert parsed.prometheus_config.enable
    assert parsed.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_the_server_is_started_with_them():
    compose = (FOLDER / "compose.yaml").read_text()
    for name in ("models", "batching", "monitoring"):
        assert f"=/config/{name}.config" in compose and (FOLDER / f"{name}.config").is_file()
    assert "--enable_batching=true" in compose
