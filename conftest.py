"""The environment of all tests; set before anything imports TensorFlow."""

import os
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
# Not in a fixture: the builders' tests lie in the package, where the fixtures of tests/ do not reach.
_CACHE = tempfile.TemporaryDirectory(prefix="keras_fracture-")
os.environ["KERAS_FRACTURE_CACHE"] = _CACHE.name
