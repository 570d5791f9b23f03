"""What the server answers over gRPC: KServe's service, TensorFlow Serving's two, and the health check."""

import grpc
from google.protobuf import wrappers_pb2
from grpc_interceptor.exceptions import InvalidArgument, NotFound
from kserve.errors import ModelNotFound
from kserve.protocol.grpc import grpc_predict_v2_pb2 as v2_pb2
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as v2_grpc
from kserve.protocol.grpc.servicer import InferenceServicer
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

_SERVING, _NOT_SERVING = 1, 2  # of grpc.health.v1


def add(server, repository, plane, extension, keeper):
    """Adds all services to a `grpc.aio` server.

    Args:
        server: It.
        repository: Of the models.
        plane: KServe's `DataPlane` of it.
        extension: KServe's `ModelRepositoryExtension` of it.
        keeper: A `refusing.Keeper`.
    """
    v2_grpc.add_GRPCInferenceServiceServicer_to_server(
        _Inference(repository, plane, extension, keeper), server
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(repository), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(repository), server)
    server.add_generic_rpc_handlers((_health(repository),))


def status(model):
    """TensorFlow Serving's `GetModelStatusResponse` of a model that is served."""
    response = get_model_status_pb2.GetModelStatusResponse()
    available = get_model_status_pb2.ModelVersionStatus.State.AVAILABLE
    response.model_version_status.add(version=model.version, state=available).status.SetInParent()
    return response


class _Inference(InferenceServicer):
    """KServe's, which overlooks versions, and lets anybody load and unload."""

    def __init__(self, repository, plane, extension, keeper):
        super().__init__(plane, extension)
        self._repository, self._keeper = repository, keeper

    async def ModelReady(self, request, context):  # noqa: N802
        model = self._repository.find(request.name)
        try:
            model.check(request.version)
        except ModelNotFound:
            return v2_pb2.ModelReadyResponse(ready=False)
        return v2_pb2.ModelReadyResponse(ready=model.ready)

    async def ModelMetadata(self, request, context):  # noqa: N802
        model = self._repository.find(request.name)
        model.check(request.version)
        response = await super().ModelMetadata(request, context)
        response.versions.append(str(model.version))
        return response

    async def RepositoryModelLoad(self, request, context):  # noqa: N802
        self._keeper.check_call(context)
        return await super().RepositoryModelLoad(request, context)

    async def RepositoryModelUnload(self, request, context):  # noqa: N802
        self._keeper.check_call(context)
        return await super().RepositoryModelUnload(request, context)


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    """TensorFlow Serving's, of which the part that our models have."""

    def __init__(self, repository):
        self._repository = repository

    async def Predict(self, request, context):  # noqa: N802
        return await _asked(self._repository, request).predict_tensors(request)

    async def GetModelMetadata(self, request, context):  # noqa: N802
        model = _asked(self._repository, request)
        if list(request.metadata_field) != ["signature_def"]:
            fields = ", ".join(request.metadata_field) or "nothing"
            raise InvalidArgument(f"metadata_field must be signature_def. Received: {fields:.60}")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name, response.model_spec.version.value = model.name, model.version
        response.metadata["signature_def"].Pack(model.served.signatures)
        return response


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """TensorFlow Serving's, without its reloading of the configuration."""

    def __init__(self, repository):
        self._repository = repository

    async def GetModelStatus(self, request, context):  # noqa: N802
        return status(_asked(self._repository, request))


def _asked(repository, request):
    model = repository.find(request.model_spec.name)
    model.check(request.model_spec.version_label or request.model_spec.version.value)
    return model


def _health(repository):
    """`grpc.health.v1.Health`: of the server, or of the model that is named as the service.

    A string and a number as their only fields: its messages are on the wire what these wrappers are.
    """

    async def check(request, _):
        if request.value and request.value not in repository.models:
            raise NotFound(f"There is no such model. Received: {request.value:.60}")
        return wrappers_pb2.Int32Value(value=_SERVING if repository.models else _NOT_SERVING)

    handler = grpc.unary_unary_rpc_method_handler(
        check, wrappers_pb2.StringValue.FromString, wrappers_pb2.Int32Value.SerializeToString
    )
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})
