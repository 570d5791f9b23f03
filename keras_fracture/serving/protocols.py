"""Requests and responses as three protocols spell them: KServe's V1 and V2, TensorFlow Serving's `Predict`.

Each function takes a `Served` model and a request and gives the response, or raises `RequestError`.
"""

import base64
import binascii
import struct

import numpy as np
import orjson
import tensorflow as tf
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import InferOutput, InferResponse
from tensorflow_serving.apis import predict_pb2

from keras_fracture.errors import RequestError
from keras_fracture.serving import limits

DATATYPES = {
    "float32": "FP32",
    "int32": "INT32",
    "uint8": "UINT8",
    "string": "BYTES",
    "object": "BYTES",
}  # KServe's names


def v1(served, body):
    """KServe's V1, which is TensorFlow Serving's REST: `{"instances": [...]}`, maybe with a `signature_name`.

    An instance is a value, or a dict of input name to value; bytes are `{"b64": "..."}`. Without a signature name
    bytes go to `serve_bytes` and anything else to `serving_default`. `{"inputs": {name: values}}` gives each input as
    a whole, single numbers too, and is answered by `{"outputs": ...}`.
    """
    if isinstance(body, bytes):  # curl says that JSON is a form unless told otherwise
        try:
            body = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RequestError(f"A request is JSON: {error}") from None
    if isinstance(body, dict) and isinstance(body.get("inputs"), dict):
        return {"outputs": _lists(_columns(served, body["inputs"], body.get("signature_name")))}
    rows = body.get("instances") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise RequestError(
            'A request is JSON with a list, {"instances": [...]}, or a dict, {"inputs": {...}}'
        )
    _count(rows)
    name = body.get("signature_name") or ("serve_bytes" if any(map(_is_coded, rows)) else "serving_default")
    wanted = served.inputs(name, rows[0] if isinstance(rows[0], dict) else ())
    if len(wanted) == 1:
        (only,) = wanted
        rows = [row if isinstance(row, dict) and not _is_coded(row) else {only: row} for row in rows]
    for row in rows:
        if not isinstance(row, dict) or set(row) != set(wanted):
            raise RequestError(f"Each instance must hold {', '.join(wanted)}. Received: {str(row)[:60]}")
    outputs = served.run(
        name,
        {key: _of_json(key, [row[key] for row in rows], facts["dtype"]) for key, facts in wanted.items()},
    )
    lists = _lists(outputs)
    if not isinstance(lists, dict):
        return {"predictions": lists}
    return {"predictions": [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]}


def _columns(served, inputs, name):
    name = name or "serving_default"
    wanted = served.inputs(name, inputs)
    if set(inputs) != set(wanted):
        raise RequestError(f"{name} takes {', '.join(wanted)}. Received: {', '.join(inputs) or 'nothing'}")
    for key, values in inputs.items():
        if isinstance(values, list) and wanted[key]["shape"]:
            _count(values)
    return served.run(
        name, {key: _of_json(key, inputs[key], facts["dtype"]) for key, facts in wanted.items()}
    )


def _lists(outputs):
    """Outputs as JSON, by name where there are several."""
    lists = {
        key: [{"b64": base64.b64encode(each).decode()} for each in values]
        if values.dtype == object
        else values.tolist()
        for key, values in outputs.items()
    }
    return lists if len(lists) > 1 else next(iter(lists.values()))


def v2(served, request):
    """KServe's V2; the endpoint is the one that takes what is given. In JSON, bytes are base64."""
    given = {tensor.name: tensor for tensor in request.inputs}
    if len(given) < len(request.inputs):
        raise RequestError(f"Each input is given once. Received: {', '.join(t.name for t in request.inputs)}")
    fitting = [name for name in served.endpoints if set(served.inputs(name, given)) == set(given)]
    if not fitting:
        takes = " or ".join(", ".join(facts["inputs"]) for facts in served.endpoints.values())
        raise RequestError(f"{served.name} takes {takes}. Received: {', '.join(given) or 'nothing'}")
    endpoint = served.endpoint(fitting[0])
    wanted = served.inputs(fitting[0], given)
    _known(endpoint, [each.name for each in request.request_outputs or ()])
    outputs = served.run(fitting[0], {key: _of_v2(tensor, wanted[key]) for key, tensor in given.items()})
    binary = bool(request.use_binary_outputs)
    tensors = []
    for key, values in outputs.items():
        tensors.append(InferOutput(key, list(values.shape), DATATYPES[values.dtype.name]))
        tensors[-1].set_data_from_numpy(values, binary_data=binary)
    return InferResponse(
        response_id=request.id or "",
        model_name=served.name,
        model_version=str(served.version),
        infer_outputs=tensors,
        use_binary_outputs=binary,
        requested_outputs=request.request_outputs,
    )


def predict(served, request):
    """TensorFlow Serving's `PredictRequest` to its `PredictResponse`."""
    name = request.model_spec.signature_name or "serving_default"
    endpoint = served.endpoint(name)
    _known(endpoint, request.output_filter)
    # Before any is read: a tensor's last value is repeated until it has the shape it says, whatever memory that takes.
    sizes = {key: [dim.size for dim in given.tensor_shape.dim] for key, given in request.inputs.items()}
    served.check(name, sizes)
    try:
        inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(f"The tensors cannot be read: {error}") from None
    response = predict_pb2.PredictResponse()
    response.model_spec.name = served.name
    response.model_spec.version.value = served.version
    response.model_spec.signature_name = name
    for key, values in served.run(name, inputs).items():
        if not request.output_filter or key in request.output_filter:
            response.outputs[key].CopyFrom(tf.make_tensor_proto(values))
    return response


def _known(endpoint, names):
    for name in names:
        if name not in endpoint["outputs"]:
            raise RequestError(f"The outputs are {', '.join(endpoint['outputs'])}. Received: {name!r}")


def _count(rows):
    """Before any of them is decoded."""
    if not 1 <= len(rows) <= limits.MAX_IMAGES:
        raise RequestError(f"A request holds 1 to {limits.MAX_IMAGES} images. Received: {len(rows)}")


def _is_coded(row):
    return isinstance(row, dict) and "b64" in row


def _of_json(key, values, dtype):
    if dtype == "string":
        if not isinstance(values, list) or not all(map(_is_coded, values)):
            raise RequestError(f'{key} must be bytes in base64: {{"b64": "..."}}')
        return _objects([_decoded(key, value["b64"]) for value in values])
    try:
        return np.array(values)
    except ValueError:
        raise RequestError(f"{key} must all have one shape. Received: lists of several lengths") from None


def _of_v2(tensor, wanted):
    datatype = DATATYPES[wanted["dtype"]]
    if tensor.datatype != datatype:
        raise RequestError(f"{tensor.name} must be {datatype}. Received: {tensor.datatype}")
    if min(tensor.shape, default=0) < 0:  # of which NumPy would make whatever fits
        raise RequestError(f"{tensor.name} must have a shape of sizes. Received: {tensor.shape}")
    try:
        values = tensor.as_numpy()
    except (InvalidInput, OverflowError, TypeError, ValueError, struct.error) as error:
        raise RequestError(
            f"{tensor.name} cannot be read as {datatype} of shape {tensor.shape}: {error}"
        ) from None
    if datatype != "BYTES":
        return values
    if values.ndim != 1:
        raise RequestError(f"{tensor.name} must have the shape (n,). Received: {values.shape}")
    _count(values)
    return _objects([data if isinstance(data, bytes) else _decoded(tensor.name, data) for data in values])


def _decoded(key, text):
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise RequestError(f"{key} must be base64: {error}. Received: {str(text)[:20]!r}") from None


def _objects(values):
    made = np.empty(len(values), object)
    made[:] = values
    return made
