"""Requests to a SavedModel as TensorFlow Serving puts them with `--enable_batching`: by TensorFlow's own batch op."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from PIL import Image

from tests.serving.asking import saved

_ROWS = 4  # of a batch; three requests of one row are filled up


def check(version):
    """Asserts that the warm-up requests and two like each are answered in a batch as they are alone.

    Returns:
        How many warm-up requests there are.
    """
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    loaded, asked = tf.saved_model.load(str(version)), []
    for record in tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests")):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        given = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        asked.append(request.model_spec.signature_name)
        _compare(loaded.signatures[asked[-1]], [given, *(_like(given, seed) for seed in (1, 2))])
    assert sorted(asked) == sorted(loaded.signatures)
    return len(asked)


def _compare(signature, requests):
    keys, outputs = sorted(requests[0]), sorted(signature.structured_outputs)
    rows = tf.Variable(0)

    @tf.nondifferentiable_batch_function(1, _ROWS, 500_000, [_ROWS])
    def batched(*tensors):
        rows.assign(tf.shape(tensors[0])[0])
        response = signature(**dict(zip(keys, tensors, strict=True)))
        return [response[key] for key in outputs]

    ask = tf.function(lambda given: batched(*(given[key] for key in keys)))
    ask.get_concrete_function(
        {key: tf.TensorSpec([None, *each.shape[1:]], each.dtype) for key, each in requests[0].items()}
    )
    with ThreadPoolExecutor(len(requests)) as pool:
        responses = list(pool.map(ask, requests))
    assert rows.numpy() == _ROWS
    for given, response in zip(requests, responses, strict=True):
        for key, ours in zip(outputs, response, strict=True):
            _alike(ours.numpy(), signature(**given)[key].numpy())


def _alike(ours, expected):
    assert ours.shape == expected.shape
    if expected.dtype == object:
        ours, expected = (
            np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in each]) for each in (ours, expected)
        )
    rounded = expected.dtype == np.uint8
    np.testing.assert_allclose(
        ours.astype(float), expected.astype(float), rtol=1e-4, atol=1 if rounded else 1e-5
    )


def _like(given, seed):
    """Another request of the same form."""
    rng = np.random.default_rng(seed)

    def value(key, tensor):
        if key == "bytes":
            return tf.constant([saved(rng.integers(0, 256, (64, 64), np.uint8), "PNG")])
        if key == "windows":
            return tf.constant([[seed, 2, 40, 30]])
        if tensor.dtype == tf.int32:
            return tf.constant([seed % 2], tf.int32)
        return tf.constant(rng.random(tensor.shape, "float32"))

    return {key: value(key, tensor) for key, tensor in given.items()}
