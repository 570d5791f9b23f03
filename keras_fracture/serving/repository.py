"""The models that are served, as KServe wants them."""

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor

import kserve
from kserve.errors import InvalidInput, ModelNotFound
from kserve.metrics import PREDICT_HIST_TIME
from kserve.protocol.infer_type import InferRequest
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from keras_fracture.errors import FractureError, ModelError
from keras_fracture.serving import limits, protocols, refusing
from keras_fracture.serving.served import Served
from keras_fracture.serving.versions import models_in, unfinished

THREADS = 16  # requests taken apart or waiting to be run, see `batching.PARALLEL`; others wait for a thread
_LOG = logging.getLogger(__name__)


class Repository(kserve.ModelRepository):
    """The models of some folders, by name. One that cannot be loaded is named in the log and left out.

    Args:
        *folders: Of models, or one model's, or names of known models.

    Raises:
        ModelError: There are none, or none that can be loaded.
    """

    def __init__(self, *folders):
        super().__init__(str(folders[0]))
        self.folders = folders
        for path in models_in(*folders):
            try:
                self.update(Model(path))
            except ModelError as error:
                _LOG.warning("%s is not served: %s", path.name, error)
                failed = error
            else:
                if newer := unfinished(path, self.find(path.name).version):
                    _LOG.warning("%s is served, but not its newer version: %s", path.name, newer)
        if not self.models:
            raise failed

    def load(self, name):
        """Loads the highest version of a model, of a new one too. If it cannot be loaded, all stays as it was.

        Raises:
            ModelNotFound: The folder has none of that name, and none is served.
            InvalidInput: It is damaged or not whole yet, or all versions of a model that is served were deleted.
        """
        before = self.get_model(name)
        folders = {}
        for folder in self.folders:
            with contextlib.suppress(ModelError):  # one without a model is not the fault of another's
                folders = {path.name: path for path in models_in(folder)} | folders
        if name not in folders and before:
            raise InvalidInput(
                f"{name} has no version in its folder any more, and version {before.version}, as it was loaded, goes "
                "on answering: copy a version there, or unload it"
            )
        if name not in folders:
            raise ModelNotFound(name)
        try:
            model = Model(folders[name])
            if newer := unfinished(folders[name], model.version):
                if before:
                    raise ModelError(newer)
                _LOG.warning("%s is served, but not its newer version: %s", name, newer)
            self.update(model)
        except ModelError as error:
            _LOG.warning("%s is not loaded: %s", name, error)
            kept = f"version {before.version} goes on answering" if before else "it is not served"
            raise InvalidInput(
                f"The highest version of {name} is damaged or not whole yet, and {kept}: see the server's log"
            ) from None

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

    Attributes:
        served: The `Served` behind it.
        version: Its version's number.
    """

    _pool = ThreadPoolExecutor(THREADS, "predict")

    def __init__(self, folder):
        super().__init__(folder.name)
        self.served = Served(folder)
        self.version = self.served.version
        self.ready = True

    def get_input_types(self):
        return self._types("inputs")

    def get_output_types(self):
        return self._types("outputs")

    def _types(self, side):
        endpoints = self.served.endpoints
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
            RefusedError: It is not answered in time.
        """
        if isinstance(payload, InferRequest):
            self.check(payload.model_version)
            return await self.respond(protocols.v2, payload)
        return await self.respond(protocols.v1, payload)

    async def predict_tensors(self, request):
        """Answers TensorFlow Serving's `PredictRequest`, timed as KServe times the others.

        Raises:
            InvalidInput: As `predict`.
        """
        with PREDICT_HIST_TIME.labels(self.name).time():
            return await self.respond(protocols.predict, request)

    async def respond(self, protocol, request):
        """Runs one of `protocols` beside the event loop, which goes on answering."""
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._pool, protocol, self.served, request)
            return await asyncio.wait_for(answer, limits.MAX_SECONDS)
        except TimeoutError:
            reason = f"The server is too busy to answer within {limits.MAX_SECONDS} seconds: try again later"
            raise refusing.RefusedError(503, reason) from None
        except FractureError as error:
            raise InvalidInput(refusing.line(error)) from None

    def check(self, version):
        """Raises `ModelNotFound` if a version is asked for that is not the loaded one."""
        if version and str(version) != str(self.version):
            error = ModelNotFound()
            error.reason = f"{self.name} is served in version {self.version}. Received: version {version}"
            raise error


class Extension(ModelRepositoryExtension):
    """KServe's, loading beside the event loop; it answers nothing, of which its gRPC service makes an error."""

    async def load(self, model_name):
        await asyncio.to_thread(self._model_registry.load, model_name)
        return {
            "name": model_name,
            "load": True,
            "version": str(self._model_registry.find(model_name).version),
        }

    async def unload(self, model_name):
        await super().unload(model_name)
        return {"name": model_name, "unload": True}
