"""From a finished run to a SavedModel with everything known about it: `keras-fracture export`."""

import json
from pathlib import Path

from keras_fracture import models
from keras_fracture.errors import ModelError, one_line
from keras_fracture.interop.convert import load_keras_weights
from keras_fracture.models.saved import load_keras
from keras_fracture.serving.exporting import export
from keras_fracture.serving.predicting import preparation
from keras_fracture.versions import facts_of, version_of

_NOT_SHIPPED = ("architecture", "config", "parameters", "pixel_range", "preprocess", "endpoints",
                "not_for_clinical_use", "warm_up_requests")  # fmt: skip


def release(source, to, version=1, model=None, which=None):
    """Exports a trained model, with the metrics and the command of the run it comes from.

    Args:
        source: Run folder of `reproduce`, `.keras` file, `.weights.h5` file (with `model`), or None for an
            architecture with random weights (with `model`).
        to: Folder of the model, see `export`.
        version: Positive integer.
        model: Architecture of a `.weights.h5` file, or of random weights.
        which: Where a run has several models: the beginning of `POLICY/MODEL/VARIANT`, such as "grouped".

    Returns:
        The version's folder.

    Raises:
        ModelError: The source is none of these, unfinished, or has several models that `which` fits.
        OutputError: The version exists already, or cannot be written.
    """
    path = source and Path(source)
    if path and path.is_dir():
        saved, facts = of_run(path, which)
        found = version_of(saved)
        known = facts_of(found)
        preprocess = preparation(found)[0] if "preprocess" in known else None
        facts = {name: fact for name, fact in known.items() if name not in _NOT_SHIPPED} | facts
        return export(models.load(saved), to, version, preprocess, facts)
    if path and path.suffix == ".keras":
        return export(load_keras(path), to, version)
    if not model:
        raise ModelError(
            "Name a run folder or a .keras file, or an architecture by --model (with or without its .weights.h5). "
            f"Received: {source or 'nothing'}"
        )
    network = models.create(model)
    if path:
        load_keras_weights(network, path)
    return export(network, to, version)


def of_run(run, which):
    """One model of a finished run of `reproduce`.

    Args:
        run: Path of the run folder.
        which: As in `release`.

    Returns:
        The SavedModel's folder, and a dict of what a model card says of it.

    Raises:
        ModelError: The run is unfinished, or has several models that `which` fits.
    """
    if not (run / "metrics.json").is_file():
        raise ModelError(f"{run} is no finished run: it has no metrics.json")
    try:
        metrics, config = (
            json.loads((run / name).read_text(encoding="utf-8")) for name in ("metrics.json", "config.json")
        )
        rows = {
            f"{row['split_policy']}/{row['model']}/{row['variant']}": row
            for row in metrics["runs"]
            if "saved_model" in row
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{run} holds a damaged metrics.json or config.json: {one_line(error)}") from None
    found = [name for name in rows if name.startswith(which or "")]
    if len(found) != 1:
        known = ", ".join(found or rows) or "none"
        raise ModelError(f"Say which of the run's models to export: {known}. Received: {which!r}")
    row = rows[found[0]]
    counts = metrics["splits"][row["split_policy"]]
    facts = {
        "trained_on": f"{row['data']}, split policy `{row['split_policy']}`: "
        + "; ".join(
            f"{split} {count['pictures']:,} pictures of {count['sources']:,} X-rays"
            for split, count in counts.items()
        )
        + f". {counts['test']['pictures_of_training_sources']} test pictures show an X-ray that was trained on. "
        f"Profile `{row['profile']}`, seed {metrics['settings']['seed']}. Pictures: see the README's data sets.",
        "metrics": {name: _plain(score) for name, score in row["metrics"].items()},
        "command": config["command"],
        "date": config["date"],
        "versions": config["versions"],
        "limits": "Metrics are the recipe's, over all its seeds; the model is that of the first. Intervals resample "
        "whole X-rays of one data set: another hospital's pictures are another matter.",
    }
    if "threshold" in row:
        fixed = metrics["settings"].get("threshold") is not None
        chosen = "fixed beforehand" if fixed else "chosen on validation for the highest balanced accuracy"
        facts["threshold"] = {"value": row["threshold"], "chosen": chosen}
    return run / row["saved_model"], facts


def _plain(score):
    """Value and interval; the lowest and highest of a single seed are none."""
    known = score.get("low") != score.get("high")
    return {name: score[name] for name in (("value", "low", "high") if known else ("value",))}
