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
from kserve.protocol.infer_type import InferOutput, InferRequest, InferResponse, RequestedOutput
from kserve.protocol.rest.v2_datamodels import InferenceRequest, RequestInput
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
    a whole, single numbers too, and `{"inputs": values}` the only one; both are answered by `{"outputs": ...}`.
    """
    if isinstance(body, bytes):  # curl says that JSON is a form unless told otherwise
        try:
            body = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RequestError(f"A request is JSON: {error}") from None
    if isinstance(body, dict) and None not in (body.get("inputs"), body.get("instances")):
        raise RequestError("A request has instances or inputs. Received: both")
    if isinstance(body, dict) and isinstance(body.get("inputs"), dict | list):
        return {"outputs": _lists(_columns(served, body["inputs"], body.get("signature_name")))}
    rows = body.get("instances") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise RequestError(
            'A request is JSON with a list, {"instances": [...]}, or columns, {"inputs": {...}}'
        )
    _count(rows)
    name = body.get("signature_name") or _fitting(rows)
    wanted = served.inputs(name, rows[0] if isinstance(rows[0], dict) else ())
    if len(wanted) == 1:
        (only,) = wanted
        rows = [row if isinstance(row, dict) and not _is_coded(row) else {only: row} for row in rows]
    for row in rows:
        if not isinstance(row, dict) or set(row) != set(wanted):
            held = ", ".join(row)[:60] if isinstance(row, dict) else type(row).__name__
            raise RequestError(f"Each instance must hold {', '.join(wanted)}. Received: {held}")
    outputs = served.run(
        name,
        {key: _of_json(key, [row[key] for row in rows], facts["dtype"]) for key, facts in wanted.items()},
    )
    lists = _lists(outputs)
    if not isinstance(lists, dict):
        return {"predictions": lists}
    return {"predictions": [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]}


def _fitting(rows):
    return "serve_bytes" if any(map(_is_coded, rows)) else "serving_default"


def _columns(served, inputs, name):
    if isinstance(inputs, list):
        name = name or _fitting(inputs)
        wanted = served.inputs(name)
        if len(wanted) != 1:
            raise RequestError(f"{name} takes {', '.join(wanted)}: name them. Received: a list")
        inputs = dict.fromkeys(wanted, inputs)
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


def v2_request(body, length, name):
    """An `InferRequest` of an HTTP body: JSON, and behind it the inputs that say their `binary_data_size`.

    KServe's own makes text of bytes, which images are not.

    Args:
        body: Bytes.
        length: How many of them are JSON.
        name: The model's.

    Raises:
        RequestError: It is no JSON, or the sizes do not add up.
        pydantic.ValidationError: It is no V2 request.
    """
    try:
        content = orjson.loads(body[: max(length, 0)])
    except orjson.JSONDecodeError as error:
        raise RequestError(f"A request is JSON: {error}") from None
    request = InferRequest.from_inference_request(_Request.model_validate(content), name)
    start = length
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            if tensor.data is None:
                raise RequestError(f"{tensor.name} has neither data nor a binary_data_size")
            continue
        if type(size) is not int or not 0 <= size <= len(body) - start:
            raise RequestError(f"{tensor.name} must have a binary_data_size that is there. Received: {size}")
        tensor._raw_data = body[start : start + size]
        start += size
    if start != len(body):
        raise RequestError(f"{len(body) - start:,} bytes are no input's binary_data_size")
    return request


class _Input(RequestInput):
    data: list | None = None


class _Request(InferenceRequest):
    inputs: list[_Input]


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
    asked = {each.name: each.binary_data for each in request.request_outputs or ()}
    _known(endpoint, asked)
    outputs = served.run(fitting[0], {key: _of_v2(tensor, wanted[key]) for key, tensor in given.items()})
    usual = bool(request.use_binary_outputs)
    binary = {key: asked.get(key) for key in asked or outputs}  # None: as all
    if request.from_grpc:
        binary = dict.fromkeys(binary)
    binary = {key: usual if raw is None else bool(raw) for key, raw in binary.items()}
    return InferResponse(
        response_id=request.id or "",
        model_name=served.name,
        model_version=str(served.version),
        infer_outputs=[_output(key, outputs[key], raw, not request.from_grpc) for key, raw in binary.items()],
        use_binary_outputs=usual,
        requested_outputs=[RequestedOutput(key, {"binary_data": raw}) for key, raw in binary.items()],
    )


def _output(key, values, binary, coded):
    """One tensor of a V2 response; bytes are `coded` as base64 unless it is binary."""
    made = InferOutput(key, list(values.shape), DATATYPES[values.dtype.name])
    if values.dtype == object and not binary:
        made.data = [base64.b64encode(each).decode() if coded else each for each in values.ravel()]
    else:
        made.set_data_from_numpy(values, binary_data=binary)
    return made


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
        if further := {name for value in values for name in value if name != "b64"}:
            held = ", ".join(sorted(further))[:60]
            raise RequestError(f'{key} must be {{"b64": "..."}} and no more. Received: b64 beside {held}')
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
    if datatype == "BYTES":
        if len(tensor.shape) != 1:
            raise RequestError(f"{tensor.name} must have the shape (n,). Received: {tuple(tensor.shape)}")
        _count(range(tensor.shape[0]))
    raw = tensor._raw_data  # KServe's class shows it nowhere else
    try:
        values = (
            _strings(raw, *tensor.shape) if datatype == "BYTES" and raw is not None else tensor.as_numpy()
        )
    except (InvalidInput, OverflowError, TypeError, ValueError, struct.error) as error:
        raise RequestError(
            f"{tensor.name} cannot be read as {datatype} of shape {tensor.shape}: {error}"
        ) from None
    if datatype != "BYTES":
        return values
    return _objects([data if isinstance(data, bytes) else _decoded(tensor.name, data) for data in values])


def _strings(raw, count):
    """Bytes that each have their length in front; no more than there should be, of millions that may be empty."""
    values, start = [], 0
    for _ in range(count):
        (size,) = struct.unpack_from("<I", raw, start)
        values.append(raw[start + 4 : start + 4 + size])
        start += 4 + size
    if start != len(raw):
        raise ValueError(f"{len(raw):,} bytes, of which their lengths make {start:,}")
    return values


def _decoded(key, text):
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise RequestError(f"{key} must be base64: {error}. Received: {type(text).__name__}") from None


def _objects(values):
    made = np.empty(len(values), object)
    made[:] = values
    return made
