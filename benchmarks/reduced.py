"""What decoding JPEG files with fewer pixels brings and costs: `python -m benchmarks reduced`."""

import dataclasses
import json
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.errors import BenchmarkError
from keras_fracture import data, evaluation
from keras_fracture.data.library_settings import one_opencv_thread
from keras_fracture.inference import scoring
from keras_fracture.serving.metadata import facts_of, preparation
from keras_fracture.serving.versions import models_in, version_of

_TIMED = 400  # files


def measure_reduced(name="fracatlas", models="saved_models", data_dir=None):
    """Asks classifiers that learnt from whole JPEG files about a test set, read whole and with `jpeg="reduced"`.

    Args:
        name: Data set; its test images by the grouped policy are taken.
        models: Folder of SavedModels; of these the classifiers that learnt from this data set.
        data_dir: Where real data lie.

    Returns:
        A dict of name to number: of each classifier both AUCs, their difference with its 95 % interval (over sources,
        paired), the share of files that are reduced, and milliseconds a file on one thread from bytes to levels.

    Raises:
        BenchmarkError: No classifier there learnt from this data set.
    """
    records = data.load(name, "test", policy="grouped", data_dir=data_dir)
    versions = [version_of(folder) for folder in models_in(models)]
    known = [each for each in versions if _learnt_from(facts_of(each), name)]
    if not known:
        raise BenchmarkError(f"No classifier of {models} learnt from {name}")
    numbers = {}
    with tempfile.TemporaryDirectory() as folder:
        for version in known:
            copy = shutil.copytree(version, Path(folder) / version.parent.name / "1")
            facts = json.loads((copy / "metadata.json").read_text(encoding="utf-8"))
            facts["preprocess"]["jpeg"] = "reduced"
            (copy / "metadata.json").write_text(json.dumps(facts), encoding="utf-8")
            measured = _both(version, copy, records) | _times(copy, records)
            numbers |= {f"{version.parent.name}: {key}": value for key, value in measured.items()}
    return numbers


def _learnt_from(facts, name):
    return "preprocess" in facts and facts.get("trained_on", "").split(",")[0] == name


def _both(version, copy, records):
    """AUCs of a SavedModel and of its copy, which reads reduced."""
    whole, reduced = (scoring.predictions(scoring.evaluate(model, records), 0.5) for model in (version, copy))
    gain = evaluation.gains(reduced, whole, ("auc",))["auc"]
    return {
        "AUC, whole": evaluation.scores(whole, ("auc",))["auc"]["value"],
        "AUC, reduced": evaluation.scores(reduced, ("auc",))["auc"]["value"],
        "difference of AUC": gain["value"],
        "difference, from": gain["low"],
        "difference, to": gain["high"],
    }


@one_opencv_thread
def _times(copy, records):
    """How long files take from bytes to levels, whole and reduced in turn."""
    reduced, _ = preparation(copy)
    ways = {"whole": dataclasses.replace(reduced, jpeg="full"), "reduced": reduced}
    files = [record["image"] for record in records.raw(["image"]).take(_TIMED).as_numpy_iterator()]
    seconds, fewer = dict.fromkeys(ways, 0.0), 0
    for content in files:
        shapes = set()
        for way, preprocess in ways.items():
            start = time.perf_counter()
            image = preprocess.decode(content)
            preprocess(image)
            seconds[way] += time.perf_counter() - start
            shapes.add(image.shape)
        fewer += len(shapes) > 1
    return {"share of files that are reduced": fewer / len(files)} | {
        f"ms a file, {way}": 1000 * spent / len(files) for way, spent in seconds.items()
    }
