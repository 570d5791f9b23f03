"""Importing the package changes nothing for the application that imports it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from PIL import ImageFile

import keras_fracture
from keras_fracture.data.library_settings import ProcessSetting, one_opencv_thread, recover_truncated

ROOT = Path(keras_fracture.__file__).parents[1]
# Where TensorFlow is loaded before the package these have no effect; see the package's docstring.
DOCUMENTED = {"TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"}
# Libraries that change settings themselves as they are imported.
LIBRARIES = (
    "cv2", "fastapi", "grpc", "IPython.display", "keras", "kserve.model_server", "matplotlib.pyplot", "PIL.Image",
    "scipy.stats", "sklearn.metrics", "tensorflow", "tensorflow_datasets", "tensorflow_serving.apis.predict_pb2",
    "torch", "uvicorn",
)  # fmt: skip
PROGRAM = """
import contextlib, importlib, json, logging, os, pkgutil, signal, sys, warnings

for library in sys.argv[1].split(","):
    with contextlib.suppress(ImportError):
        importlib.import_module(library)

import cv2, keras, matplotlib, numpy
from PIL import ImageFile


def settings():
    loggers = [name for name, one in logging.Logger.manager.loggerDict.items() if isinstance(one, logging.Logger)]
    return {
        "environ": dict(os.environ),
        "OpenCV's threads": cv2.getNumThreads(),
        "Pillow's truncated images": ImageFile.LOAD_TRUNCATED_IMAGES,
        "matplotlib": {name: str(matplotlib.rcParams._get(name)) for name in matplotlib.rcParams},
        "levels": {name: logging.getLogger(name).level for name in ["root", *loggers]},
        "handlers": len(logging.getLogger().handlers),
        "warnings": [str(entry) for entry in warnings.filters],
        "Keras's policy": keras.config.dtype_policy().name,
        "NumPy's errors": numpy.geterr(),
        "signals": [str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM)],
    }


before = settings()
import keras_fracture

names = [module.name for module in pkgutil.walk_packages(keras_fracture.__path__, "keras_fracture.")]
names = [name for name in names if not name.endswith(("__main__", "_test"))]
for name in names:
    importlib.import_module(name)
after = settings()
after["levels"] = {name: after["levels"][name] for name in before["levels"]}
print(json.dumps([before, after, len(names)]))
"""


def test_importing_every_module_changes_no_setting_of_other_libraries():
    environment = {name: value for name, value in os.environ.items() if name not in DOCUMENTED}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(LIBRARIES)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after, count = json.loads(done.stdout.splitlines()[-1])
    assert count > 100
    for name in DOCUMENTED:
        assert name not in before["environ"] and after["environ"].pop(name)
    assert after == before


def test_a_setting_is_put_back_by_the_last_to_leave():
    state = {"value": "theirs"}
    setting = ProcessSetting(lambda: state["value"], lambda value: state.update(value=value), "ours")
    with setting:
        with setting:
            assert state["value"] == "ours"
        assert state["value"] == "ours"
    assert state["value"] == "theirs"
    state["value"] = "changed meanwhile"
    with pytest.raises(ZeroDivisionError), setting:
        assert state["value"] == "ours"
        1 / 0  # noqa: B018
    assert state["value"] == "changed meanwhile"


def test_opencv_and_pillow_are_set_inside_alone():
    threads, truncated = cv2.getNumThreads(), ImageFile.LOAD_TRUNCATED_IMAGES
    with one_opencv_thread, recover_truncated:
        assert cv2.getNumThreads() == 1 and ImageFile.LOAD_TRUNCATED_IMAGES
    assert (cv2.getNumThreads(), ImageFile.LOAD_TRUNCATED_IMAGES) == (threads, truncated)
    assert not truncated
