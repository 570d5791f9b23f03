"""A SavedModel that requests are put to: what it takes, and what is wrong with what it is given."""

import math
import re

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from keras_fracture.data.levels import scaled_twice
from keras_fracture.errors import ModelError, RequestError
from keras_fracture.serving import limits, preparing
from keras_fracture.serving.batching import Batcher
from keras_fracture.serving.metadata import facts_of
from keras_fracture.serving.versions import loaded, version_of


class Served:
    """The highest version of a model, loaded.

    Args:
        folder: Path of a model, `NAME/NUMBER/metadata.json`.

    Attributes:
        name: The folder's name.
        version: The version's number.
        endpoints: Name to inputs and outputs, each name to dtype and shape, as in `metadata.json`.
        signatures: The SavedModel's own description of them, TensorFlow Serving's `SignatureDefMap`.

    Raises:
        ModelError: It holds no SavedModel of this package, one that is damaged, or one that prepares images otherwise
            than its metadata say.
    """

    def __init__(self, folder):
        path = version_of(folder)
        facts = facts_of(path)
        self.name, self.version = folder.name, int(path.name)
        self.endpoints = facts["endpoints"]
        self._classifies = any("probabilities" in each["outputs"] for each in self.endpoints.values())
        self._pixel_range = facts["pixel_range"] or (-math.inf, math.inf)
        self._loaded = loaded(path)  # signatures alone do not keep their variables
        missing = set(self.endpoints) - set(self._loaded.signatures)
        if missing:
            raise ModelError(
                f"{path} lacks what its metadata.json names: export it again. Received: no {', '.join(missing)}"
            )
        functions = {name: self._loaded.signatures[name] for name in self.endpoints}
        if "serve_bytes" in functions and "preprocess" in facts:
            own = preparing.serve_bytes(path, functions["serving_default"])
            preparing.check(path, own, functions["serve_bytes"])
            functions["serve_bytes"] = own
        self._batchers = {name: Batcher(function) for name, function in functions.items()}
        (graph,) = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
        self.signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=graph.signature_def)

    def endpoint(self, name):
        """Inputs and outputs of an endpoint.

        Raises:
            RequestError: There is none of that name.
        """
        if not isinstance(name, str) or name not in self.endpoints:
            raise RequestError(
                f"{self.name} has the endpoints {', '.join(self.endpoints)}. Received: {name!r}"
            )
        return self.endpoints[name]

    def inputs(self, name, given=()):
        """The inputs of an endpoint, name to dtype and shape, as a request spells them.

        Where an endpoint draws the image of a `number` of a `seed`, a request may also ask for the first `n` of one
        seed (and one `label`), single numbers.

        Args:
            name: An endpoint.
            given: The names that the request holds.

        Raises:
            RequestError: There is no such endpoint.
        """
        wanted = self.endpoint(name)["inputs"]
        if "number" not in wanted or "n" not in given:
            return wanted
        return {"n" if key == "number" else key: facts | {"shape": []} for key, facts in wanted.items()}

    def run(self, name, inputs):
        """Answers a request.

        Args:
            name: An endpoint.
            inputs: Name to array, objects of type bytes for strings; the first axis counts images, unless the
                endpoint takes a single number.

        Returns:
            Name to array.

        Raises:
            RequestError: Other names, dtypes or shapes than the endpoint's, too many images, numbers that are not
                finite or out of the pixel range, or bytes that are no image.
        """
        wanted = self.inputs(name, inputs)
        self.check(name, {key: values.shape for key, values in inputs.items()})
        pixels = sum(_pixels(key, inputs[key]) for key, facts in wanted.items() if facts["dtype"] == "string")
        tensors = {key: self._tensor(key, values, wanted[key]) for key, values in inputs.items()}
        if "n" in tensors and "n" not in self.endpoint(name)["inputs"]:
            tensors = _rows(**tensors)
        try:
            return self._batchers[name](tensors, _images(tensors), pixels)
        except tf.errors.InvalidArgumentError as error:
            raise RequestError(f"{self.name} cannot read what it was given: {_reason(error)}") from None

    def check(self, name, shapes):
        """Refuses inputs by their names and shapes.

        Args:
            name: An endpoint.
            shapes: Name to shape.

        Raises:
            RequestError: Other names or shapes than the endpoint's, or too many images.
        """
        wanted = {key: facts["shape"] for key, facts in self.inputs(name, shapes).items()}
        if set(shapes) != set(wanted):
            raise RequestError(
                f"{name} takes {', '.join(wanted)}. Received: {', '.join(shapes) or 'nothing'}"
            )
        counts = {shape[0] if shape else 0 for key, shape in shapes.items() if wanted[key]}
        if counts and (len(counts) != 1 or not 1 <= max(counts) <= limits.MAX_IMAGES):
            numbers = ", ".join(map(str, sorted(counts)))
            raise RequestError(f"A request holds 1 to {limits.MAX_IMAGES} images. Received: {numbers}")
        for key, shape in shapes.items():
            if not wanted[key] and math.prod(shape) != 1:
                raise RequestError(f"{key} must be one number. Received the shape: {tuple(shape)}")
            if list(shape[1:]) != wanted[key][1:] and wanted[key]:
                sizes = ", ".join(map(str, wanted[key][1:]))
                raise RequestError(f"{key} must have the shape (n, {sizes}). Received: {tuple(shape)}")

    def _tensor(self, key, values, wanted):
        if not wanted["shape"]:
            values = values.reshape(())
        if wanted["dtype"] == "string":
            return tf.constant(values.tolist(), tf.string)
        kind = np.dtype(wanted["dtype"])
        if kind.kind == "i" and values.dtype.kind not in "iu":
            raise RequestError(f"{key} must be whole numbers. Received: {values.dtype}")
        if values.dtype.kind not in "iuf":
            raise RequestError(f"{key} must be {kind} numbers. Received: {values.dtype}")
        with np.errstate(over="ignore"):
            numbers = values.astype(kind)
        if kind.kind == "i" and (numbers != values).any():
            raise RequestError(f"{key} must fit into {kind}. Received: {values.min()} to {values.max()}")
        if not np.isfinite(numbers).all():
            raise RequestError(
                f"{key} must be finite {kind} numbers. Received: NaN, infinity or more than fits"
            )
        low, high = self._pixel_range if key == "images" else (-math.inf, math.inf)
        # One patch that is painted into may be background.
        whole = key == "images" and (len(values) > 1 or self._classifies)
        if whole and scaled_twice(values.min(), values.max(), (low, high)):
            raise RequestError(
                f"{key} must lie between {low:g} and {high:g}, and not be all but black: scale them once. "
                f"Received: {len(values)} image(s) from {values.min():g} to {values.max():g}"
            )
        if values.min() < low - 1e-3 or values.max() > high + 1e-3:
            least, most = values.min(), values.max()
            raise RequestError(
                f"{key} must lie between {low:g} and {high:g}. Received: {least:g} to {most:g}"
            )
        return tf.constant(numbers)


def _pixels(key, values):
    """How many pixels files have together; refuses those that cannot be read."""
    if values.dtype != object:
        raise RequestError(f"{key} must be bytes. Received: {values.dtype}")
    pixels = 0
    for number, data in enumerate(values):
        pixels += limits.check(data, f"image {number}")
        if pixels > limits.MAX_ALL_PIXELS:
            raise RequestError(
                f"The images of a request have {limits.MAX_ALL_PIXELS:,} pixels at most: send fewer at a time. "
                f"Received: {pixels:,} in the first {number + 1}"
            )
    return pixels


def _images(tensors):
    """How many rows a request has; where inputs are single numbers as many as may be, so that it is run alone."""
    return max(tensor.shape[0] if tensor.shape.rank else limits.MAX_IMAGES for tensor in tensors.values())


def _rows(n, **same):
    """The rows of the first `n` images of a seed."""
    n = int(n)
    if not 1 <= n <= limits.MAX_IMAGES:
        raise RequestError(f"n must lie between 1 and {limits.MAX_IMAGES}. Received: {n}")
    return {"number": tf.range(n)} | {key: tf.fill([n], value) for key, value in same.items()}


def _reason(error):
    """The one line of TensorFlow's message that says what is wrong, with an assertion's words joined."""
    lines = re.sub(r"\n\t \[\[\{\{node.*", "", error.message.strip(), flags=re.S).splitlines()
    return lines[-1].removeprefix("assertion failed: [").removesuffix("]").replace("] [", "")
