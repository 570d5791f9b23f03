"""A client of TensorFlow Serving and of `keras-fracture serve`, over REST or gRPC."""

import base64
import itertools
import json
import time
from urllib.parse import urlsplit

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from keras_fracture.data import decoding, dicom
from keras_fracture.errors import ServerError
from keras_fracture.serving import limits

_BACKOFF = 0.2  # seconds before the second try, doubled before each further one
_LONGEST = 30.0  # seconds before any
_PASSING = (429, 502, 503, 504)  # HTTP statuses that may be others a moment later


def connect(url, model=None, version=None, timeout=30.0, retries=3):
    """A client of one model of a server.

    Args:
        url: `http://HOST:PORT` or `https://HOST:PORT` (REST), or `grpc://HOST:PORT`.
        model: Its name; may be left out where a `keras-fracture serve` over REST has one model only.
        version: Its number, 1 or more; default is the server's choice, the highest.
        timeout: Seconds an answer may take.
        retries: How often a request is repeated when there is no connection or the server is busy.

    Returns:
        A `Client`. Nothing is sent yet, unless the model must be asked for.

    Raises:
        ServerError: No such kind of URL or version, or no model is named and the server has not just one.
    """
    kind = {"http": RestClient, "https": RestClient, "grpc": GrpcClient}.get(urlsplit(url).scheme)
    if kind is None or not urlsplit(url).netloc:
        raise ServerError(f"A server is http://, https:// or grpc://HOST:PORT. Received: {url!r}")
    if version is not None and not (str(version).isdecimal() and int(version)):
        raise ServerError(
            f"A version is a number from 1; leave it out for the highest. Received: {version!r:.80}"
        )
    return kind(url.rstrip("/"), model, version, timeout, retries)


class Client:
    """What both protocols share; `predict` may be called from several threads.

    Attributes:
        classes, finding, threshold: None: a server does not tell the names of its probabilities, nor what follows
            from them.
        inverts: False: nor whether its model turns black and white.
    """

    classes = finding = threshold = None
    inverts = False

    def predict(self, images, names=None):
        """Probabilities of images, as the model's `serve_bytes` gives them.

        Args:
            images: n contents of JPEG, PNG or DICOM files, bytes; checked here first, sent in as many requests as
                needed. Of DICOM the image alone is sent, as PNG.
            names: n names for errors.

        Returns:
            float32 `(n, classes)`.

        Raises:
            DataError: A DICOM file, and pydicom is not installed.
            ImageError: A file is no image, or not one that servers take.
            ServerError: The server cannot be reached in time, or refuses.
        """
        names = names or ["image"] * len(images)
        images = [_without_tags(data, name) for data, name in zip(images, names, strict=True)]
        pixels = [limits.check(data, name) for data, name in zip(images, names, strict=True)]
        return np.concatenate([self._ask(batch) for batch in _batches(images, pixels)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class RestClient(Client):
    """Speaks `/v1/models/NAME:predict`; see `connect`."""

    def __init__(self, url, model=None, version=None, timeout=30.0, retries=3):
        self._timeout = timeout
        self._session = requests.Session()
        again = Retry(
            retries,
            backoff_factor=_BACKOFF,
            backoff_max=_LONGEST,
            status_forcelist=_PASSING,
            allowed_methods=None,  # a prediction may be asked for twice
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=again, pool_maxsize=32))
        model = model or self._only_model(url)
        number = "" if version is None else f"/versions/{version}"
        self._url = f"{url}/v1/models/{model}{number}:predict"

    def _only_model(self, url):
        response = self._send("GET", f"{url}/v1/models")
        names = response.get("models", [])
        if len(names) != 1:
            raise ServerError(f"Name one of the models of {url}: {', '.join(names)}. Received: no name")
        return names[0]

    def _ask(self, batch):
        rows = [{"b64": base64.b64encode(data).decode()} for data in batch]
        body = json.dumps({"signature_name": "serve_bytes", "instances": rows})
        return np.array(self._send("POST", self._url, body)["predictions"], np.float32)

    def _send(self, method, url, body=None):
        kind = {"Content-Type": "application/json"}
        try:
            response = self._session.request(method, url, data=body, headers=kind, timeout=self._timeout)
        except requests.RequestException as error:
            raise ServerError(f"{url} does not answer: {_one_line(error)}") from None
        try:
            content = response.json()
        except ValueError:
            content = {"error": response.text}
        if not response.ok:
            reason = content.get("error") or content.get("detail") or response.reason
            raise ServerError(f"{url} answers {response.status_code}: {_one_line(reason)}")
        return content

    def close(self):
        """Closes its connections."""
        self._session.close()


class GrpcClient(Client):
    """Speaks TensorFlow Serving's `PredictionService.Predict`; needs `tensorflow-serving-api`; see `connect`."""

    def __init__(self, url, model=None, version=None, timeout=30.0, retries=3):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        if not model:
            raise ServerError(f"Name a model of {url}: gRPC has no list of them. Received: no name")
        self._url, self._model, self._version = url, model, version
        self._timeout, self._retries = timeout, retries
        # Repeated here: gRPC itself tries five times at most. It should look for a server that is back by then.
        options = [("grpc.enable_retries", 0), ("grpc.max_reconnect_backoff_ms", 1000)]
        self._channel = grpc.insecure_channel(urlsplit(url).netloc, options)
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self._channel).Predict

    def _ask(self, batch):
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = "serve_bytes"
        if self._version is not None:
            request.model_spec.version.value = int(self._version)
        request.inputs["bytes"].CopyFrom(tf.make_tensor_proto(batch, tf.string, [len(batch)]))
        return tf.make_ndarray(self._send(request).outputs["probabilities"])

    def _send(self, request):
        import grpc

        for tried in itertools.count():
            try:
                return self._predict(request, timeout=self._timeout)
            except grpc.RpcError as error:
                # The latter is said of too many calls at a time.
                passing = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
                if not passing or tried >= self._retries:
                    reason = _one_line(error.details())
                    raise ServerError(f"{self._url} answers {error.code().name}: {reason}") from None
            time.sleep(min(_BACKOFF * 2**tried, _LONGEST))

    def close(self):
        """Closes its connection."""
        self._channel.close()


def _without_tags(data, name):
    """DICOM as PNG, other files as they are."""
    return decoding.encode_png(decoding.decode(data, name).image) if dicom.is_dicom(data) else data


def _batches(images, pixels):
    """Parts that a request may hold; base64 and JSON add less than a half."""
    batch, size, area = [], 0, 0
    for data, count in zip(images, pixels, strict=True):
        full = len(batch) == limits.MAX_IMAGES or size + len(data) > limits.MAX_REQUEST // 2
        if batch and (full or area + count > limits.MAX_ALL_PIXELS):
            yield batch
            batch, size, area = [], 0, 0
        batch.append(data)
        size, area = size + len(data), area + count
    yield batch


def _one_line(words):
    return " ".join(str(words).split())
