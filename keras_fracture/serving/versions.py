"""Where the SavedModels of a folder are: one folder a model, one numbered folder a version."""

import json
from pathlib import Path

from keras_fracture.errors import ModelError, one_line


def version_of(folder):
    """The folder of a SavedModel itself if it is a version, else its highest numbered version.

    Raises:
        ModelError: It holds no SavedModel of this package.
    """
    folder = Path(folder)
    if _is_version(folder):
        return folder
    found = versions(folder)
    if not found:
        raise ModelError(f"{folder} holds no SavedModel written by this package (NUMBER/metadata.json)")
    return max(found, key=lambda path: int(path.name))


def models_in(folder):
    """The model folders of a folder, by name; or the folder itself, if it is one model's.

    Raises:
        ModelError: There are none.
    """
    folder = Path(folder).resolve()
    folders = [path for path in (folder, *sorted(folder.glob("*"))) if any(versions(path))]
    if not folders:
        raise ModelError(
            f"{folder} holds no SavedModels of this package: want NAME/NUMBER/metadata.json. See `serving.export`"
        )
    return folders[:1] if folders[0] == folder else folders


def model_config(folder, base="/models"):
    """TensorFlow Serving's `--model_config_file` for the models of a folder, as text.

    Args:
        folder: Of models.
        base: Where the server sees the folder; in `serving/compose.yaml` at /models.

    Raises:
        ModelError: There are none.
    """
    entries = [
        f"  config {{\n    name: {json.dumps(path.name)}\n    base_path: {json.dumps(f'{base}/{path.name}')}\n"
        f'    model_platform: "tensorflow"\n  }}\n'
        for path in models_in(folder)
    ]
    return (
        "# One entry a folder of saved_models/. Without a version policy the highest version is served.\n"
        "# `keras-fracture serve saved_models --write-config serving/models.config` writes it anew.\n"
        f"model_config_list {{\n{''.join(entries)}}}\n"
    )


def loaded(version):
    """The SavedModel of a version as TensorFlow loads it. It is a program: load none that you would not run.

    Raises:
        ModelError: It is damaged.
    """
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(version))
        # Here, and not where they are used.
        _ = model.signatures["serving_default"], model.model_variables
    except Exception as error:  # whatever TensorFlow runs into while it reads a damaged one
        raise ModelError(
            f"{version} holds no whole SavedModel ({one_line(error)}): export it again"
        ) from None
    return model


def versions(folder):
    """The SavedModels' versions in a model's folder, as paths; what is converted for other runtimes is none."""
    return [path for path in folder.glob("*") if path.name.isdecimal() and _is_version(path)]


def _is_version(folder):
    return (folder / "metadata.json").is_file() and not any(folder.glob("model.*"))
