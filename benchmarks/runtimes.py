"""How far other runtimes are from the SavedModels: `python -m benchmarks runtimes`."""

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.errors import BenchmarkError
from benchmarks.serving import image_files
from keras_fracture.data.images import prepare
from keras_fracture.progress import Bar
from keras_fracture.serving import comparing, converting
from keras_fracture.serving.metadata import facts_of, preparation
from keras_fracture.serving.versions import loaded, models_in, version_of

_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


def measure_runtimes(models="saved_models", name="phantom", count=100, data_dir=None):
    """The largest differences between outputs of other runtimes and of the SavedModels, `serving_default`.

    Classifiers are given a data set's images, as `predict` prepares them, generators noise.

    Args:
        models: Folder of SavedModels.
        name: Data set, see `benchmarks.serving`.
        count: Images, drawn at random, always the same ones.
        data_dir: Where real data lie.

    Returns:
        A dict of "MODEL: RUNTIME" to the difference.

    Raises:
        BenchmarkError: `count` is no number of images, or a runtime is not installed.
        ModelError: There are no models, or one cannot be converted.
    """
    if count < 1:
        raise BenchmarkError(f"count must be 1 or more. Received: {count}")
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise BenchmarkError(
            f"`runtimes` needs what `pip install keras-fracture[runtimes]` brings. Received: {error}"
        ) from None
    core, data, numbers = openvino.Core(), list(image_files(name, count, data_dir)), {}
    for folder in Bar(models_in(models), "models", unit=" models"):
        version = version_of(folder)
        facts = facts_of(version)
        inputs = (
            {"images": prepare(data, *preparation(version))}
            if "preprocess" in facts
            else comparing.random_inputs(facts, count)
        )
        model = loaded(version)
        given = {key: tf.constant(each) for key, each in inputs.items()}
        (wanted,) = model.signatures["serving_default"](**given).values()
        with tempfile.TemporaryDirectory() as out:
            onnx, tflite = (
                converting.convert(form, version, Path(out) / form)[0] / f"model.{form}"
                for form in ("onnx", "tflite")
            )
            answers = {
                "ONNX Runtime": converting.runner(onnx)(**inputs),
                "LiteRT": converting.runner(tflite)(**inputs),
                "OpenVINO, f32": core.compile_model(onnx, "CPU", _EXACT)(inputs),
                "OpenVINO on the SavedModel, f32": core.compile_model(version, "CPU", _EXACT)(inputs),
                "OpenVINO as it comes": core.compile_model(onnx, "CPU")(inputs),
            }
        for runtime, outputs in answers.items():
            (got,) = outputs.values()  # a translator's goes by other names than the SavedModel's
            numbers[f"{folder.name}: {runtime}"] = float(np.abs(got - wanted).max())
    return numbers
