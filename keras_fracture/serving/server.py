"""The models of a folder behind KServe's Python server and TensorFlow Serving's gRPC contract, on one machine.

REST: KServe's V1 (`:predict`, also as TensorFlow Serving spells it) and V2 (`infer`), `/metrics`. gRPC: KServe's V2
and TensorFlow Serving's `PredictionService.Predict`. The process knows TensorFlow, no architecture of this package.
"""

import asyncio
import logging
import re
import signal
import socket
import warnings
from concurrent.futures import ThreadPoolExecutor

import grpc
import kserve
import uvicorn
from kserve.errors import InvalidInput, ModelNotFound
from kserve.model_server import app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.infer_type import InferRequest
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from kserve.protocol.rest.v2_datamodels import InferenceRequest
from prometheus_client import exposition
from pydantic import ValidationError
from tensorflow_serving.apis import prediction_service_pb2_grpc

from keras_fracture.errors import FractureError, ServerError
from keras_fracture.serving import holding, limits, protocols, refusing
from keras_fracture.serving.served import Served
from keras_fracture.serving.versions import models_in

PARALLEL = (
    2  # requests answered at a time, the others wait; `serve_bytes` takes memory, see `limits.MAX_PIXELS`
)
_VERSIONED = re.compile(
    r"(?P<before>/v[12]/models/(?P<name>[^/]+))/versions/(?P<version>[^/:]+)(?P<after>.*)"
)


def serve(folder, host="127.0.0.1", rest_port=8501, grpc_port=8500):
    """Serves the models of a folder until SIGINT or SIGTERM. Each answers by its folder's name.

    The highest version of each is loaded; `POST /v2/repository/models/NAME/load` loads a newer one, or a new model.

    Args:
        folder: Of models, `NAME/NUMBER/metadata.json`, or one model's.
        host: Address to listen at; there is no authentication, so the default is this machine alone.
        rest_port: For HTTP.
        grpc_port: For gRPC.

    Raises:
        ModelError: There are no models.
        ServerError: A port is taken.
    """
    with _bound(host, rest_port) as http:
        _bound(host, grpc_port).close()  # gRPC would print lines of its own about a port that is taken
        repository = Repository(folder)
        logging.getLogger("kserve").addFilter(refusing.one_line)
        warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")  # KServe's
        # uvicorn stops at these and then raises them again, which must not cut off the gRPC server's last answers.
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, lambda *_: None)
        asyncio.run(_run(repository, http, host, grpc_port))


def _bound(host, port):
    """A socket that nobody can connect to yet: the models are still to be loaded."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # An answer is two writes; the second would wait 40 ms for the client to confirm the first.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        made.close()
        raise ServerError(f"{host}:{port} cannot be listened at: {error}. Name another port") from None
    return made


async def _run(repository, http, host, grpc_port):
    rest_port = http.getsockname()[1]
    plane, extension = _DataPlane(repository), _Extension(repository)
    RESTServer("kserve.model_server:app", plane, extension, rest_port).create_application()
    memory = holding.Memory()
    app.add_middleware(_Gate, repository=repository, memory=memory)
    refusing.add_handlers(app)
    remote = grpc.aio.server(
        interceptors=(refusing.Interceptor(memory),),
        maximum_concurrent_rpcs=limits.MAX_CALLS,
        options=[("grpc.max_receive_message_length", limits.MAX_REQUEST), ("grpc.so_reuseport", 0)],
    )
    service = InferenceServicer(plane, extension)
    grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, remote)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(repository), remote)
    remote.add_insecure_port(f"{host}:{grpc_port}")
    await remote.start()
    names = ", ".join(f"{model.name} (version {model.version})" for model in repository.models.values())
    print(f"serving {names} at http://{host}:{rest_port} and grpc://{host}:{grpc_port}", flush=True)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=10, ws="none")
    await uvicorn.Server(config).serve(sockets=[http])
    await remote.stop(grace=10)


class Repository(kserve.ModelRepository):
    """The models of a folder, by name.

    Args:
        folder: Of models, or one model's.

    Raises:
        ModelError: There are none.
    """

    def __init__(self, folder):
        super().__init__(str(folder))
        for path in models_in(folder):
            self.update(Model(path))

    def load(self, name):
        """Loads the highest version of a model, of a new one too.

        Raises:
            ModelNotFound: The folder has none of that name.
        """
        folders = {path.name: path for path in models_in(self.models_dir)}
        if name not in folders:
            raise ModelNotFound(name)
        self.update(Model(folders[name]))

    def find(self, name):
        """A model by its name.

        Raises:
            ModelNotFound: It is not served.
        """
        model = self.get_model(name)
        if model is None:
            raise ModelNotFound(name)
        return model


class Model(kserve.Model):
    """KServe's face of a SavedModel.

    Args:
        folder: Path of a model.
    """

    _pool = ThreadPoolExecutor(PARALLEL, "predict")

    def __init__(self, folder):
        super().__init__(folder.name)
        self._served = Served(folder)
        self.version = self._served.version
        self.ready = True

    def get_input_types(self):
        return self._types("inputs")

    def get_output_types(self):
        return self._types("outputs")

    def _types(self, side):
        endpoints = self._served.endpoints
        tensors = endpoints.get("serve_bytes", endpoints["serving_default"])[side]
        return [
            {
                "name": name,
                "datatype": protocols.DATATYPES[facts["dtype"]],
                "shape": [-1 if size is None else size for size in facts["shape"]],
            }
            for name, facts in tensors.items()
        ]

    async def predict(self, payload, headers=None):
        """Answers KServe's V1 (a dict or bytes) and V2 (an `InferRequest`) requests.

        Raises:
            InvalidInput: The request cannot be answered; one line says why.
            ModelNotFound: It asks for another version.
            holding.RefusedError: It is not answered in time.
        """
        if isinstance(payload, InferRequest):
            self.check(payload.model_version)
            return await self.respond(protocols.v2, payload)
        return await self.respond(protocols.v1, payload)

    async def respond(self, protocol, request):
        """Runs one of `protocols` beside the event loop, which goes on answering."""
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._pool, protocol, self._served, request)
            return await asyncio.wait_for(answer, limits.MAX_SECONDS)
        except TimeoutError:
            reason = f"The server is too busy to answer within {limits.MAX_SECONDS} seconds: try again later"
            raise holding.RefusedError(503, reason) from None
        except FractureError as error:
            raise InvalidInput(refusing.line(error)) from None

    def check(self, version):
        """Raises `ModelNotFound` if a version is asked for that is not the loaded one."""
        if version and str(version) != str(self.version):
            error = ModelNotFound()
            error.reason = f"{self.name} is served in version {self.version}. Received: version {version}"
            raise error


class _Extension(ModelRepositoryExtension):
    """KServe's, loading beside the event loop; it answers nothing, of which its gRPC service makes an error."""

    async def load(self, model_name):
        await asyncio.to_thread(self._model_registry.load, model_name)
        return {"name": model_name, "load": True}

    async def unload(self, model_name):
        await super().unload(model_name)
        return {"name": model_name, "unload": True}


class _DataPlane(DataPlane):
    """KServe's, for which a request that cannot be taken apart is the client's mistake."""

    def decode(self, body, headers, *arguments, **options):
        try:
            decoded = super().decode(body, headers, *arguments, **options)
            if isinstance(decoded[0], InferRequest):
                _validate(decoded[0])
            return decoded
        except InvalidInput:
            raise
        except ValidationError as error:
            raise InvalidInput(refusing.malformed(error)) from None
        except Exception as error:
            raise InvalidInput(f"The request cannot be read: {type(error).__name__} {error}") from None


def _validate(request):
    """What KServe leaves unchecked: all that stands in front of binary data, and half characters in an id."""
    inputs = [
        {
            "name": one.name,
            "shape": one.shape,
            "datatype": one.datatype,
            "parameters": one.parameters,
            "data": [],
        }
        for one in request.inputs
    ]
    outputs = [{"name": one.name, "parameters": one.parameters} for one in request.request_outputs or ()]
    facts = {"id": request.id, "parameters": request.parameters, "inputs": inputs, "outputs": outputs}
    InferenceRequest.model_validate(facts)
    (request.id or "").encode()


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    """TensorFlow Serving's gRPC contract, of which the part that predicts."""

    def __init__(self, repository):
        self._repository = repository

    async def Predict(self, request, context):  # noqa: N802
        model = self._repository.find(request.model_spec.name)
        model.check(request.model_spec.version_label or request.model_spec.version.value)
        return await model.respond(protocols.predict, request)


class _Gate:
    """In front of KServe's routes: versions in paths, which they do not know, and bodies that are too large."""

    def __init__(self, app, repository, memory):
        self._app, self._repository, self._memory = app, repository, memory

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if not scope["path"].isprintable():  # the routes overlook a line break at the end
            return await refusing.response(404, "Not Found")(scope, receive, send)
        headers = dict(scope["headers"])
        try:
            exposition.choose_encoder(headers.get(b"accept", b"").decode("latin-1"))
        except (TypeError, ValueError) as error:  # of `/metrics`, where it would be the server's mistake
            return await refusing.response(400, f"Accept cannot be read: {error}")(scope, receive, send)
        versioned = _VERSIONED.fullmatch(scope["path"])
        if versioned:
            try:
                self._repository.find(versioned["name"]).check(versioned["version"])
            except ModelNotFound as error:
                return await refusing.response(404, error)(scope, receive, send)
            path = versioned["before"] + versioned["after"]
            scope = {**scope, "path": path, "raw_path": path.encode()}
        with self._memory.share() as hold:
            try:
                body = await holding.body(receive, headers, hold)
                if body is None:
                    return None
                holding.hold_json(body, headers, hold)
            except holding.RefusedError as error:
                # What is still to come is not read.
                refusal = refusing.response(error.status, error, {"Connection": "close"})
                return await refusal(scope, receive, send)
            whole = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def again():
                return next(whole, None) or await receive()

            return await self._app(scope, again, send)
