"""Exported models for other runtimes: TFLite for LiteRT, ONNX for ONNX Runtime and OpenVINO.

Of a model the endpoint `serving_default` is converted, which takes and gives arrays. What takes files, draws random
numbers or checks what it is given stays behind: the converters cannot carry it over.
"""

import hashlib
import importlib
import json
import logging
import tempfile
from pathlib import Path

import tensorflow as tf

from keras_fracture import files
from keras_fracture.data.library_settings import ProcessSetting
from keras_fracture.errors import ModelError, OutputError, one_line
from keras_fracture.serving import card, comparing, releasing, versions
from keras_fracture.serving.metadata import facts_of, other_policy

_NEEDS = {"tflite": ("ai_edge_litert.interpreter",), "onnx": ("tf2onnx", "onnxruntime")}
_ENDPOINT = "serving_default"


def release(form, source, to, version=1, *described):
    """`releasing.release` in another format.

    Args:
        form: "tflite" or "onnx".
        source: What `releasing.release` takes.
        to: Folder of the model.
        version: Positive integer.
        *described: The further arguments of `releasing.release`.

    Returns:
        What `convert` does.

    Raises:
        ModelError: As `releasing.release` and `convert`.
        OutputError: As `convert`.
    """
    _check(form)
    _free(to, version)
    if saved := releasing.saved_model(source, *described):
        return convert(form, saved, to, version)
    with tempfile.TemporaryDirectory() as folder:
        saved = releasing.release(source, Path(folder) / Path(to).name, version, *described)
        return convert(form, saved, to, version)


def convert(form, saved, to, version=1):
    """Writes a SavedModel's `serving_default` as `to/version/model.tflite` or `model.onnx`, whole or not at all.

    Beside it lie `metadata.json`, that of the SavedModel with what became of it as `converted`, and the same as
    `model_card.md`. The file was run: on random inputs, one row and several, it gives what the SavedModel gives.

    Args:
        form: "tflite" or "onnx".
        saved: Path of a SavedModel's version, written by `exporting.export`. It is a program, and is run.
        to: Folder of the model.
        version: Positive integer.

    Returns:
        The version's folder, and the largest difference from the SavedModel's outputs.

    Raises:
        ModelError: The format is none of these, what it needs is not installed, the model cannot be converted, or
            gives other numbers than the SavedModel.
        OutputError: It exists already, `to` holds SavedModels, or it cannot be written.
    """
    _check(form)
    target, name = _free(to, version), Path(to).name
    facts = facts_of(saved)
    # Of these the converters bring a hundred lines of their own, or write what no runtime reads.
    if (policy := other_policy(facts)) and (form, policy) != ("onnx", "mixed_float16"):
        raise ModelError(
            f"{name} computes in {policy}, which {form} does not: export what models.load gives, which is in float32, "
            f"with a threshold and metrics of its own, and convert that. Received: {policy}"
        )
    model = versions.loaded(saved)  # kept: its signatures do not keep its variables
    endpoint = model.signatures[_ENDPOINT]
    # In ONNX no two values of a graph have one name; a translator takes and gives `images`.
    described = facts["endpoints"][_ENDPOINT]
    taken = described["inputs"] if form == "onnx" else ()
    names = {output: f"{output}_out" if output in taken else output for output in described["outputs"]}
    with files.new_folder(target) as folder:
        file = folder / f"model.{form}"
        try:
            if form == "tflite":
                _write_tflite(saved, file)
            else:
                _write_onnx(endpoint, names, file)
            run = runner(file)

            def converted(**given):
                got = run(**given)
                return {output: got[name] for output, name in names.items()}

            difference = comparing.difference(endpoint, converted, facts)
        except OSError:  # a full disk
            raise
        except Exception as error:  # the converters and runtimes raise what they like
            raise ModelError(f"{name} cannot be converted to {form}. Received: {one_line(error)}") from None
        if not difference <= comparing.LARGEST:  # NaN is no number to be content with
            raise ModelError(
                f"{name} gives other numbers as {form}: nothing was written. Received: a difference of "
                f"{difference:.2g}, where {comparing.LARGEST:g} is allowed"
            )
        facts = _converted(facts, names, file.name, file.read_bytes(), difference)
        text = json.dumps(facts, indent=1) + "\n"
        (folder / "metadata.json").write_text(text, encoding="utf-8")
        (folder / "model_card.md").write_text(card.text(name, facts), encoding="utf-8")
        card.copy_samples(saved, folder)
    return target, difference


def runner(file):
    """A function of arrays by input name to a dict of arrays by output name, on the CPU, from a converted model.

    Args:
        file: Path of a `.tflite` or `.onnx` file. Native code reads it: take none from strangers.
    """
    if file.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(model_path=str(file)).get_signature_runner(_ENDPOINT)
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda **given: dict(zip(names, session.run(names, given), strict=True))


def _check(form):
    """Refuses a format that there is not, or that lacks a package, before anything is computed."""
    if form not in _NEEDS:
        raise ModelError(f"A model is converted to {' or '.join(_NEEDS)}. Received: {form!r}")
    for module in _NEEDS[form]:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ModelError(
                f"--format {form} needs what `pip install keras-fracture[runtimes]` brings. Received: {error}"
            ) from None


def _free(to, version):
    """The version's folder, which must not be there, nor SavedModels beside it."""
    target = Path(to) / str(version)
    if target.exists():
        raise OutputError(f"{target} exists already: choose another version")
    if versions.versions(Path(to)):
        raise OutputError(
            f"{to} holds SavedModels, and TensorFlow Serving takes the highest version: name another folder. "
            f"Received: version {version}"
        )
    return target


def _converted(facts, names, file, data, difference):
    """The metadata of a converted model."""
    described = facts["endpoints"][_ENDPOINT]
    outputs = {names[output]: tensor for output, tensor in described["outputs"].items()}
    return {fact: value for fact, value in facts.items() if fact != "warm_up_requests"} | {
        "endpoints": {_ENDPOINT: described | {"outputs": outputs}},
        "converted": {
            "file": file,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "largest_difference": difference,
        },
    }


def _write_tflite(saved, file):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=[_ENDPOINT])
    file.write_bytes(converter.convert())


def _write_onnx(endpoint, names, file):
    import tf2onnx

    specs = list(endpoint.structured_input_signature[1].values())

    def call(*given):
        outputs = endpoint(**{spec.name: each for spec, each in zip(specs, given, strict=True)})
        return {names[name]: output for name, output in outputs.items()}

    logger = logging.getLogger("tf2onnx")  # which writes a dozen lines on the way to an error
    with ProcessSetting(lambda: logger.level, logger.setLevel, logging.CRITICAL):
        tf2onnx.convert.from_function(tf.function(call), specs, output_path=str(file))
