"""Requests that TensorFlow Serving answers to itself before a model's first user does."""

import numpy as np
import tensorflow as tf

_FILE = "tf_serving_warmup_requests"
_SIDE = 64  # of a drawn image, in pixels


def write(version, name, endpoints):
    """Writes one request an endpoint into `assets.extra/` of a SavedModel.

    Args:
        version: Path of the SavedModel's folder.
        name: The model's.
        endpoints: As in `metadata.json`.

    Returns:
        How many; 0 where `tensorflow-serving-api` is not installed, which holds the messages' definition.
    """
    try:
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
    except ModuleNotFoundError:
        return 0
    path = version / "assets.extra" / _FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for endpoint, described in endpoints.items():
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = name, endpoint
            for key, facts in described["inputs"].items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(example(key, facts)))
            writer.write(log.SerializeToString())
    return len(endpoints)


def example(key, facts):
    """An input that an endpoint can answer, for one image: an array of the dtype and shape `facts` tell."""
    shape = [size or 1 for size in facts["shape"]]
    if key == "bytes":
        image = tf.zeros((_SIDE, _SIDE, 1), tf.uint8)
        return np.full(shape, tf.io.encode_png(image).numpy(), object)
    if key == "windows":
        return np.array([[0, 0, _SIDE, _SIDE]], "int32")
    return np.zeros(shape, facts["dtype"])
