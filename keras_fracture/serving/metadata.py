"""What the metadata of a SavedModel say of it: classes, the finding, how images are prepared."""

import json

from keras_fracture.errors import DataError, ModelError, one_line

# Names of one of two classes that say so themselves; of any other the metadata's "finding" must say it: "fracture"
# beside "normal" and "dislocation" is one finding of several.
FINDINGS = ("finding", "fracture", "fractured", "lesion", "tumor", "tumour", "abnormal", "positive")
_FACTS = {"architecture": str, "config": dict, "endpoints": dict, "pixel_range": list | None}


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
    """Which of a classifier's probabilities is that of a finding, by its metadata; never by its position.

    Args:
        facts: A dict with `classes`, names in the order of the probabilities, and maybe `finding`, one of them.
        model: What an error calls it.

    Returns:
        Its index, counted from 0.

    Raises:
        ModelError: It cannot be known.
    """
    classes, finding = facts.get("classes"), facts.get("finding")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ModelError(
            f"{model} does not say what its classes are: export it again with --classes. Received: {classes!r:.60}"
        )
    wanted = (FINDINGS if len(classes) <= 2 else ()) if finding is None else (finding,)
    columns = [column for column, name in enumerate(classes) if name.lower() in wanted or name == finding]
    if len(columns) != 1:
        raise ModelError(
            f"{model} does not say which of its classes is the finding: export it again with --finding NAME. "
            f"Received: classes {', '.join(classes)}, finding {finding}"
        )
    return columns[0]


def threshold_of(facts, model):
    """From which probability on a classifier says that there is a finding, by its metadata.

    Args:
        facts: A dict with maybe `threshold`, of `value` and how it was `chosen`.
        model: What an error calls it.

    Returns:
        Its value, and how it was chosen, in words; 0.5 and None where the metadata name none.

    Raises:
        ModelError: It is no probability.
    """
    said = facts.get("threshold", {"value": 0.5})
    try:
        value, chosen = float(said["value"]), said.get("chosen")
    except (AttributeError, KeyError, TypeError, ValueError):
        value, chosen = -1.0, None
    if not 0 <= value <= 1:
        raise ModelError(
            f"{model} has a threshold that is no probability: export it again. Received: {said!r:.60}"
        )
    return value, chosen


def other_policy(facts):
    """The dtype policy of a model, or a member of it, where it is another than float32; else None."""
    members = [one["config"] for one in facts["config"].get("members", ())]
    for config in members or [facts["config"]]:
        said = config.get("dtype", "float32")
        policy = said["config"].get("name", "float32") if isinstance(said, dict) else said
        if policy != "float32":
            return policy
    return None


def thresholded(value, fixed):
    """What metadata say of a run's threshold: its value, and how it was chosen, in words."""
    chosen = "fixed beforehand" if fixed else "chosen on validation for the highest balanced accuracy"
    return {"value": float(value), "chosen": chosen}


def preparation(folder):
    """How images are prepared for an exported classifier: its `Preprocess` and its pixel range.

    Args:
        folder: Path of the SavedModel's version.

    Raises:
        ModelError: Not a classifier, or exported without its preprocessing.
    """
    from keras_fracture.data import Preprocess  # OpenCV, which reading of metadata alone does without

    facts = facts_of(folder)
    if "preprocess" not in facts:
        raise ModelError(
            f"{folder} is no classifier, or was exported without --preprocess: its metadata.json says nothing of "
            "preprocessing"
        )
    try:
        settings = facts["preprocess"]
        preprocess = Preprocess(**settings | {"clahe": settings["clahe"] and tuple(settings["clahe"])})
        low, high = map(float, facts["pixel_range"])
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise ModelError(
            f"{folder}/metadata.json says nothing of preprocessing that can be used: {error}"
        ) from None
    return preprocess, (low, high)


def of_finding(probabilities, column):
    """Probabilities of a finding, float64 `(n,)`, from float32 `(n, classes)` and its column.

    Near 1 float32 knows steps of 6e-8 alone: there, what a second class leaves says more.
    """
    probabilities = probabilities.astype(float)
    findings = probabilities[:, column]
    if probabilities.shape[1] != 2:
        return findings
    near_one = findings > 0.5
    findings[near_one] = 1 - probabilities[near_one, 1 - column]
    return findings
