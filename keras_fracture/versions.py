"""Where the SavedModels of a folder are: one folder a model, one numbered folder a version."""

import json
from pathlib import Path

from keras_fracture.errors import ModelError, one_line

# Names that say so themselves; of any other class the metadata's "finding" must say it.
FINDINGS = ("finding", "fracture", "fractured", "lesion", "tumor", "tumour", "abnormal", "positive")
_FACTS = {"architecture": str, "config": dict, "endpoints": dict, "pixel_range": list | None}


def version_of(folder):
    """The folder of a SavedModel itself if it is a version, else its highest numbered version.

    Raises:
        ModelError: It holds no SavedModel of this package.
    """
    folder = Path(folder)
    if _is_version(folder):
        return folder
    versions = _versions(folder)
    if not versions:
        raise ModelError(f"{folder} holds no SavedModel written by this package (NUMBER/metadata.json)")
    return max(versions, key=lambda path: int(path.name))


def models_in(folder):
    """The model folders of a folder, by name; or the folder itself, if it is one model's.

    Raises:
        ModelError: There are none.
    """
    folder = Path(folder).resolve()
    found = [path for path in (folder, *sorted(folder.glob("*"))) if any(_versions(path))]
    if not found:
        raise ModelError(
            f"{folder} holds no SavedModels of this package: want NAME/NUMBER/metadata.json. See `serving.export`"
        )
    return found[:1] if found[0] == folder else found


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


def facts_of(version):
    """What `metadata.json` says of a SavedModel's version.

    Raises:
        ModelError: The file is damaged, or lacks what `serving.export` writes for every model.
    """
    path = version / "metadata.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        odd = [name for name, kind in _FACTS.items() if not isinstance(facts[name], kind)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} describes no model ({one_line(error)}): export it again") from None
    if odd:
        raise ModelError(
            f"{path} describes no model: export it again. Received: {odd[0]} {facts[odd[0]]!r:.60}"
        )
    return facts


def finding_of(facts, model):
    """Which of a classifier's probabilities is that of a finding, by its metadata; never by its place.

    Args:
        facts: A dict with `classes`, names in the order of the probabilities, and maybe `finding`, one of them.
        model: What an error calls it.

    Returns:
        Its place, counted from 0.

    Raises:
        ModelError: It cannot be known.
    """
    classes, finding = facts.get("classes"), facts.get("finding")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ModelError(
            f"{model} does not say what its classes are: export it again with --classes. Received: {classes!r:.60}"
        )
    wanted = FINDINGS if finding is None else (finding,)
    found = [place for place, name in enumerate(classes) if name.lower() in wanted or name == finding]
    if len(found) != 1:
        raise ModelError(
            f"{model} does not say which of its classes is the finding: export it again with --finding NAME. "
            f"Received: classes {', '.join(classes)}, finding {finding}"
        )
    return found[0]


def loaded(version):
    """The SavedModel of a version as TensorFlow loads it. It is a program: load none that you would not run.

    Raises:
        ModelError: It is damaged.
    """
    import tensorflow as tf

    try:
        found = tf.saved_model.load(str(version))
        # Here, and not where they are used.
        _ = found.signatures["serving_default"], found.model_variables
    except Exception as error:  # whatever TensorFlow runs into while it reads a damaged one
        raise ModelError(
            f"{version} holds no whole SavedModel ({one_line(error)}): export it again"
        ) from None
    return found


def _versions(folder):
    return [path for path in folder.glob("*") if path.name.isdecimal() and _is_version(path)]


def _is_version(folder):
    return (folder / "metadata.json").is_file()
