"""Where the SavedModels of a folder are: one folder a model, one numbered folder a version."""

import json

from keras_fracture.errors import ModelError, one_line
from keras_fracture.serving import zoo

# What asks converted models, in the repository.
PROGRAMS = {
    "model.tflite": "examples/runtimes/with_litert.py",
    "model.onnx": "examples/runtimes/with_onnxruntime.py",
}


def version_of(folder):
    """The folder of a SavedModel itself if it is a version, else its highest numbered version.

    Args:
        folder: Path, or the name of a known model, see `zoo`.

    Raises:
        ModelError: It holds no SavedModel of this package, or two of one number.
    """
    folder = zoo.folder_of(folder)
    if _is_version(folder):
        return folder
    found = _by_number(folder)
    if not found:
        if converted := converted_in(folder):
            raise ModelError(
                f"{folder} holds no SavedModel but a converted model, which its own runtime asks, as "
                f"{PROGRAMS[converted.name]} does, in the package's repository: run that, or name the SavedModel. "
                f"Received: {converted.name}"
            )
        raise ModelError(f"{folder} holds no SavedModel written by this package (NUMBER/metadata.json)")
    return found[max(found)]


def converted_in(folder):
    """The file of a TFLite or ONNX model in a folder or one of its versions, None where there is none."""
    files = (file for form in PROGRAMS for file in (*folder.glob(form), *folder.glob(f"*/{form}")))
    return min(files, default=None)


def numbered(model, version):
    """The folder of one version of a model.

    Args:
        model: Path of the folder that holds its versions, or the name of a known model, see `zoo`.
        version: Its number.

    Raises:
        ModelError: There is no such version, or two of one number.
    """
    folder = zoo.folder_of(model)
    if _is_version(folder) and folder.name == str(version):
        return folder
    found = _by_number(folder)
    if version not in found:
        there = ", ".join(map(str, sorted(found))) or "none"
        raise ModelError(f"{folder} has no such version; those it has: {there}. Received: version {version}")
    return found[version]


def models_in(*folders):
    """The model folders of some folders, by name; or a folder itself, if it is one model's, or a known model's name.

    Raises:
        ModelError: A folder has none, or two models have one name.
    """
    found = {}
    for given in folders:
        folder = zoo.folder_of(given).resolve()
        models = [path for path in (folder, *sorted(folder.glob("*"))) if any(versions(path))]
        if not models:
            raise ModelError(
                f"{folder} holds no SavedModels of this package: want NAME/NUMBER/metadata.json. See `serving.export`"
            )
        for path in models[:1] if models[0] == folder else models:
            if found.setdefault(path.name, path) != path:
                raise ModelError(
                    f"Two models are called {path.name}. Received: {found[path.name]} and {path}"
                )
    return list(found.values())


def model_config(*folders, base="/models"):
    """TensorFlow Serving's `--model_config_file` for the models of some folders, as text.

    Args:
        *folders: Of models.
        base: Where the server sees the folder; in `serving/compose.yaml` at /models.

    Raises:
        ModelError: There are none.
    """
    entries = [
        f"  config {{\n    name: {json.dumps(path.name)}\n    base_path: {json.dumps(f'{base}/{path.name}')}\n"
        f'    model_platform: "tensorflow"\n  }}\n'
        for path in models_in(*folders)
    ]
    return (
        "# One entry a folder of saved_models/. Without a version policy the highest version is served.\n"
        "# `keras-fracture serve saved_models --write-config serving/models.config` writes it anew.\n"
        f"model_config_list {{\n{''.join(entries)}}}\n"
    )


def loaded(version):
    """The SavedModel of a version as TensorFlow loads it. It is a program: load none that you would not run.

    Raises:
        ModelError: It is damaged, or a weight is NaN or infinite.
    """
    import tensorflow as tf

    from keras_fracture.data.ranges import not_finite

    try:
        model = tf.saved_model.load(str(version))
        # Here, and not where they are used.
        _ = model.signatures["serving_default"], model.model_variables
    except Exception as error:  # whatever TensorFlow runs into while it reads a damaged one
        raise ModelError(
            f"{version} holds no whole SavedModel ({one_line(error)}): export it again"
        ) from None
    if spoilt := not_finite(model.model_variables):  # its answers may be finite all the same
        raise ModelError(
            f"{version} holds weights that are not finite: export another one. Received: NaN or infinity in {spoilt}"
        )
    return model


def versions(folder):
    """The SavedModels' versions in a model's folder, as paths; what is converted for other runtimes is none."""
    return [path for path in folder.glob("*") if path.name.isdecimal() and _is_version(path)]


def unfinished(folder, version):
    """What is wrong with a model's folder that has a higher number than `version` and is no version; None if none.

    TensorFlow Serving takes such a folder for one once it holds `saved_model.pb`.
    """
    later = [path for path in folder.glob("*") if path.name.isdecimal() and int(path.name) > version]
    for path in later:
        begun = any((path / name).exists() for name in ("saved_model.pb", "variables"))
        if begun and not _is_version(path) and not any(path.glob("model.*")):
            return f"{path} is not whole, it has no metadata.json: finish copying it, or take it away"
    return None


def _by_number(folder):
    """A model's versions by their numbers.

    Raises:
        ModelError: Two have one number.
    """
    found = {}
    for path in sorted(versions(folder)):
        number = int(path.name)
        if number in found:
            raise ModelError(
                f"{folder} has version {number} twice: take one away. Received: {found[number].name} and {path.name}"
            )
        found[number] = path
    return found


def _is_version(folder):
    return (folder / "metadata.json").is_file() and not any(folder.glob("model.*"))
