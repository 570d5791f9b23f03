"""From a trained model to a SavedModel with everything known about it: `keras-fracture export`."""

import dataclasses
import json
import logging
from pathlib import Path

from keras_fracture import models, training
from keras_fracture.data import Preprocess, catalogue
from keras_fracture.errors import ModelError, one_line
from keras_fracture.interop import convert
from keras_fracture.report.markdown import source_names
from keras_fracture.report.results import renamed
from keras_fracture.serving import card
from keras_fracture.serving.exporting import export
from keras_fracture.serving.loading import as_saved
from keras_fracture.serving.metadata import facts_of, preparation, thresholded
from keras_fracture.serving.versions import converted_in, version_of
from keras_fracture.settings import parse
from keras_fracture.training.weights import load_keras

_LOG = logging.getLogger(__name__)
_NOT_SHIPPED = ("architecture", "config", "parameters", "pixel_range", "preprocess", "endpoints",
                "not_for_clinical_use", "warm_up_requests", "exponent")  # fmt: skip

_ECE_MENDED = "2026-12-01"  # from that day on all runs give calibration errors their basic intervals

_OF_THE_MODEL = "this model's"
_OF_THE_RUN = (
    "the run's, over all its seeds and, if `flips` was set, mirror images; the model is that of the first"
)


def release(
    source, to, version=1, model=None, which=None, settings=(), preprocess=(), classes=None, finding=None
):
    """Exports a trained model, with the metrics and the command of the run it comes from.

    A run knows how its images are prepared and what its classes are. Of other weights the user says it: without
    `preprocess` a classifier is exported, but `predict` and `evaluate` refuse it. A SavedModel of this package is
    exported anew, with what it says of itself: the same weights with the endpoints of this version of the package.

    Args:
        source: Run folder of `reproduce`, SavedModel (its folder, or a name of `zoo.index`), `.keras` file, weights
            file (with `model`; `.weights.h5` or PyTorch's), or None for an architecture with random weights (with
            `model`).
        to: Folder of the model, see `export`.
        version: Positive integer.
        model: Architecture of a weights file, or of random weights.
        which: Where a run has several models: the beginning of `POLICY/MODEL/VARIANT`, such as "grouped".
        settings: Constructor arguments of `model` as `NAME=VALUE`, see `settings.parse`.
        preprocess: Fields of `data.Preprocess` as `NAME=VALUE`; size and channels are the model's.
        classes: Names of a classifier's classes, in the order of its outputs.
        finding: The one of them that is the finding, where they do not tell.

    Returns:
        The version's folder.

    Raises:
        ModelError: The source is none of these, unfinished, or has several models that `which` fits; or something is
            said of it that it says itself, or that does not fit.
        OutputError: The version exists already, or cannot be written.
    """
    path = source and Path(source)
    if saved_version := saved_model(source, model, which, settings, preprocess, classes, finding):
        return _anew(saved_version, to, version)
    if path and path.is_dir():
        if model or settings or preprocess or classes or finding:
            raise ModelError(
                "A run says itself what its model is, how images are prepared and what its classes are: leave out "
                f"--model, --set, --preprocess, --classes and --finding. Received: {path} with one of these"
            )
        saved, facts = model_of_run(path, which)
        return _anew(version_of(saved), to, version, facts)
    if path and path.suffix == ".keras":
        if model or settings:
            raise ModelError(
                f"A .keras file holds its architecture: leave out --model and --set. Received: {path}"
            )
        network = of_keras(path)
        if hasattr(network, "classify") and getattr(network, "include_top", True):
            _LOG.warning(
                "a .keras file holds no threshold, preprocessing or names of classes: the model is exported with a "
                "threshold of 0.5, and with what --preprocess and --classes say. Received: %s", path,
            )  # fmt: skip
    elif not model:
        raise ModelError(
            "Name a run folder or a .keras file, or an architecture by --model (with or without its weights file). "
            f"Received: {source or 'nothing'}"
        )
    elif path:
        network = convert.load(path, model, **arguments_of(model, settings))
    else:
        network = models.create(model, **{"dtype": "float32"} | arguments_of(model, settings))
    return export(network, to, version, *_described(network, preprocess, classes, finding))


def saved_model(source, *described):
    """The version's folder of a SavedModel of this package; None where `source` is something else.

    Args:
        source: As in `release`.
        *described: What is said of it beside, which it says itself.

    Raises:
        ModelError: Something is said of it.
    """
    try:
        version = source and version_of(source)
    except ModelError:
        return None
    if version and any(described):
        raise ModelError(
            "A SavedModel says itself what it is: leave out --model, --which, --set, --preprocess, --classes and "
            f"--finding. Received: {source} with one of these"
        )
    return version


def _anew(saved, to, version, facts=()):
    """Exports a SavedModel's weights with its own metadata, and with what else is known of it."""
    known = facts_of(saved)
    prepared = preparation(saved)[0] if "preprocess" in known else None
    blended = {"exponent": known["exponent"]} if "exponent" in known else {}
    known = {name: fact for name, fact in known.items() if name not in _NOT_SHIPPED} | dict(facts)
    # In its own dtype: metrics and threshold are of that.
    made = export(as_saved(saved, own_dtype=True), to, version, prepared, known, **blended)
    card.copy_samples(saved, made)
    return made


def arguments_of(model, overrides):
    """Constructor arguments of an architecture from `NAME=VALUE` overrides, see `settings.parse`."""
    return parse(model, models.arguments(model), overrides)


def preprocess_of(overrides):
    """Fields of `data.Preprocess` from `NAME=VALUE` overrides, as a dict."""
    known = {field.name: (field.type, field.default) for field in dataclasses.fields(Preprocess)}
    return parse("preprocessing", known, overrides)


def of_keras(path):
    """The network that a `.keras` file is for: of a model that was saved in training, the one to be used.

    Raises:
        ModelError: It is damaged, or no model of this package.
    """
    model = load_keras(path)
    if isinstance(model, training.AdversarialModel | training.UNITModel):
        return model.sampler
    beside = training.WithBodyPart | training.WithBoxes | training.WithTeacher
    return model.classifier if isinstance(model, beside) else model


def _described(network, preprocess, classes, finding):
    """A classifier's `Preprocess`, or None, and its classes as metadata."""
    if not hasattr(network, "classify"):
        if preprocess or classes or finding:
            raise ModelError(
                "Only a classifier has --preprocess, --classes and --finding. "
                f"Received: {type(network).__name__} with one of these"
            )
        return None, {}
    if not getattr(network, "include_top", True):
        raise ModelError("A network without its top tells no classes apart. Received: include_top=False")
    if preprocess and not network.image_size:
        raise ModelError("Images are prepared for one size: --set image_size=N. Received: image_size=None")
    facts = {"classes": list(classes)} if classes else {}
    facts |= {"finding": finding} if finding else {}
    shape = {"size": network.image_size, "channels": network.channels}
    return (Preprocess(**shape | preprocess_of(preprocess)) if preprocess else None), facts


def model_of_run(run, which):
    """One model of a finished run of `reproduce`.

    Args:
        run: Path of the run folder.
        which: As in `release`.

    Returns:
        The SavedModel's folder, and a dict of what a model card says of it.

    Raises:
        ModelError: The run is unfinished, or has several models that `which` fits.
    """
    if not (run / "metrics.json").is_file() and (converted := converted_in(run)):
        raise ModelError(
            "A converted model cannot be exported: name the SavedModel or the run that it was made from. "
            f"Received: {converted}"
        )
    if not (run / "metrics.json").is_file():
        raise ModelError(f"{run} is no finished run: it has no metrics.json")
    try:
        metrics, config = (
            renamed(json.loads((run / name).read_text(encoding="utf-8")))
            for name in ("metrics.json", "config.json")
        )
        rows = {
            f"{row['split_policy']}/{row['model']}/{row['variant']}": row
            for row in (*metrics["runs"], *metrics.get("gans", {}).values())
            if "saved_model" in row
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{run} holds a damaged metrics.json or config.json: {one_line(error)}") from None
    matches = [name for name in rows if name.startswith(which or "")]
    if len(matches) != 1:
        known = ", ".join(matches or rows) or "none"
        raise ModelError(f"Say which of the run's models to export: {known}. Received: {which!r}")
    row = rows[matches[0]]
    counts = metrics["splits"][row["split_policy"]]
    measured = row.get("saved_model_metrics", row.get("metrics", row))
    several = row.get("seeds", 1) > 1 or metrics["settings"].get("flips")
    averaged = several and not metrics["settings"].get("ensemble")
    alone = "saved_model_metrics" in row or "metrics" not in row or not averaged  # a GAN's are its own
    of = f"Metrics are {_OF_THE_MODEL if alone else _OF_THE_RUN}."
    scores = {name: _plain(score) for name, score in measured.items() if _is_score(score)}
    if "ece" in scores and not _holds_ece(scores["ece"], config):
        scores["ece"] = {"value": scores["ece"]["value"]}
    sure = any("low" in score for score in scores.values())
    layout = catalogue.layout(row["data"]) if row["data"] in catalogue.NAMES else None
    patients = getattr(layout, "PATIENTS", True)  # of own data nothing is kept
    source, sources = source_names(row["split_policy"], patients)
    resampled = sources if row["split_policy"] == "studies" else "X-rays"
    say = f"Intervals resample whole {resampled} of one data set" if sure else "They are of one data set"
    facts = {
        "trained_on": f"{row['data']}, split policy `{row['split_policy']}`: "
        + "; ".join(
            f"{split} {count['images']:,} images of {count['sources']:,} {sources}"
            for split, count in counts.items()
        )
        + f". {counts['test']['images_of_training_sources']} test images show {source} that was trained on. "
        f"Profile `{row['profile']}`, {_seeds(metrics['settings'])}.{_origin(metrics['settings'])}",
        **({"licence": layout.LICENCE} if layout else {}),
        "metrics": scores,
        "command": config["command"],
        "date": config["date"],
        "versions": config["versions"],
        "limits": f"{of} {say}: another hospital's images are another matter.",
    }
    if "threshold" in row:
        facts["threshold"] = thresholded(row["threshold"], metrics["settings"].get("threshold") is not None)
    return run / row["saved_model"], facts


def _origin(settings):
    """What a classifier has its knowledge from, beside its images."""
    start, teacher = settings.get("pretrained"), settings.get("teacher")
    named = "weights that were trained on ImageNet" if start == "imagenet" else start and f"`{start}`"
    return (f" Started from {named}." if named else "") + (f" Taught by `{teacher}`." if teacher else "")


def _seeds(settings):
    """The seeds of an exported model: all of an ensemble's, else the first."""
    first = settings["seed"]
    if not settings.get("ensemble") or settings["seeds"] == 1:
        return f"seed {first}"
    return f"seeds {first} to {first + settings['seeds'] - 1}"


def _is_score(value):
    return isinstance(value, dict) and "value" in value


def _holds_ece(score, config):
    """Whether a calibration error's interval is one: earlier versions gave percentiles, which lie too high."""
    low, high = (score.get(name, score["value"]) for name in ("low", "high"))
    recent = "keras_fracture" in (config["versions"] or {}) and str(config["date"]) >= _ECE_MENDED
    return recent and low <= score["value"] <= high


def _plain(score):
    """Value and interval; the lowest and highest of a single seed are none."""
    known = "low" in score and score["low"] != score["high"]
    return {name: score[name] for name in (("value", "low", "high") if known else ("value",))}
