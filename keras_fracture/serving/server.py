"""The models of a folder behind KServe's Python server and TensorFlow Serving's contracts, on one machine.

REST: KServe's V1 (`:predict`, also as TensorFlow Serving spells it) and V2 (`infer`), TensorFlow Serving's status and
metadata, `/metrics`, `/healthz`. gRPC: see `grpc_services`. The process knows TensorFlow, no architecture of this
package.
"""

import asyncio
import logging
import signal
import socket
import warnings

import grpc
import uvicorn
from google.protobuf import json_format
from kserve.errors import InvalidInput
from kserve.model_server import app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import InferRequest
from kserve.protocol.rest.server import RESTServer
from pydantic import ValidationError

from keras_fracture import progress
from keras_fracture.errors import RequestError, ServerError
from keras_fracture.serving import grpc_services, holding, limits, protocols, refusing
from keras_fracture.serving.gate import Gate
from keras_fracture.serving.repository import Extension, Repository

_LENGTH = "inference-header-content-length"  # of the JSON in front of binary data


def serve(*folders, host="127.0.0.1", rest_port=8501, grpc_port=8500, token=None):
    """Serves the models of some folders until SIGINT or SIGTERM. Each answers by its folder's name.

    The highest version of each is loaded. With a token, `POST /v2/repository/models/NAME/load` loads a newer one, or
    a new model, for who sends `Authorization: Bearer TOKEN`.

    Args:
        *folders: Of models, `NAME/NUMBER/metadata.json`, or one model's, or names of known models, see `zoo`.
        host: Address to listen at, IPv4 or IPv6; there is no authentication, so the default is this machine alone.
        rest_port: For HTTP.
        grpc_port: For gRPC.
        token: What one must know to load and unload models; nobody may without.

    Raises:
        ModelError: There are no models, or none that can be loaded.
        ServerError: A port is taken, or the token is too short.
    """
    keeper = refusing.Keeper(token)
    with _bound(host, rest_port) as http:
        _bound(host, grpc_port).close()  # gRPC would print lines of its own about a port that is taken
        repository = Repository(*folders)
        logging.getLogger("kserve").addFilter(refusing.one_line)
        warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")  # KServe's
        # uvicorn stops at these and then raises them again, which must not cut off the gRPC server's last answers.
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, lambda *_: None)
        asyncio.run(_run(repository, keeper, http, host, grpc_port))


def _bound(host, port):
    """A socket that nobody can connect to yet: the models are still to be loaded."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # An answer is two writes; the second would wait 40 ms for the client to confirm the first.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        made.close()
        raise ServerError(f"{host}:{port} cannot be listened at: {error}. Name another port") from None
    return made


async def _run(repository, keeper, http, host, grpc_port):
    rest_port = http.getsockname()[1]
    plane, extension = _DataPlane(repository), Extension(repository)
    _add_routes(repository, plane, extension)
    RESTServer("kserve.model_server:app", plane, extension, rest_port).create_application()
    memory = holding.Memory()
    app.add_middleware(Gate, repository=repository, keeper=keeper, memory=memory)
    refusing.add_handlers(app)
    remote = grpc.aio.server(
        interceptors=(refusing.Interceptor(memory),),
        maximum_concurrent_rpcs=limits.MAX_CALLS,
        options=[("grpc.max_receive_message_length", limits.MAX_REQUEST), ("grpc.so_reuseport", 0)],
    )
    grpc_services.add(remote, repository, plane, extension, keeper)
    host = f"[{host}]" if ":" in host else host
    remote.add_insecure_port(f"{host}:{grpc_port}")
    await remote.start()
    names = ", ".join(f"{model.name} (version {model.version})" for model in repository.models.values())
    progress.say(f"serving {names} at http://{host}:{rest_port} and grpc://{host}:{grpc_port}")
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=10, ws="none")
    await uvicorn.Server(config).serve(sockets=[http])
    await remote.stop(grace=10)


def _add_routes(repository, plane, extension):
    """Those of TensorFlow Serving, and a `load` that says the version, before KServe's: the first that fits answers."""

    @app.get("/v1/models/{name}")
    async def status(name: str):
        model = repository.find(name)
        known = _plain(grpc_services.status(model))
        known["model_version_status"][0]["status"]["error_code"] = "OK"  # the only name of a code in JSON
        return {"name": name, "ready": model.ready} | known

    @app.get("/v1/models/{name}/metadata")
    async def metadata(name: str):
        model = repository.find(name)
        spec = {"name": name, "signature_name": "", "version": str(model.version)}
        return {"model_spec": spec, "metadata": {"signature_def": _plain(model.served.signatures)}}

    @app.post("/v2/repository/models/{name}/load")
    async def load(name: str):
        return await extension.load(name)

    @app.get("/healthz")
    async def healthy():
        ready = await plane.ready()
        return {"ready": ready} if ready else refusing.response(503, "No model is served")


def _plain(message):
    """A message as TensorFlow Serving writes it in JSON."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


class _DataPlane(DataPlane):
    """KServe's, for which a request that cannot be taken apart is the client's mistake."""

    async def ready(self):
        return any(model.ready for model in self.model_registry.models.values())

    async def model_metadata(self, model_name):
        versions = [str(self.model_registry.find(model_name).version)]
        return await super().model_metadata(model_name) | {"versions": versions}

    def decode(self, body, headers, *arguments, **options):
        try:
            return super().decode(body, headers, *arguments, **options)
        except InvalidInput:
            raise
        except RequestError as error:
            raise InvalidInput(refusing.line(error)) from None
        except ValidationError as error:
            raise InvalidInput(refusing.malformed(error)) from None
        except Exception as error:  # whose words may repeat the request
            raise InvalidInput(f"The request cannot be read: {type(error).__name__}") from None

    def decode_inference_request(self, body, headers, model_name):
        if isinstance(body, bytes):
            request = protocols.v2_request(body, int(headers.get(_LENGTH, len(body))), model_name)
        else:
            request = InferRequest.from_inference_request(body, model_name)
        (request.id or "").encode()  # half characters, which no answer could repeat
        return request
